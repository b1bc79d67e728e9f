"""Login sessions: who a browser is, from its login until it is ended from either side.

A login session ends when it has not been used for a while, when it is old, when somebody ends it, and with
every change of the account that could mean that the wrong person is in it: locked, unlocked, deleted, another
password. When the database does not answer, `StoreUnavailableError` passes through: nobody is logged in then.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.audit import OPERATOR, Action, Actor
from rootblood.domain.logins import LoginSession, is_token, new_id, new_token, token_hash_of
from rootblood.errors import NotFoundError, StoreUnavailableError
from rootblood.services.audit import Record, unrecorded
from rootblood.services.endings import Endings
from rootblood.settings import WebSettings
from rootblood.stores.base import LoginStore

_log = structlog.stdlib.get_logger(__name__)

_TOUCH_AFTER = timedelta(minutes=1)
_MAX_USER_AGENT_CHARS = 256


def _now() -> datetime:
    return datetime.now(UTC)


class Logins:
    """The use cases around login sessions.

    Args:
        store: where they are kept.
        settings: how long they last.
        endings: whom to tell when one ends.
        record: keeps the accounts' trails.
        now: the time; a test's own, as days pass in none.
    """

    def __init__(
        self,
        store: LoginStore,
        settings: WebSettings,
        endings: Endings,
        record: Record = unrecorded,
        *,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._store = store
        self._endings = endings
        self._record = record
        self._now = now
        self.apply(settings)

    def apply(self, settings: WebSettings) -> None:
        """Go by these settings from now on, for login sessions that have begun as well."""
        self._idle = timedelta(seconds=settings.session_idle_s)
        self._max = timedelta(seconds=settings.session_max_s)

    async def begin(self, account: Account, *, address: str, user_agent: str) -> str:
        """Begin a login session of an account that has just shown who it is; returns its token.

        Args:
            account: as it was when that was checked.
            address: of the browser.
            user_agent: what the browser calls itself; a long one is cut.

        Raises:
            NotFoundError: the account has been locked or deleted, or has got another password, since.
        """
        now = self._now()
        await self._store.delete_expired(created_before=now - self._max, used_before=now - self._idle)
        token = new_token()
        # Lone surrogates (bytes that were no UTF-8) could not be stored.
        told = user_agent[:_MAX_USER_AGENT_CHARS].encode("utf-8", "replace").decode("utf-8")
        login = LoginSession(id=new_id(), created_at=now, last_used_at=now, address=address, user_agent=told)
        await self._store.add(account, login, token_hash_of(token))
        return token

    async def find(self, token: str) -> tuple[Account, LoginSession] | None:
        """Whose token this is, if it is anybody's now; counts as use of the login session."""
        found = await self._store.find(token_hash_of(token)) if is_token(token) else None
        if found is None:
            return None
        account, login = found
        now = self._now()
        if now >= self.expiry_of(login):
            return None
        if now - login.last_used_at >= _TOUCH_AFTER:
            try:
                await self._store.touch(login.id, now)
            except StoreUnavailableError as error:  # not worth a refused request
                _log.warning("login_session_not_touched", userhash=account.userhash, cause=str(error))
            login = replace(login, last_used_at=now)
        return account, login

    def expiry_of(self, login: LoginSession) -> datetime:
        """When this login session ends if nobody uses it until then."""
        return min(login.created_at + self._max, login.last_used_at + self._idle)

    async def list(self, account: Account) -> Sequence[LoginSession]:
        """The account's login sessions, those used last first."""
        now = self._now()
        return [login for login in await self._store.list(account.userhash) if now < self.expiry_of(login)]

    async def end(self, account: Account, login_id: str, *, by: Actor = OPERATOR) -> None:
        """End one login session. Raises `NotFoundError` when the account has none of that id."""
        if not await self._store.delete(account.userhash, login_id):
            raise NotFoundError("you have no such login session")
        self._record(account, Action.LOGGED_OUT, by, "one browser")
        self._endings.tell(account)

    async def end_all(self, account: Account, *, by: Actor = OPERATOR) -> int:
        """End all login sessions of the account; returns how many there were."""
        ended = await self._store.delete_all(account.userhash)
        self._record(account, Action.LOGGED_OUT, by, f"all browsers, {ended} in number")
        self._endings.tell(account)
        return ended
