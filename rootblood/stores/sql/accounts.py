"""`AccountStore` on the tables."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Exists, delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from rootblood.domain.accounts import Account, AccountState
from rootblood.domain.keys import AccountKey, PublicKey, fingerprint_of
from rootblood.errors import ConflictError, LimitReachedError, NotFoundError
from rootblood.settings import AccountSettings
from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.models import AccountRow, Base, KeyRow, LinkRow, LoginSessionRow

_MAX_IN = 500
"""Values in one IN (...); SQLite takes 32,766 at most, and older ones 999."""


class SqlAccountStore:
    """Accounts and keys in an SQL database; see `AccountStore` for what each method promises."""

    def __init__(self, database: Database, settings: AccountSettings) -> None:
        """Take the database to use and the range of UIDs to give."""
        self._database = database
        self._settings = settings

    @uninterrupted
    async def add(
        self, *, name: str, userhash: str, admin: bool, password_hash: str | None, keys: Sequence[PublicKey]
    ) -> Account:
        """Add an account with the next UID of the range, and its first keys, or nothing at all."""
        if len({key.blob for key in keys}) < len(keys):
            raise ConflictError("the same key is given twice")
        now = datetime.now(UTC)
        async with self._database.write() as session:
            before = await session.scalar(select(AccountRow.state).where(AccountRow.name == name))
            if before == AccountState.DELETED:
                raise ConflictError(f"the name {name} belonged to a deleted account and is not given again")
            if before is not None:
                raise ConflictError(f"there is an account {name} already")
            # Tombstones count: a UID that owned files never comes to somebody else.
            highest = await session.scalar(select(func.max(AccountRow.uid)))
            uid = max(self._settings.uid_min, (highest or 0) + 1)
            if uid > self._settings.uid_max:
                raise LimitReachedError(
                    f"all UIDs up to {self._settings.uid_max} are given: raise accounts.uid_max"
                )
            row = AccountRow(
                uid=uid,
                name=name,
                userhash=userhash,
                state=AccountState.ACTIVE.value,
                admin=admin,
                password_hash=password_hash,
                published=False,
                created_at=now,
            )
            session.add(row)
            await session.flush()
            session.add_all(_key_row(uid, key, now) for key in keys)
        return account_of(row)

    @uninterrupted
    async def by_name(self, name: str) -> Account | None:
        """The account of that name, unless it is deleted."""
        query = select(AccountRow).where(
            AccountRow.name == name, AccountRow.state != AccountState.DELETED.value
        )
        async with self._database.read() as session:
            row = await session.scalar(query)
        return None if row is None else account_of(row)

    @uninterrupted
    async def by_key(self, name: str, blob: bytes) -> Account | None:
        """The account of that name if this public key (RFC 4253 wire form) is one of its own."""
        query = (
            select(AccountRow)
            .join(KeyRow)
            .where(AccountRow.name == name, KeyRow.fingerprint == fingerprint_of(blob), KeyRow.blob == blob)
        )
        async with self._database.read() as session:
            row = await session.scalar(query)
        return None if row is None else account_of(row)

    @uninterrupted
    async def set_state(self, userhash: str, state: AccountState) -> None:
        """Lock or unlock."""
        if state is AccountState.DELETED:
            raise ValueError("an account is deleted by delete(), which takes its keys too")
        async with self._database.write() as session:
            row = await _living(session, userhash)
            row.state = state.value
            await _end_login_sessions(session, row)

    @uninterrupted
    async def delete(self, userhash: str) -> None:
        """Leave a tombstone, and nothing else in any table."""
        async with self._database.write() as session:
            row = await _living(session, userhash)
            row.state = AccountState.DELETED.value
            row.password_hash = None
            row.admin = False
            await session.flush()  # whoever adds to the trail sees the state from here on, or has done it
            for column in _references():
                await session.execute(delete(column.table).where(column == row.uid))

    @uninterrupted
    async def set_password_hash(self, userhash: str, password_hash: str | None) -> None:
        """Replace the password hash; None means that no password is accepted."""
        async with self._database.write() as session:
            row = await _living(session, userhash)
            row.password_hash = password_hash
            await _end_login_sessions(session, row)

    @uninterrupted
    async def refresh_password_hash(self, userhash: str, *, old: str, new: str) -> bool:
        """Replace `old` by `new`, a hash of the same password; False when `old` is there no longer."""
        async with self._database.write() as session:
            row = await _living(session, userhash)
            if row.password_hash != old:
                return False
            row.password_hash = new
        return True

    @uninterrupted
    async def mark_published(self, userhashes: Sequence[str]) -> None:
        """Note that the environments know these accounts' names."""
        if not userhashes:
            return
        async with self._database.write() as session:
            for start in range(0, len(userhashes), _MAX_IN):
                some = userhashes[start : start + _MAX_IN]
                await session.execute(
                    update(AccountRow).where(AccountRow.userhash.in_(some)).values(published=True)
                )

    @uninterrupted
    async def keys(self, userhash: str) -> Sequence[AccountKey]:
        """The account's keys, oldest first."""
        query = select(KeyRow).join(AccountRow).where(AccountRow.userhash == userhash).order_by(KeyRow.id)
        async with self._database.read() as session:
            return [_account_key(row) for row in await session.scalars(query)]

    @uninterrupted
    async def add_key(self, userhash: str, key: PublicKey) -> AccountKey:
        """Add a key."""
        async with self._database.write() as session:
            account = await _living(session, userhash)
            if await session.scalar(select(_has_fingerprint(account.uid, key.fingerprint))):
                raise ConflictError(f"{account.name} has the key {key.fingerprint} already")
            row = _key_row(account.uid, key, datetime.now(UTC))
            session.add(row)
        return _account_key(row)

    @uninterrupted
    async def delete_key(self, userhash: str, fingerprint: str) -> bool:
        """Delete the key with that SHA256 fingerprint; False when there is none."""
        async with self._database.write() as session:
            account = await _living(session, userhash)
            if not await session.scalar(select(_has_fingerprint(account.uid, fingerprint))):
                return False
            await session.execute(
                delete(KeyRow).where(KeyRow.account_uid == account.uid, KeyRow.fingerprint == fingerprint)
            )
        return True

    @uninterrupted
    async def list(
        self, *, include_deleted: bool = False, after: str | None = None, limit: int | None = None
    ) -> list[Account]:
        """Accounts by name: all, or at most `limit` of those whose name comes after `after`."""
        query = select(AccountRow).order_by(AccountRow.name).limit(limit)
        if after is not None:
            query = query.where(AccountRow.name > after)
        if not include_deleted:
            query = query.where(AccountRow.state != AccountState.DELETED.value)
        async with self._database.read() as session:
            return [account_of(row) for row in await session.scalars(query)]


def _references() -> Iterator[Column[Any]]:
    """The columns of all tables that say which account a row is about, those of tables yet to come too."""
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_keys:
            if key.column is AccountRow.__table__.c.uid:
                yield key.parent


async def _living(session: AsyncSession, userhash: str) -> AccountRow:
    row = await session.scalar(
        select(AccountRow).where(
            AccountRow.userhash == userhash, AccountRow.state != AccountState.DELETED.value
        )
    )
    if row is None:
        raise NotFoundError("there is no such account any more")
    return row


async def _end_login_sessions(session: AsyncSession, row: AccountRow) -> None:
    for table in (LoginSessionRow, LinkRow):  # a link is a login session that has yet to begin
        await session.execute(delete(table).where(table.account_uid == row.uid))


def _has_fingerprint(uid: int, fingerprint: str) -> Exists:
    return exists().where(KeyRow.account_uid == uid, KeyRow.fingerprint == fingerprint)


def _key_row(uid: int, key: PublicKey, created_at: datetime) -> KeyRow:
    return KeyRow(
        account_uid=uid,
        algorithm=key.algorithm,
        blob=key.blob,
        fingerprint=key.fingerprint,
        comment=key.comment,
        created_at=created_at,
    )


def account_of(row: AccountRow) -> Account:
    """The account that a row holds."""
    return Account(
        name=row.name,
        uid=row.uid,
        userhash=row.userhash,
        state=AccountState(row.state),
        admin=row.admin,
        password_hash=row.password_hash,
        published=row.published,
        created_at=row.created_at,
    )


def _account_key(row: KeyRow) -> AccountKey:
    return AccountKey(
        key=PublicKey(algorithm=row.algorithm, blob=row.blob, comment=row.comment), created_at=row.created_at
    )
