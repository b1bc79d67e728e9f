"""How long a browser stays logged in, and what of it is kept."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from rootblood.domain.accounts import Account
from rootblood.errors import NotFoundError, StoreUnavailableError
from rootblood.services.endings import Endings
from rootblood.services.logins import Logins
from rootblood.settings import Settings, WebSettings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.logins import SqlLoginStore
from tests.databases import set_up

SETTINGS = WebSettings(session_idle_s=3600, session_max_s=24 * 3600)


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


class WatchedLoginStore(SqlLoginStore):
    """The real store, which counts its writes of last use and can refuse them."""

    touches = 0
    away = False

    async def touch(self, login_id: str, at: datetime) -> None:
        self.touches += 1
        if self.away:
            raise StoreUnavailableError("the database does not answer")
        await super().touch(login_id, at)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(Settings(state_dir=tmp_path / "state"))
    await set_up(database)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> WatchedLoginStore:
    return WatchedLoginStore(database)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logins(store: WatchedLoginStore, clock: Clock) -> Logins:
    return Logins(store, SETTINGS, Endings(), now=clock)


@pytest.fixture
async def alice(database: Database) -> Account:
    accounts = SqlAccountStore(database, Settings().accounts)
    return await accounts.add(
        name="alice", userhash=secrets.token_hex(16), admin=False, password_hash=None, keys=()
    )


async def begin(logins: Logins, account: Account) -> str:
    return await logins.begin(account, address="203.0.113.7", user_agent="Browser")


async def test_who_logged_in_is_known_by_the_token(logins: Logins, alice: Account) -> None:
    found = await logins.find(await begin(logins, alice))

    assert found is not None
    assert (alice, "203.0.113.7", "Browser") == (found[0], found[1].address, found[1].user_agent)


@pytest.mark.parametrize("token", ["", "x", "\ud800" * 43, "\u0660" * 43, "a" * 43, "a" * 100_000])
async def test_nobody_is_known_by_anything_else(logins: Logins, alice: Account, token: str) -> None:
    await begin(logins, alice)

    assert None is await logins.find(token)


async def test_each_login_has_a_token_of_its_own_and_none_is_kept(
    logins: Logins, alice: Account, database: Database
) -> None:
    tokens = {await begin(logins, alice) for _ in range(2)}

    assert 2 == len(tokens)
    async with database.read() as session:
        rows = (await session.execute(text("SELECT * FROM login_sessions"))).all()
    assert not any(token in repr(rows) for token in tokens)


async def test_one_that_nobody_uses_ends(logins: Logins, alice: Account, clock: Clock) -> None:
    token = await begin(logins, alice)

    for _ in range(3):
        clock.advance(minutes=59)
        assert None is not await logins.find(token)
    clock.advance(minutes=60)

    assert None is await logins.find(token)
    assert [] == await logins.list(alice)


async def test_one_ends_however_much_it_is_used(logins: Logins, alice: Account, clock: Clock) -> None:
    token = await begin(logins, alice)

    for _ in range(47):
        clock.advance(minutes=30)
        assert None is not await logins.find(token)
    clock.advance(minutes=30)

    assert None is await logins.find(token)


async def test_use_is_written_once_a_minute(
    logins: Logins, store: WatchedLoginStore, alice: Account, clock: Clock
) -> None:
    token = await begin(logins, alice)
    for _ in range(12):
        clock.advance(seconds=10)
        await logins.find(token)

    assert 2 == store.touches
    assert [clock.now] == [login.last_used_at for login in await logins.list(alice)]


async def test_a_use_that_cannot_be_written_costs_no_request(
    logins: Logins, store: WatchedLoginStore, alice: Account, clock: Clock
) -> None:
    token = await begin(logins, alice)
    clock.advance(minutes=2)
    store.away = True

    assert None is not await logins.find(token)


async def test_one_is_ended_by_its_id(logins: Logins, alice: Account) -> None:
    tokens = [await begin(logins, alice) for _ in range(2)]
    found = await logins.find(tokens[0])
    assert found is not None

    await logins.end(alice, found[1].id)

    assert [True, False] == [await logins.find(token) is None for token in tokens]
    with pytest.raises(NotFoundError):
        await logins.end(alice, found[1].id)


async def test_all_are_ended(logins: Logins, alice: Account) -> None:
    tokens = [await begin(logins, alice) for _ in range(2)]

    assert 2 == await logins.end_all(alice)

    assert [None, None] == [await logins.find(token) for token in tokens]


async def test_expired_ones_are_forgotten_at_the_next_login(
    logins: Logins, store: WatchedLoginStore, alice: Account, clock: Clock
) -> None:
    await begin(logins, alice)
    clock.advance(hours=2)

    await begin(logins, alice)

    assert 1 == len(await store.list(alice.userhash))


async def test_a_name_of_a_browser_is_cut_and_can_be_stored(logins: Logins, alice: Account) -> None:
    await logins.begin(alice, address="203.0.113.7", user_agent="\udcff" + "x" * 10_000)

    (login,) = await logins.list(alice)
    assert "?" + "x" * 255 == login.user_agent


async def test_other_settings_count_for_sessions_that_have_begun(
    logins: Logins, alice: Account, clock: Clock
) -> None:
    token = await logins.begin(alice, address="192.0.2.1", user_agent="")
    clock.advance(minutes=30)
    assert await logins.find(token) is not None

    logins.apply(WebSettings(session_idle_s=60))
    clock.advance(seconds=61)

    assert await logins.find(token) is None
