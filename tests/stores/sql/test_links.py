"""What the store of one-time links promises, on real databases."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from rootblood.domain.accounts import Account, AccountState, new_userhash
from rootblood.domain.logins import LoginLink
from rootblood.errors import NotFoundError
from rootblood.stores.base import LinkStore
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.links import SqlLinkStore

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
END = NOON + timedelta(minutes=5)
HASH = b"hash of a secret"


@pytest.fixture
def links(database: Database) -> LinkStore:
    return SqlLinkStore(database)


@pytest.fixture
async def alice(store: SqlAccountStore) -> Account:
    return await store.add(name="alice", userhash=new_userhash(), admin=False, password_hash="hash", keys=())


async def test_to_look_at_a_link_leaves_it_and_to_take_it_does_not(links: LinkStore, alice: Account) -> None:
    await links.add(LoginLink(alice, "3"), HASH, now=NOON, expires_at=END)

    assert [LoginLink(alice, "3")] * 2 == [await links.find(HASH, now=NOON) for _ in range(2)]
    assert LoginLink(alice, "3") == await links.take(HASH, now=NOON)
    assert None is await links.find(HASH, now=NOON)
    assert None is await links.take(HASH, now=NOON)


async def test_of_many_that_take_it_at_once_one_gets_it(links: LinkStore, alice: Account) -> None:
    await links.add(LoginLink(alice, "3"), HASH, now=NOON, expires_at=END)

    taken = await asyncio.gather(*(links.take(HASH, now=NOON) for _ in range(8)))

    assert [LoginLink(alice, "3")] == [link for link in taken if link is not None]


async def test_it_ends(links: LinkStore, alice: Account) -> None:
    await links.add(LoginLink(alice, "3"), HASH, now=NOON, expires_at=END)

    assert None is await links.find(HASH, now=END)
    assert None is await links.take(HASH, now=END)


async def test_none_is_made_for_an_account_that_was_changed_meanwhile(
    links: LinkStore, store: SqlAccountStore, alice: Account
) -> None:
    await store.set_password_hash(alice.userhash, "another")
    with pytest.raises(NotFoundError):
        await links.add(LoginLink(alice, "3"), HASH, now=NOON, expires_at=END)

    await store.set_state(alice.userhash, AccountState.LOCKED)
    with pytest.raises(NotFoundError):
        await links.add(LoginLink(alice, "3"), HASH, now=NOON, expires_at=END)
