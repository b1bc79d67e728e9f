"""API tokens: made by their account, shown once, good for what they say and until they say.

They outlive a new password, as keys do, and are of no use while the account is locked. When the database does
not answer, `StoreUnavailableError` passes through: no token is good then.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rootblood.domain.accounts import Account
from rootblood.domain.audit import OPERATOR, Action, Actor
from rootblood.domain.logins import new_id, token_hash_of
from rootblood.domain.tokens import ApiToken, Scope, is_secret, new_secret, scopes_of
from rootblood.errors import InvalidInputError, NotFoundError
from rootblood.services.audit import Record, unrecorded
from rootblood.stores.base import TokenStore

_MAX_PER_ACCOUNT = 100


def _now() -> datetime:
    return datetime.now(UTC)


class Tokens:
    """The use cases around API tokens.

    Args:
        store: where they are kept.
        record: keeps the accounts' trails.
        now: the time; a test's own, as days pass in none.
    """

    def __init__(
        self, store: TokenStore, record: Record = unrecorded, *, now: Callable[[], datetime] = _now
    ) -> None:
        self._store = store
        self._record = record
        self._now = now

    async def create(
        self,
        account: Account,
        *,
        name: str,
        scopes: AbstractSet[Scope],
        lifetime: timedelta,
        not_after: datetime | None = None,
        by: Actor = OPERATOR,
    ) -> tuple[str, ApiToken]:
        """Make a token; returns the secret, which is not kept, and what is.

        Args:
            account: whose.
            name: what its owner calls it.
            scopes: what it is good for.
            lifetime: how long.
            not_after: it ends then at the latest; None where nothing bounds it.
            by: who asks.

        Raises:
            InvalidInputError: the account may not do all that itself.
            LimitReachedError: the account has too many.
            NotFoundError: the account may not log in any more.
        """
        if not scopes <= scopes_of(account):
            raise InvalidInputError("only an administrator's token is good for what administrators do")
        now = self._now()
        expires_at = now + lifetime
        token = ApiToken(
            id=new_id(),
            name=name.encode("utf-8", "replace").decode("utf-8"),
            scopes=frozenset(scopes),
            created_at=now,
            expires_at=min(expires_at, not_after) if not_after is not None else expires_at,
        )
        secret = new_secret()
        await self._store.add(account.userhash, token, token_hash_of(secret), at_most=_MAX_PER_ACCOUNT)
        self._record(account, Action.TOKEN_MADE, by, token.name)
        return secret, token

    async def find(self, secret: str) -> tuple[Account, ApiToken] | None:
        """Whose token this is, if it is good for anything now.

        What its account may not do any more, it is not good for, whatever it was made for.
        """
        found = await self._store.find(token_hash_of(secret)) if is_secret(secret) else None
        if found is None or self._now() >= found[1].expires_at:
            return None
        account, token = found
        return account, replace(token, scopes=token.scopes & scopes_of(account))

    async def list(self, account: Account) -> Sequence[ApiToken]:
        """The account's tokens that have not expired, the newest first."""
        return await self._store.list(account.userhash, valid_at=self._now())

    async def delete(self, account: Account, token_id: str, *, by: Actor = OPERATOR) -> None:
        """Delete one token. Raises `NotFoundError` when the account has none of that id."""
        if not await self._store.delete(account.userhash, token_id):
            raise NotFoundError("you have no such token")
        self._record(account, Action.TOKEN_DELETED, by, token_id)
