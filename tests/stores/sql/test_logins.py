"""What the store of login sessions promises, on real databases."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rootblood.domain.accounts import Account, AccountState, new_userhash
from rootblood.domain.logins import LoginLink, LoginSession, new_id, new_token, token_hash_of
from rootblood.errors import NotFoundError
from rootblood.stores.base import LoginStore
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.links import SqlLinkStore
from rootblood.stores.sql.logins import SqlLoginStore

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def logins(database: Database) -> LoginStore:
    return SqlLoginStore(database)


async def add_account(store: SqlAccountStore, name: str) -> Account:
    return await store.add(name=name, userhash=new_userhash(), admin=False, password_hash="hash", keys=())


@pytest.fixture
async def alice(store: SqlAccountStore) -> Account:
    return await add_account(store, "alice")


async def begin(logins: LoginStore, account: Account, at: datetime = NOON) -> tuple[LoginSession, bytes]:
    login = LoginSession(
        id=new_id(), created_at=at, last_used_at=at, address="203.0.113.7", user_agent="Browser \x1b[2J"
    )
    token_hash = token_hash_of(new_token())
    await logins.add(account, login, token_hash)
    return login, token_hash


async def test_a_login_session_is_found_by_its_token_alone(logins: LoginStore, alice: Account) -> None:
    login, token_hash = await begin(logins, alice)

    assert (alice, login) == await logins.find(token_hash)
    assert None is await logins.find(token_hash_of(new_token()))


async def test_those_of_an_account_are_listed_by_their_use(
    logins: LoginStore, store: SqlAccountStore, alice: Account
) -> None:
    first, _ = await begin(logins, alice)
    second, _ = await begin(logins, alice, NOON + timedelta(hours=1))
    await begin(logins, await add_account(store, "bob"))
    later = NOON + timedelta(hours=2)

    await logins.touch(first.id, later)

    assert [replace(first, last_used_at=later), second] == await logins.list(alice.userhash)


async def test_one_is_ended_and_by_nobody_else(
    logins: LoginStore, store: SqlAccountStore, alice: Account
) -> None:
    bob = await add_account(store, "bob")
    login, token_hash = await begin(logins, alice)
    kept, _ = await begin(logins, alice)

    assert not await logins.delete(bob.userhash, login.id)
    assert await logins.delete(alice.userhash, login.id)

    assert None is await logins.find(token_hash)
    assert [kept] == await logins.list(alice.userhash)
    assert not await logins.delete(alice.userhash, login.id)
    await logins.touch(login.id, NOON)


async def test_all_of_an_account_are_ended(
    logins: LoginStore, store: SqlAccountStore, alice: Account
) -> None:
    bob = await add_account(store, "bob")
    for account in (alice, alice, bob):
        await begin(logins, account)

    assert 2 == await logins.delete_all(alice.userhash)

    assert (0, 1) == (len(await logins.list(alice.userhash)), len(await logins.list(bob.userhash)))


@pytest.mark.parametrize(
    "change",
    [
        lambda store, userhash: store.set_state(userhash, AccountState.LOCKED),
        lambda store, userhash: store.set_state(userhash, AccountState.ACTIVE),
        lambda store, userhash: store.set_password_hash(userhash, "another"),
        lambda store, userhash: store.set_password_hash(userhash, None),
        lambda store, userhash: store.delete(userhash),
    ],
    ids=["lock", "unlock", "password", "no password", "delete"],
)
async def test_a_change_of_the_account_ends_them(
    database: Database,
    store: SqlAccountStore,
    alice: Account,
    change: Callable[[SqlAccountStore, str], Awaitable[None]],
) -> None:
    logins = SqlLoginStore(database)
    bob = await add_account(store, "bob")
    _, token_hash = await begin(logins, alice)
    _, token_hash_of_bob = await begin(logins, bob)
    links = SqlLinkStore(database)
    await links.add(LoginLink(alice, None), b"link", now=NOON, expires_at=NOON + timedelta(minutes=5))

    await change(store, alice.userhash)
    assert None is await links.take(b"link", now=NOON)

    assert None is await logins.find(token_hash)
    assert [] == await logins.list(alice.userhash)
    assert None is not await logins.find(token_hash_of_bob)


async def test_a_hash_of_the_same_password_made_anew_ends_none(
    logins: LoginStore, store: SqlAccountStore, alice: Account
) -> None:
    _, token_hash = await begin(logins, alice)

    await store.refresh_password_hash(alice.userhash, old="hash", new="another")

    assert None is not await logins.find(token_hash)


async def test_none_begins_for_an_account_that_was_changed_meanwhile(
    logins: LoginStore, store: SqlAccountStore, alice: Account
) -> None:
    await store.set_password_hash(alice.userhash, "another")
    with pytest.raises(NotFoundError):
        await begin(logins, alice)

    bob = await add_account(store, "bob")
    await store.set_state(bob.userhash, AccountState.LOCKED)
    with pytest.raises(NotFoundError):
        await begin(logins, bob)

    assert [] == await logins.list(alice.userhash)


async def test_what_has_expired_is_forgotten(logins: LoginStore, alice: Account) -> None:
    old, _ = await begin(logins, alice, NOON - timedelta(days=7))
    await logins.touch(old.id, NOON)
    await begin(logins, alice, NOON - timedelta(hours=13))
    kept, _ = await begin(logins, alice, NOON - timedelta(hours=11))

    await logins.delete_expired(
        created_before=NOON - timedelta(days=6), used_before=NOON - timedelta(hours=12)
    )

    assert [kept] == await logins.list(alice.userhash)
