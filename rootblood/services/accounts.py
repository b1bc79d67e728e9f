"""What is done with accounts: by an operator at the command line, and by the doors at each login.

The operator gets reasons: which rule a name breaks, which key is not there. A door gets the account or None,
and None tells nothing: unknown, locked, deleted and wrong are one answer after the same work. When the
database does not answer, `StoreUnavailableError` passes through, and the doors refuse the login.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from rootblood.domain.accounts import (
    Account,
    AccountState,
    is_account_name,
    is_reserved,
    new_userhash,
    validated_name,
)
from rootblood.domain.audit import OPERATOR, Action, Actor
from rootblood.domain.keys import AccountKey, PublicKey
from rootblood.errors import InvalidInputError, LimitReachedError, NotFoundError, StoreUnavailableError
from rootblood.services.audit import Record, unrecorded
from rootblood.services.endings import Endings
from rootblood.services.passwords import Passwords
from rootblood.stores.base import AccountStore

_FINGERPRINT_PREFIX = "SHA256:"


class Accounts:
    """The use cases around accounts and their keys. `by` is who asks, for the account's trail.

    Args:
        store: where accounts are kept.
        passwords: hash and check them.
        endings: whom to tell of what ends.
        record: keeps the trails.
    """

    def __init__(
        self, store: AccountStore, passwords: Passwords, endings: Endings, record: Record = unrecorded
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._endings = endings
        self._record = record

    async def create(
        self,
        name: str,
        *,
        password: str | None = None,
        keys: Sequence[PublicKey] = (),
        admin: bool = False,
        by: Actor = OPERATOR,
    ) -> Account:
        """Make an account. Without password and keys nobody can log in to it yet.

        Raises:
            InvalidInputError: the name or the password cannot be one, or the system keeps the name.
            ConflictError: the name is or was in use, or a key is given twice.
            LimitReachedError: all UIDs are given, or too many passwords are being hashed.
        """
        if is_reserved(validated_name(name)):
            raise InvalidInputError(f"the name {name} is kept for the system")
        password_hash = None if password is None else await self._passwords.hash(password)
        account = await self._store.add(
            name=name, userhash=new_userhash(), admin=admin, password_hash=password_hash, keys=keys
        )
        self._record(account, Action.CREATED, by, "an administrator" if admin else "")
        return account

    async def get(self, name: str) -> Account:
        """The account of that name, locked or not. Raises `NotFoundError` when there is none."""
        account = await self._store.by_name(name) if is_account_name(name) else None
        if account is None:
            raise NotFoundError(f"there is no account {name[:64]!r}")
        return account

    async def lock(self, name: str, *, by: Actor = OPERATOR) -> None:
        """Let nobody log in to it until `unlock`. Who is logged in, at either door, is shown out."""
        account = await self.get(name)
        await self._store.set_state(account.userhash, AccountState.LOCKED)
        self._record(account, Action.LOCKED, by)
        self._endings.tell(account)

    async def unlock(self, name: str, *, by: Actor = OPERATOR) -> None:
        """Take back `lock`."""
        account = await self.get(name)
        await self._store.set_state(account.userhash, AccountState.ACTIVE)
        self._record(account, Action.UNLOCKED, by)
        self._endings.tell(account)  # which ends login sessions as well

    async def delete(self, name: str, *, by: Actor = OPERATOR) -> None:
        """Forget keys and password for good; name and UID are never given again."""
        account = await self.get(name)
        await self._store.delete(account.userhash)
        self._record(account, Action.DELETED, by)
        self._endings.tell(account)

    async def set_password(self, name: str, password: str | None, *, by: Actor = OPERATOR) -> None:
        """Set the password; None means that none is accepted. Ends the account's login sessions.

        Raises:
            InvalidInputError: it cannot be a password.
            NotFoundError: there is no such account.
        """
        account = await self.get(name)
        password_hash = None if password is None else await self._passwords.hash(password)
        await self._store.set_password_hash(account.userhash, password_hash)
        self._record(account, Action.PASSWORD_CHANGED, by, "to none" if password is None else "")
        self._endings.tell(account)

    async def keys(self, name: str) -> Sequence[AccountKey]:
        """The account's keys, oldest first."""
        return await self._store.keys((await self.get(name)).userhash)

    async def add_key(self, name: str, key: PublicKey, *, by: Actor = OPERATOR) -> AccountKey:
        """Let `key` log in. Raises `ConflictError` when it may already."""
        account = await self.get(name)
        added = await self._store.add_key(account.userhash, key)
        self._record(account, Action.KEY_ADDED, by, f"{key.fingerprint} {key.comment}".rstrip())
        return added

    async def delete_key(self, name: str, fingerprint: str, *, by: Actor = OPERATOR) -> PublicKey:
        """Delete one key and return it.

        Args:
            name: the account's.
            fingerprint: `SHA256:...`, or as much of its beginning as no other key of the account shares;
                `SHA256:` itself may be left out.
            by: who asks.

        Raises:
            NotFoundError: no such account or key.
            InvalidInputError: several keys begin like that.
        """
        account = await self.get(name)
        wanted = _FINGERPRINT_PREFIX + fingerprint.removeprefix(_FINGERPRINT_PREFIX)
        if wanted == _FINGERPRINT_PREFIX:
            raise InvalidInputError("a fingerprint looks like SHA256:...; the list of keys has them")
        found = [
            entry.key
            for entry in await self._store.keys(account.userhash)
            if entry.key.fingerprint.startswith(wanted)
        ]
        if len(found) > 1:
            raise InvalidInputError(
                f"{len(found)} keys of {name} begin like that: give more of the fingerprint"
            )
        if not found or not await self._store.delete_key(account.userhash, found[0].fingerprint):
            raise NotFoundError(f"{name} has no such key")
        key = found[0]
        self._record(account, Action.KEY_DELETED, by, f"{key.fingerprint} {key.comment}".rstrip())
        return key

    async def active(self, name: str) -> Account | None:
        """The account of that name if it may log in now."""
        account = await self._store.by_name(name) if is_account_name(name) else None
        return account if account is not None and account.state is AccountState.ACTIVE else None

    async def authenticate_password(
        self, name: str, password: str, *, by: Actor = OPERATOR
    ) -> Account | None:
        """The account if it may log in and this is its password; hashes that anew when parameters changed.

        Raises:
            LimitReachedError: too many checks wait already.
        """
        if not is_account_name(name):
            return None
        tried_at = asyncio.get_running_loop().time()
        account = await self._store.by_name(name)
        password_hash = account.password_hash if account is not None else None
        matches = await self._passwords.verify(password_hash, password)
        if account is None or account.state is not AccountState.ACTIVE or not matches:
            if account is not None:  # only the owner reads of it
                self._record(account, Action.LOGIN_FAILED, by, "wrong password" if not matches else "locked")
            await self._passwords.refuse(tried_at)
            return None
        return await self._refresh(account, password)

    async def authenticate_key(self, name: str, blob: bytes) -> Account | None:
        """The account if it may log in and has this key (RFC 4253 wire form).

        The caller has yet to see a signature by it: until then this says only that the key would do.
        """
        if not is_account_name(name):
            return None
        account = await self._store.by_key(name, blob)
        return account if account is not None and account.state is AccountState.ACTIVE else None

    async def list(
        self, *, include_deleted: bool = False, after: str | None = None, limit: int | None = None
    ) -> list[Account]:
        """Accounts by name: all, or at most `limit` of those whose name comes after `after`."""
        return await self._store.list(include_deleted=include_deleted, after=after, limit=limit)

    async def _refresh(self, account: Account, password: str) -> Account:
        """Hash a password that was right with today's parameters, if its hash was made with others."""
        old = account.password_hash
        if old is None or not self._passwords.needs_rehash(old):
            return account
        # Not worth a refused login; the next one tries again. An older, shorter minimum counts here too.
        with contextlib.suppress(InvalidInputError, LimitReachedError, NotFoundError, StoreUnavailableError):
            new = await self._passwords.hash(password)
            if await self._store.refresh_password_hash(account.userhash, old=old, new=new):
                return replace(account, password_hash=new)
        return account
