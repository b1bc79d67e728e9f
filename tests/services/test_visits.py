"""What an account is told when it comes back, and that telling it never costs a login."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rootblood.domain.accounts import Account, Login
from rootblood.domain.audit import Actor, Door
from rootblood.domain.environments import RestartReason, StopReason
from rootblood.errors import StoreUnavailableError
from rootblood.services.visits import Arrival, News, Visits
from rootblood.settings import Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.visits import SqlVisitStore
from tests.databases import set_up

HOME, WORK = "203.0.113.7", "198.51.100.9"


def from_(address: str) -> Actor:
    return Actor(Door.SSH, address)


class FailingVisitStore(SqlVisitStore):
    """The real store, which can be told to be away, or to take its time."""

    away = False

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.open = asyncio.Event()
        self.open.set()

    async def _answer(self) -> None:
        await self.open.wait()
        if self.away:
            raise StoreUnavailableError("the database does not answer")

    async def record_login(self, userhash: str, login: Login) -> Login | None:
        await self._answer()
        return await super().record_login(userhash, login)

    async def replace_stop(self, userhash: str, reason: StopReason | None) -> StopReason | None:
        await self._answer()
        return await super().replace_stop(userhash, reason)

    async def record_restart(self, userhash: str, reason: RestartReason) -> None:
        await self._answer()
        await super().record_restart(userhash, reason)

    async def restart(self, userhash: str) -> RestartReason | None:
        await self._answer()
        return await super().restart(userhash)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(Settings(state_dir=tmp_path / "state"))
    await set_up(database)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> FailingVisitStore:
    return FailingVisitStore(database)


@pytest.fixture
async def visits(store: FailingVisitStore) -> AsyncIterator[Visits]:
    made = Visits(store)
    yield made
    store.open.set()
    await made.close()


@pytest.fixture
async def alice(database: Database) -> Account:
    accounts = SqlAccountStore(database, Settings().accounts)
    return await accounts.add(
        name="alice", userhash=secrets.token_hex(16), admin=False, password_hash=None, keys=()
    )


async def arrive(visits: Visits, account: Account, address: str = HOME) -> News:
    return await visits.news(account, visits.arrive(account, by=from_(address)))


async def test_a_first_visit_has_no_news(visits: Visits, alice: Account) -> None:
    visits.restarted(alice, RestartReason.REMOVED)  # half made by a server that was killed, say

    assert News() == await arrive(visits, alice)
    assert None is (await arrive(visits, alice)).restart


async def test_the_next_one_is_told_of_the_last(visits: Visits, alice: Account) -> None:
    await visits.arrive(alice, by=from_(HOME))
    await visits.arrive(alice, by=from_(WORK))

    news = await arrive(visits, alice)

    assert news.last_login is not None
    assert WORK == news.last_login.address
    assert abs((datetime.now(UTC) - news.last_login.at).total_seconds()) < 60


async def test_a_restart_just_now_is_told_at_once(visits: Visits, alice: Account) -> None:
    await visits.arrive(alice, by=from_(HOME))
    arrival = visits.arrive(alice, by=from_(HOME))
    visits.restarted(alice, RestartReason.KILLED)

    assert RestartReason.KILLED is (await visits.news(alice, arrival)).restart


async def test_a_restart_is_told_until_somebody_was_told(visits: Visits, alice: Account) -> None:
    await visits.arrive(alice, by=from_(HOME))
    visits.restarted(alice, RestartReason.HOST)

    news = [await arrive(visits, alice) for _ in range(2)]
    assert [RestartReason.HOST] * 2 == [each.restart for each in news]

    visits.told(alice, news[0])
    await visits.close()
    assert None is (await arrive(visits, alice)).restart


async def test_a_store_that_is_away_costs_the_news_alone(
    visits: Visits, store: FailingVisitStore, alice: Account
) -> None:
    await visits.arrive(alice, by=from_(HOME))
    store.away = True

    visits.restarted(alice, RestartReason.KILLED)
    assert None is await visits.stopping(alice, StopReason.ADMINISTRATOR)
    assert News() == await arrive(visits, alice)


async def test_a_store_that_hangs_is_not_waited_for(
    visits: Visits, store: FailingVisitStore, alice: Account
) -> None:
    await visits.arrive(alice, by=from_(HOME))
    store.open.clear()
    visits.restarted(alice, RestartReason.KILLED)

    started = time.monotonic()
    assert News() == await arrive(visits, alice)
    assert time.monotonic() - started < 30

    store.open.set()
    await visits.close()
    assert RestartReason.KILLED is (await arrive(visits, alice)).restart


async def test_somebody_who_gives_up_waiting_leaves_the_login_recorded(
    visits: Visits, store: FailingVisitStore, alice: Account
) -> None:
    store.open.clear()
    arrival = visits.arrive(alice, by=from_(HOME))
    waiting = asyncio.ensure_future(visits.news(alice, arrival))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    store.open.set()

    assert Arrival(before=None) == await arrival
