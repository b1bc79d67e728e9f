"""What the store of bans promises, on real databases."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from rootblood.domain.bans import Ban
from rootblood.domain.logins import new_id
from rootblood.domain.networks import network_of
from rootblood.errors import LimitReachedError
from rootblood.stores.base import BanStore
from rootblood.stores.sql.bans import SqlBanStore
from rootblood.stores.sql.database import Database

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def bans(database: Database) -> BanStore:
    return SqlBanStore(database)


def ban_on(network: str, *, at: datetime = NOON, lasting: timedelta | None = None) -> Ban:
    ends = None if lasting is None else at + lasting
    return Ban(id=new_id(), network=network_of(network), reason="\x1b[2J", created_at=at, expires_at=ends)


async def test_bans_are_listed_the_newest_first(bans: BanStore) -> None:
    older, newer = ban_on("192.0.2.0/24"), ban_on("2001:db8::/32", at=NOON + timedelta(hours=1))
    for ban in (older, newer):
        await bans.add(ban, forget_expired_before=NOON, at_most=2)

    assert [newer, older] == await bans.list()


async def test_a_ban_replaces_the_one_on_the_same_network(bans: BanStore) -> None:
    await bans.add(ban_on("192.0.2.0/24"), forget_expired_before=NOON, at_most=1)
    again = ban_on("192.0.2.0/24", lasting=timedelta(hours=1))
    await bans.add(again, forget_expired_before=NOON, at_most=1)

    assert [again] == await bans.list()


async def test_those_that_expired_make_room(bans: BanStore) -> None:
    await bans.add(ban_on("192.0.2.1", lasting=timedelta(hours=1)), forget_expired_before=NOON, at_most=1)
    with pytest.raises(LimitReachedError, match="there are 1 bans"):
        await bans.add(ban_on("192.0.2.2"), forget_expired_before=NOON, at_most=1)

    later = ban_on("192.0.2.2")
    await bans.add(later, forget_expired_before=NOON + timedelta(hours=2), at_most=1)
    assert [later] == await bans.list()


async def test_many_at_once_are_no_more_than_there_may_be(bans: BanStore) -> None:
    results = await asyncio.gather(
        *(
            bans.add(ban_on(f"192.0.2.{number}"), forget_expired_before=NOON, at_most=5)
            for number in range(20)
        ),
        return_exceptions=True,
    )

    assert 15 == sum(isinstance(result, LimitReachedError) for result in results)
    assert 5 == len(await bans.list())


async def test_a_ban_is_lifted_by_exactly_its_network(bans: BanStore) -> None:
    await bans.add(ban_on("192.0.2.0/24"), forget_expired_before=NOON, at_most=1)

    assert not await bans.delete(network_of("192.0.2.0/25"))
    assert await bans.delete(network_of("192.0.2.0/24"))
    assert [] == await bans.list()
