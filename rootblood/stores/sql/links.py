"""`LinkStore` on the tables."""

from datetime import datetime

from sqlalchemy import Result, Select, delete, select

from rootblood.domain.accounts import AccountState
from rootblood.domain.logins import LoginLink
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
    async def add(self, link: LoginLink, secret_hash: bytes, *, now: datetime, expires_at: datetime) -> None:
        """Add a link, and forget those that have expired."""
        async with self._database.write() as session:
            await session.execute(delete(LinkRow).where(LinkRow.expires_at <= now))
            row = await unchanged(session, link.account)
            session.add(
                LinkRow(
                    secret_hash=secret_hash,
                    account_uid=row.uid,
                    tmux_session=link.tmux_session,
                    expires_at=expires_at,
                )
            )

    @uninterrupted
    async def find(self, secret_hash: bytes, *, now: datetime) -> LoginLink | None:
        """The link, if it is good; it stays so."""
        async with self._database.read() as session:
            return _link(await session.execute(_good(secret_hash, now)))

    @uninterrupted
    async def take(self, secret_hash: bytes, *, now: datetime) -> LoginLink | None:
        """The link, if it was good; it is so no more."""
        async with self._database.write() as session:
            link = _link(await session.execute(_good(secret_hash, now)))
            # What was deleted says who was first, where writers are not held off from one another.
            deleted = (
                await session.scalars(
                    delete(LinkRow).where(LinkRow.secret_hash == secret_hash).returning(LinkRow.secret_hash)
                )
            ).all()
        return link if deleted else None


def _good(secret_hash: bytes, now: datetime) -> Select[AccountRow, LinkRow]:
    return (
        select(AccountRow, LinkRow)
        .join(LinkRow, LinkRow.account_uid == AccountRow.uid)
        .where(
            LinkRow.secret_hash == secret_hash,
            LinkRow.expires_at > now,
            AccountRow.state == AccountState.ACTIVE.value,
        )
    )


def _link(found: Result[AccountRow, LinkRow]) -> LoginLink | None:
    row = found.one_or_none()
    return None if row is None else LoginLink(account_of(row[0]), row[1].tmux_session)
