"""Bans: known to every process, whatever the wall clock and the database do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rootblood.domain.bans import Ban
from rootblood.domain.networks import network_of
from rootblood.errors import InvalidInputError, LimitReachedError, NotFoundError, StoreUnavailableError
from rootblood.services import bans as module
from rootblood.services.bans import Bans
from rootblood.settings import Settings
from rootblood.stores.sql.bans import SqlBanStore
from rootblood.stores.sql.database import Database
from tests.databases import set_up

NETWORK = network_of("192.0.2.0/24")
INSIDE, OUTSIDE = "192.0.2.7", "203.0.113.7"
HOUR = timedelta(hours=1)


class Time:
    """A wall clock and a steady one, which tests move together or apart."""

    wall = datetime(2026, 11, 23, 12, tzinfo=UTC)
    steady = 1000.0

    def passes(self, time: timedelta) -> None:
        self.wall += time
        self.steady += time.total_seconds()


class AbsentStore(SqlBanStore):
    """One whose database can be away."""

    away = False
    refused = 0

    async def list(self) -> Sequence[Ban]:
        if self.away:
            self.refused += 1
            raise StoreUnavailableError("the database does not answer")
        return await super().list()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[AbsentStore]:
    database = Database(Settings(state_dir=tmp_path))
    await set_up(database)
    yield AbsentStore(database)
    await database.close()


@pytest.fixture
def time() -> Time:
    return Time()


def process(store: SqlBanStore, time: Time, refresh_s: float = 0.01) -> Bans:
    """The bans as one of several processes knows them."""
    return Bans(store, refresh_s=refresh_s, now=lambda: time.wall, clock=lambda: time.steady)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - another process, or what stands for one, does it
            await asyncio.sleep(0.01)


async def test_a_ban_holds_for_its_network_until_it_expires(store: SqlBanStore, time: Time) -> None:
    bans = process(store, time)
    ban = await bans.add(NETWORK, reason="brute force", lifetime=HOUR)

    assert [ban] == await bans.list()
    assert ban == bans.on(INSIDE)
    assert ban == bans.on(f"::ffff:{INSIDE}")
    assert None is bans.on(OUTSIDE)
    assert None is bans.on("?")
    time.passes(HOUR - timedelta(seconds=1))
    assert (ban, 1) == (bans.on(INSIDE), bans.count)
    time.passes(timedelta(seconds=1))
    assert (None, 0) == (bans.on(INSIDE), bans.count)
    assert [] == await bans.list()


async def test_one_for_ever_is_lifted(store: SqlBanStore, time: Time) -> None:
    bans = process(store, time)
    await bans.add(NETWORK, reason="", lifetime=None)
    time.passes(timedelta(days=10_000))
    assert None is not bans.on(INSIDE)

    await bans.lift(NETWORK)

    assert None is bans.on(INSIDE)
    with pytest.raises(NotFoundError, match=r"there is no ban on 192\.0\.2\.0/24$"):
        await bans.lift(NETWORK)


async def test_lifting_a_part_names_the_whole(store: SqlBanStore, time: Time) -> None:
    bans = process(store, time)
    await bans.add(NETWORK, reason="", lifetime=None)

    with pytest.raises(NotFoundError, match=r"no ban on 192\.0\.2\.7; .* the ban on 192\.0\.2\.0/24"):
        await bans.lift(network_of(INSIDE))


async def test_a_second_ban_replaces_the_first(store: SqlBanStore, time: Time) -> None:
    bans = process(store, time)
    await bans.add(NETWORK, reason="first", lifetime=HOUR)
    second = await bans.add(NETWORK, reason="second", lifetime=2 * HOUR)

    assert [second] == await bans.list()
    time.passes(HOUR)
    assert second == bans.on(INSIDE)


async def test_a_short_ban_within_a_long_one_does_not_end_it(store: SqlBanStore, time: Time) -> None:
    bans = process(store, time)
    await bans.add(network_of(INSIDE), reason="", lifetime=HOUR)
    long = await bans.add(NETWORK, reason="", lifetime=2 * HOUR)

    time.passes(HOUR)

    assert long == bans.on(INSIDE)


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)])
async def test_a_wall_clock_that_jumps_a_day_changes_no_ban(
    store: SqlBanStore, time: Time, jump: timedelta
) -> None:
    bans = process(store, time)
    ban = await bans.add(NETWORK, reason="", lifetime=HOUR)

    time.wall += jump
    await bans.add(network_of(OUTSIDE), reason="which forgets what expired long ago", lifetime=None)
    await bans.refresh()
    assert ban == bans.on(INSIDE)

    time.passes(HOUR)
    await bans.refresh()
    assert None is bans.on(INSIDE)


async def test_another_process_knows_soon_and_is_told_once(store: SqlBanStore, time: Time) -> None:
    here, there = process(store, time), process(store, time)
    told: list[Ban | None] = []
    here.subscribe(lambda: told.append(here.on(INSIDE)))
    stop = asyncio.Event()
    watching = asyncio.create_task(here.watch(stop))

    ban = await there.add(NETWORK, reason="", lifetime=HOUR)
    await eventually(lambda: here.on(INSIDE) is not None)
    await there.lift(NETWORK)
    await eventually(lambda: here.on(INSIDE) is None)
    stop.set()
    await watching

    assert [ban] == told


async def test_the_last_list_holds_while_the_database_is_away(store: AbsentStore, time: Time) -> None:
    bans = process(store, time)
    ban = await bans.add(NETWORK, reason="", lifetime=HOUR)
    stop = asyncio.Event()
    watching = asyncio.create_task(bans.watch(stop))
    store.away = True

    with pytest.raises(StoreUnavailableError):
        await bans.refresh()
    await eventually(lambda: store.refused > 3)
    assert ban == bans.on(INSIDE)

    store.away = False
    await process(store, time).lift(NETWORK)
    await eventually(lambda: bans.on(INSIDE) is None)
    stop.set()
    await watching


async def test_there_is_an_end_to_bans_and_old_ones_make_room(
    store: SqlBanStore, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BANS", 1)
    bans = process(store, time)
    await bans.add(NETWORK, reason="", lifetime=HOUR)

    with pytest.raises(LimitReachedError, match="lift some"):
        await bans.add(network_of(OUTSIDE), reason="", lifetime=None)
    await bans.add(NETWORK, reason="again", lifetime=HOUR)
    time.passes(timedelta(days=3))
    await bans.add(network_of(OUTSIDE), reason="", lifetime=None)


async def test_a_reason_that_is_none(store: SqlBanStore, time: Time) -> None:
    with pytest.raises(InvalidInputError):
        await process(store, time).add(NETWORK, reason="\x1b[2J", lifetime=None)
