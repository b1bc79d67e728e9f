"""`TokenStore` on the tables."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select

from rootblood.domain.accounts import Account, AccountState
from rootblood.domain.tokens import ApiToken, Scope
from rootblood.errors import LimitReachedError, NotFoundError
from rootblood.stores.sql.accounts import account_of
from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.models import AccountRow, TokenRow


class SqlTokenStore:
    """API tokens in an SQL database; see `TokenStore` for what each method promises."""

    def __init__(self, database: Database) -> None:
        """Take the database to use."""
        self._database = database

    @uninterrupted
    async def add(self, userhash: str, token: ApiToken, token_hash: bytes, *, at_most: int) -> None:
        """Add a token to an account that may log in."""
        async with self._database.write() as session:
            uid = await session.scalar(
                select(AccountRow.uid).where(
                    AccountRow.userhash == userhash, AccountRow.state == AccountState.ACTIVE.value
                )
            )
            if uid is None:
                raise NotFoundError("this account may not log in any more")
            await session.execute(
                delete(TokenRow).where(TokenRow.account_uid == uid, TokenRow.expires_at <= token.created_at)
            )
            count = await session.scalar(
                select(func.count()).select_from(TokenRow).where(TokenRow.account_uid == uid)
            )
            if (count or 0) >= at_most:
                raise LimitReachedError(f"an account has at most {at_most} tokens: delete one first")
            session.add(
                TokenRow(
                    id=token.id,
                    token_hash=token_hash,
                    account_uid=uid,
                    name=token.name,
                    scopes=" ".join(sorted(token.scopes)),
                    created_at=token.created_at,
                    expires_at=token.expires_at,
                )
            )

    @uninterrupted
    async def find(self, token_hash: bytes) -> tuple[Account, ApiToken] | None:
        """The token of that hash, and its account, if that may log in."""
        query = (
            select(AccountRow, TokenRow)
            .join(TokenRow, TokenRow.account_uid == AccountRow.uid)
            .where(TokenRow.token_hash == token_hash, AccountRow.state == AccountState.ACTIVE.value)
        )
        async with self._database.read() as session:
            found = (await session.execute(query)).one_or_none()
        return None if found is None else (account_of(found[0]), _token(found[1]))

    @uninterrupted
    async def list(self, userhash: str, *, valid_at: datetime) -> Sequence[ApiToken]:
        """The account's tokens that have not expired, the newest first."""
        query = (
            select(TokenRow)
            .join(AccountRow)
            .where(AccountRow.userhash == userhash, TokenRow.expires_at > valid_at)
            .order_by(TokenRow.created_at.desc(), TokenRow.id)
        )
        async with self._database.read() as session:
            return [_token(row) for row in await session.scalars(query)]

    @uninterrupted
    async def delete(self, userhash: str, token_id: str) -> bool:
        """Delete one token of the account; False when it has none of that id."""
        query = (
            select(TokenRow).join(AccountRow).where(AccountRow.userhash == userhash, TokenRow.id == token_id)
        )
        async with self._database.write() as session:
            row = await session.scalar(query)
            if row is None:
                return False
            await session.delete(row)
        return True


def _token(row: TokenRow) -> ApiToken:
    return ApiToken(
        id=row.id,
        name=row.name,
        scopes=frozenset(Scope(scope) for scope in row.scopes.split()),
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
