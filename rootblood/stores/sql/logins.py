"""`LoginStore` on the tables."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from rootblood.domain.accounts import Account, AccountState
from rootblood.domain.logins import LoginSession
from rootblood.errors import NotFoundError
from rootblood.stores.sql.accounts import account_of
from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.models import AccountRow, LinkRow, LoginSessionRow


class SqlLoginStore:
    """Login sessions in an SQL database; see `LoginStore` for what each method promises."""

    def __init__(self, database: Database) -> None:
        """Take the database to use."""
        self._database = database

    @uninterrupted
    async def add(self, account: Account, login: LoginSession, token_hash: bytes) -> None:
        """Add a login session of an account that has just shown who it is."""
        async with self._database.write() as session:
            row = await unchanged(session, account)
            session.add(
                LoginSessionRow(
                    id=login.id,
                    token_hash=token_hash,
                    account_uid=row.uid,
                    created_at=login.created_at,
                    last_used_at=login.last_used_at,
                    address=login.address,
                    user_agent=login.user_agent,
                )
            )

    @uninterrupted
    async def find(self, token_hash: bytes) -> tuple[Account, LoginSession] | None:
        """The login session of that token, and its account, if that may log in."""
        query = (
            select(AccountRow, LoginSessionRow)
            .join(LoginSessionRow, LoginSessionRow.account_uid == AccountRow.uid)
            .where(LoginSessionRow.token_hash == token_hash, AccountRow.state == AccountState.ACTIVE.value)
        )
        async with self._database.read() as session:
            found = (await session.execute(query)).one_or_none()
        return None if found is None else (account_of(found[0]), _login(found[1]))

    @uninterrupted
    async def touch(self, login_id: str, at: datetime) -> None:
        """Note that a login session was used."""
        async with self._database.write() as session:
            await session.execute(
                update(LoginSessionRow).where(LoginSessionRow.id == login_id).values(last_used_at=at)
            )

    @uninterrupted
    async def list(self, userhash: str) -> Sequence[LoginSession]:
        """The account's login sessions, those used last first."""
        query = (
            select(LoginSessionRow)
            .join(AccountRow)
            .where(AccountRow.userhash == userhash)
            .order_by(LoginSessionRow.last_used_at.desc(), LoginSessionRow.id)
        )
        async with self._database.read() as session:
            return [_login(row) for row in await session.scalars(query)]

    @uninterrupted
    async def delete(self, userhash: str, login_id: str) -> bool:
        """End one login session of the account; False when it has none of that id."""
        query = (
            select(LoginSessionRow)
            .join(AccountRow)
            .where(AccountRow.userhash == userhash, LoginSessionRow.id == login_id)
        )
        async with self._database.write() as session:
            row = await session.scalar(query)
            if row is None:
                return False
            await session.delete(row)
        return True

    @uninterrupted
    async def delete_all(self, userhash: str) -> int:
        """End all login sessions of the account; returns how many."""
        uid = select(AccountRow.uid).where(AccountRow.userhash == userhash).scalar_subquery()
        async with self._database.write() as session:
            await session.execute(delete(LinkRow).where(LinkRow.account_uid == uid))
            ended = await session.scalars(
                delete(LoginSessionRow)
                .where(LoginSessionRow.account_uid == uid)
                .returning(LoginSessionRow.id)
            )
            return len(ended.all())

    @uninterrupted
    async def delete_expired(self, *, created_before: datetime, used_before: datetime) -> None:
        """Forget the login sessions, of whatever account, that are older or were used last before that."""
        async with self._database.write() as session:
            await session.execute(
                delete(LoginSessionRow).where(
                    or_(
                        LoginSessionRow.created_at < created_before,
                        LoginSessionRow.last_used_at < used_before,
                    )
                )
            )


async def unchanged(session: AsyncSession, account: Account) -> AccountRow:
    """The row of an account that may log in as it could when `account` was read.

    A password that was changed while it was being checked ended every login session before this one came up.

    Raises:
        NotFoundError: it may not.
    """
    row = await session.scalar(
        select(AccountRow).where(
            AccountRow.userhash == account.userhash, AccountRow.state == AccountState.ACTIVE.value
        )
    )
    if row is None or row.password_hash != account.password_hash:
        raise NotFoundError("this account may no longer log in like that")
    return row


def _login(row: LoginSessionRow) -> LoginSession:
    return LoginSession(
        id=row.id,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        address=row.address,
        user_agent=row.user_agent,
    )
