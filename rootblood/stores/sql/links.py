"""`LinkStore` on the tables."""

from datetime import datetime

from sqlalchemy import Select, delete, select

from rootblood.domain.accounts import Account, AccountState
from rootblood.stores.sql.accounts import account_of
from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.logins import unchanged
from rootblood.stores.sql.models import AccountRow, LinkRow


class SqlLinkStore:
    """One-time links in an SQL database; see `LinkStore` for what each method promises."""

    def __init__(self, database: Database) -> None:
        """Take the database to use."""
        self._database = database

    @uninterrupted
    async def add(self, account: Account, secret_hash: bytes, *, now: datetime, expires_at: datetime) -> None:
        """Add a link, and forget those that have expired."""
        async with self._database.write() as session:
            await session.execute(delete(LinkRow).where(LinkRow.expires_at <= now))
            row = await unchanged(session, account)
            session.add(LinkRow(secret_hash=secret_hash, account_uid=row.uid, expires_at=expires_at))

    @uninterrupted
    async def find(self, secret_hash: bytes, *, now: datetime) -> Account | None:
        """Whose link it is; it stays good."""
        async with self._database.read() as session:
            row = await session.scalar(_account(secret_hash, now))
        return None if row is None else account_of(row)

    @uninterrupted
    async def take(self, secret_hash: bytes, *, now: datetime) -> Account | None:
        """Whose link it is; it is good no more."""
        async with self._database.write() as session:
            row = await session.scalar(_account(secret_hash, now))
            # What was deleted says who was first, where writers are not held off from one another.
            deleted = (
                await session.scalars(
                    delete(LinkRow).where(LinkRow.secret_hash == secret_hash).returning(LinkRow.secret_hash)
                )
            ).all()
        return None if row is None or not deleted else account_of(row)


def _account(secret_hash: bytes, now: datetime) -> Select[AccountRow]:
    return (
        select(AccountRow)
        .join(LinkRow, LinkRow.account_uid == AccountRow.uid)
        .where(
            LinkRow.secret_hash == secret_hash,
            LinkRow.expires_at > now,
            AccountRow.state == AccountState.ACTIVE.value,
        )
    )
