"""What the store of API tokens promises, on real databases."""

from datetime import UTC, datetime, timedelta

import pytest

from rootblood.domain.accounts import Account, AccountState, new_userhash
from rootblood.domain.logins import new_id, token_hash_of
from rootblood.domain.tokens import ApiToken, Scope, new_secret
from rootblood.errors import LimitReachedError, NotFoundError
from rootblood.stores.base import TokenStore
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.tokens import SqlTokenStore

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SCOPES = frozenset({Scope.ENVIRONMENT_READ, Scope.KEYS_WRITE})


@pytest.fixture
def tokens(database: Database) -> TokenStore:
    return SqlTokenStore(database)


async def add_account(store: SqlAccountStore, name: str) -> Account:
    return await store.add(name=name, userhash=new_userhash(), admin=False, password_hash=None, keys=())


@pytest.fixture
async def alice(store: SqlAccountStore) -> Account:
    return await add_account(store, "alice")


async def add(
    tokens: TokenStore, account: Account, *, at: datetime = NOON, at_most: int = 10
) -> tuple[ApiToken, bytes]:
    token = ApiToken(
        id=new_id(), name="backup \x1b[2J", scopes=SCOPES, created_at=at, expires_at=at + timedelta(hours=1)
    )
    token_hash = token_hash_of(new_secret())
    await tokens.add(account.userhash, token, token_hash, at_most=at_most)
    return token, token_hash


async def test_a_token_is_found_by_its_secret_alone(tokens: TokenStore, alice: Account) -> None:
    token, token_hash = await add(tokens, alice)

    assert (alice, token) == await tokens.find(token_hash)
    assert None is await tokens.find(token_hash_of(new_secret()))


async def test_those_of_an_account_are_listed_until_they_expire(
    tokens: TokenStore, store: SqlAccountStore, alice: Account
) -> None:
    first, _ = await add(tokens, alice)
    second, _ = await add(tokens, alice, at=NOON + timedelta(minutes=30))
    await add(tokens, await add_account(store, "bob"))

    assert [second, first] == await tokens.list(alice.userhash, valid_at=NOON)
    assert [second] == await tokens.list(alice.userhash, valid_at=NOON + timedelta(hours=1))


async def test_one_is_deleted_and_by_nobody_else(
    tokens: TokenStore, store: SqlAccountStore, alice: Account
) -> None:
    bob = await add_account(store, "bob")
    token, token_hash = await add(tokens, alice)

    assert not await tokens.delete(bob.userhash, token.id)
    assert await tokens.delete(alice.userhash, token.id)

    assert None is await tokens.find(token_hash)
    assert not await tokens.delete(alice.userhash, token.id)


async def test_there_are_only_so_many_that_have_not_expired(tokens: TokenStore, alice: Account) -> None:
    for _ in range(2):
        await add(tokens, alice, at_most=2)
    with pytest.raises(LimitReachedError, match="at most 2"):
        await add(tokens, alice, at_most=2)

    later = NOON + timedelta(hours=1)
    token, _ = await add(tokens, alice, at=later, at_most=2)
    assert [token] == await tokens.list(alice.userhash, valid_at=NOON)


async def test_an_account_that_is_locked_has_no_use_of_them(
    tokens: TokenStore, store: SqlAccountStore, alice: Account
) -> None:
    _, token_hash = await add(tokens, alice)

    await store.set_state(alice.userhash, AccountState.LOCKED)
    assert None is await tokens.find(token_hash)
    with pytest.raises(NotFoundError):
        await add(tokens, alice)

    await store.set_state(alice.userhash, AccountState.ACTIVE)
    assert None is not await tokens.find(token_hash)


async def test_a_new_password_leaves_them(tokens: TokenStore, store: SqlAccountStore, alice: Account) -> None:
    _, token_hash = await add(tokens, alice)

    await store.set_password_hash(alice.userhash, "another")

    assert None is not await tokens.find(token_hash)


async def test_they_go_with_the_account(tokens: TokenStore, store: SqlAccountStore, alice: Account) -> None:
    await add(tokens, alice)

    await store.delete(alice.userhash)

    assert [] == await tokens.list(alice.userhash, valid_at=NOON)
