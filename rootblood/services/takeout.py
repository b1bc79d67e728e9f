"""An account as one archive: what is kept about it, and its home.

For its owner, and for the operator who is asked for it. The archive is a tarball with two directories,
`account` and `home`; how they come to be in one is the matter of `rootblood.services.preface`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from rootblood.domain.accounts import Account
from rootblood.domain.audit import OPERATOR, Actor
from rootblood.domain.complaints import Complaints
from rootblood.domain.exports import ArchiveFormat, Export, ExportContent
from rootblood.services.accounts import Accounts
from rootblood.services.archives import Archive
from rootblood.services.audit import Audit
from rootblood.services.exports import Exports
from rootblood.services.logins import Logins
from rootblood.services.personal_data import PersonalData
from rootblood.services.preface import preface
from rootblood.services.tokens import Tokens
from rootblood.services.visits import Visits

_MAX_EVENTS = 1_000_000
"""What `audit.max_rows_of_account` can be at most."""


class AccountArchive:
    """An archive that is being made.

    Args:
        preface: its beginning.
        home: the rest of it.
    """

    def __init__(self, preface: bytes, home: Archive) -> None:
        self._preface = preface
        self._home = home

    @property
    def warnings(self) -> Complaints:
        """What the home lacks, as `Archive.warnings`."""
        return self._home.warnings

    async def read(self) -> bytes:
        """As `Archive.read`."""
        data = await self._home.read()
        if data:
            data, self._preface = self._preface + data, b""
        return data


class Takeout:
    """The use cases around accounts as archives. `by` is who asks, for the account's trail."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        audit: Audit,
        logins: Logins,
        tokens: Tokens,
        visits: Visits,
        exports: Exports,
    ) -> None:
        self._accounts = accounts
        self._audit = audit
        self._logins = logins
        self._tokens = tokens
        self._visits = visits
        self._exports = exports

    async def personal_data(self, account: Account) -> PersonalData:
        """What is kept about the account now, but for its home. Raises `StoreUnavailableError`."""
        return PersonalData(
            account=account,
            keys=await self._accounts.keys(account.name),
            events=await self._audit.list(account, limit=_MAX_EVENTS),
            logins=await self._logins.list(account),
            tokens=await self._tokens.list(account),
            last_login=await self._visits.last_login(account),
            exports=await self._exports.list(account),
        )

    @asynccontextmanager
    async def stream(
        self, account: Account, kind: ArchiveFormat, *, by: Actor = OPERATOR
    ) -> AsyncIterator[AccountArchive]:
        """Make the archive, to be read as it comes. Raises as `Exports.stream`."""
        beginning = await self._preface(account, kind)
        async with self._exports.stream(account, kind, by=by, content=ExportContent.ACCOUNT) as home:
            yield AccountArchive(beginning, home)

    async def spool(self, account: Account, kind: ArchiveFormat, *, by: Actor = OPERATOR) -> Export:
        """Begin the archive in the spool. Returns and raises as `Exports.spool`."""
        return await self._exports.spool(
            account,
            kind,
            by=by,
            content=ExportContent.ACCOUNT,
            preface=await self._preface(account, kind),
        )

    async def _preface(self, account: Account, kind: ArchiveFormat) -> bytes:
        now = datetime.now(UTC)
        return preface((await self.personal_data(account)).files(now), kind, at=now)
