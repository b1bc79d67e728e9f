"""Transactions, file modes, and what becomes of the errors of the database."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from rootblood.errors import ConfigurationError, ConflictError, StoreUnavailableError
from rootblood.settings import DatabaseSettings, Settings
from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.schema import upgrade

INSERT = text(
    "INSERT INTO accounts (uid, name, userhash, state, admin, published, created_at)"
    " VALUES (:uid, :name, :name, 'active', 0, 0, '2026-01-01')"
)
COUNT = text("SELECT count(*) FROM accounts")


@pytest.fixture
async def impatient(settings: Settings, database: Database) -> AsyncIterator[Database]:
    """The same database, for those who do not wait long."""
    made = Database(settings.model_copy(update={"database": DatabaseSettings(busy_timeout_s=0.5)}))
    assert made.file == database.file
    yield made
    await made.close()


def file_of(database: Database) -> Path:
    assert database.file is not None
    return database.file


async def count(database: Database) -> int:
    async with database.read() as session:
        return int((await session.scalars(COUNT)).one())


async def pragma(database: Database, name: str) -> object:
    async with database.read() as session:
        return (await session.scalars(text(f"PRAGMA {name}"))).one()


async def test_the_file_and_its_directory_are_the_owners_alone(database: Database) -> None:
    async with database.write() as session:
        await session.execute(INSERT, {"uid": 1, "name": "a"})

        def modes() -> dict[str, int]:
            directory = file_of(database).parent
            return {path.name: path.stat().st_mode & 0o777 for path in [directory, *directory.iterdir()]}

        assert {
            "state": 0o700,
            "rootblood.db": 0o600,
            "rootblood.db-wal": 0o600,
            "rootblood.db-shm": 0o600,
        } == await asyncio.to_thread(modes)


@pytest.mark.parametrize(
    ("name", "value"),
    [("journal_mode", "wal"), ("foreign_keys", 1), ("synchronous", 1), ("busy_timeout", 5000)],
)
async def test_every_connection_is_prepared(database: Database, name: str, value: object) -> None:
    assert value == await pragma(database, name)


async def test_only_create_makes_the_file(bare_database: Database) -> None:
    assert not await bare_database.exists()
    with pytest.raises(StoreUnavailableError):
        await count(bare_database)
    assert not await bare_database.exists()

    await bare_database.create()

    assert await bare_database.exists()


async def test_a_file_that_others_may_read_is_refused(database: Database) -> None:
    await asyncio.to_thread(file_of(database).chmod, 0o640)

    for use in (database.exists, database.create):
        with pytest.raises(ConfigurationError, match="chmod 600"):
            await use()


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    await asyncio.to_thread((tmp_path / "state").touch)
    database = Database(Settings(state_dir=tmp_path / "state"))

    with pytest.raises(ConfigurationError, match="cannot make the database"):
        await database.create()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense", "not a URL"),
        ("sqlite+aiosqlite://", "must name a file"),
        ("sqlite+aiosqlite:///:memory:", "must name a file"),
        ("sqlite+aiosqlite:///file:x?uri=true", "must name a file"),
        ("sqlite+nonsense:///x.db", "no async driver"),
        ("nonsense://host/db", "no async driver"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Database(Settings(database=DatabaseSettings(url=url)))


async def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    state_dir = tmp_path / "a b%20#?c=d&"
    database = Database(Settings(state_dir=state_dir))
    try:
        await upgrade(database)
        assert 0 == await count(database)
    finally:
        await database.close()

    assert await asyncio.to_thread((state_dir / "rootblood.db").is_file)


async def test_a_url_of_ones_own(tmp_path: Path) -> None:
    database = Database(Settings(database=DatabaseSettings(url=f"sqlite+aiosqlite:///{tmp_path}/own.db")))
    try:
        await upgrade(database)
        assert 0 == await count(database)
    finally:
        await database.close()

    assert await asyncio.to_thread((tmp_path / "own.db").is_file)


async def test_a_write_is_seen_by_the_next_read(database: Database) -> None:
    async with database.write() as session:
        await session.execute(INSERT, {"uid": 1, "name": "a"})

    assert 1 == await count(database)


async def test_an_error_in_the_block_takes_everything_back(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as session:
            await session.execute(INSERT, {"uid": 1, "name": "a"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()

    assert 0 == await count(database)


async def test_cancelling_a_write_takes_it_back_and_lets_the_next_one_in(database: Database) -> None:
    written = asyncio.Event()

    async def write_and_hang() -> None:
        async with database.write() as session:
            await session.execute(INSERT, {"uid": 1, "name": "a"})
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write_and_hang())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with database.write() as session:
        await session.execute(INSERT, {"uid": 2, "name": "b"})
    assert 1 == await count(database)


async def test_what_is_uninterrupted_ends_before_its_cancelled_caller_does() -> None:
    started, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @uninterrupted
    async def work() -> None:
        started.set()
        await may_end.wait()
        ended.set()

    task = asyncio.create_task(work())
    await started.wait()
    for _ in range(3):  # however often
        task.cancel()
        await asyncio.wait([task], timeout=0.01)
    assert not task.done()

    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_what_is_uninterrupted_tells_its_caller_how_it_ended() -> None:
    @uninterrupted
    async def divide(by: int) -> float:
        return 1 / by

    assert 0.5 == await divide(2)
    with pytest.raises(ZeroDivisionError):
        await divide(0)


async def test_a_read_sees_one_state_throughout(database: Database) -> None:
    async with database.read() as reading:
        before = await reading.scalar(COUNT)
        async with database.write() as session:
            await session.execute(INSERT, {"uid": 1, "name": "a"})
        assert before == await reading.scalar(COUNT)


async def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    async with database.write() as session:
        await session.execute(INSERT, {"uid": 1, "name": "a"})
        assert 0 == await count(database)


async def test_what_the_constraints_forbid_is_a_conflict(database: Database) -> None:
    async def twice() -> None:
        async with database.write() as session:
            await session.execute(INSERT, {"uid": 1, "name": "a"})
            await session.execute(INSERT, {"uid": 2, "name": "a"})

    with pytest.raises(ConflictError):
        await twice()


async def test_many_writers_at_once_all_get_their_turn(settings: Settings, database: Database) -> None:
    other = Database(settings)

    async def add(number: int) -> None:
        async with (other if number % 2 else database).write() as session:
            await session.execute(INSERT, {"uid": number, "name": str(number)})

    async with asyncio.TaskGroup() as tasks:
        for number in range(100):
            tasks.create_task(add(number))

    assert 100 == await count(database)
    await other.close()


async def test_a_database_locked_by_another_process_is_unavailable_to_writers_only(
    impatient: Database,
) -> None:
    def lock() -> sqlite3.Connection:
        connection = sqlite3.connect(file_of(impatient), check_same_thread=False, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        return connection

    async def write() -> None:
        async with impatient.write() as session:
            await session.execute(INSERT, {"uid": 1, "name": "a"})

    holder = await asyncio.to_thread(lock)
    try:
        # Those that queue behind the first are not made to wait for it and then for themselves again.
        async with asyncio.timeout(5):
            results = await asyncio.gather(*(write() for _ in range(20)), return_exceptions=True)
        assert [StoreUnavailableError] * 20 == [type(result) for result in results]
        assert 0 == await count(impatient)
    finally:
        await asyncio.to_thread(holder.close)

    await write()
    assert 1 == await count(impatient)


async def test_more_readers_than_connections_wait_and_then_give_up(impatient: Database) -> None:
    async def hold(ready: asyncio.Semaphore) -> None:
        async with impatient.read() as session:
            await session.execute(COUNT)
            ready.release()
            await asyncio.Event().wait()

    ready = asyncio.Semaphore(0)
    holders = [asyncio.create_task(hold(ready)) for _ in range(4)]
    for _ in holders:
        await ready.acquire()

    with pytest.raises(StoreUnavailableError):
        await count(impatient)

    for holder in holders:
        holder.cancel()
    await asyncio.gather(*holders, return_exceptions=True)
    assert 0 == await count(impatient)


async def test_a_file_that_is_no_database_is_unavailable(bare_database: Database) -> None:
    await bare_database.create()
    await asyncio.to_thread(file_of(bare_database).write_bytes, b"something else entirely, " * 100)

    with pytest.raises(StoreUnavailableError):
        await count(bare_database)


async def test_a_database_that_went_away_is_unavailable(settings: Settings, database: Database) -> None:
    await database.close()
    await asyncio.to_thread(file_of(database).rename, settings.state_dir / "elsewhere.db")

    with pytest.raises(StoreUnavailableError, match="the database does not answer"):
        await count(database)


async def test_foreign_keys_are_off_while_the_schema_changes_and_on_again_after(database: Database) -> None:
    async with database.change_schema() as connection:
        assert 0 == (await connection.scalars(text("PRAGMA foreign_keys"))).one()

    assert 1 == await pragma(database, "foreign_keys")


def test_the_url_of_the_settings_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert tmp_path / "state" / "rootblood.db" == file_of(Database(Settings()))


def test_closing_leaves_a_file_that_any_sqlite_reads(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")

    async def make() -> None:
        database = Database(settings)
        await upgrade(database)
        await database.close()

    asyncio.run(make())

    with closing(sqlite3.connect(tmp_path / "state" / "rootblood.db")) as connection:
        assert [(0,)] == connection.execute(str(COUNT)).fetchall()
