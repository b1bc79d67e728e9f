"""What is SQLite's own: its file, its settings, its lock."""

import asyncio
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from rootblood.errors import ConfigurationError, StoreUnavailableError
from rootblood.settings import DatabaseSettings, Settings
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.schema import upgrade
from tests.stores.sql.statements import COUNT, INSERT, count

pytestmark = pytest.mark.backend("sqlite")


def file_of(database: Database) -> Path:
    assert database.file is not None
    return database.file


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


async def test_no_thread_is_begun_for_a_file_that_cannot_be_opened(
    bare_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    start = threading.Thread.start

    def note(thread: threading.Thread) -> None:
        begun.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", note)
    with pytest.raises(StoreUnavailableError):
        await count(bare_database)
    assert [] == [name for name in begun if not name.startswith("asyncio_")]


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
    database = Database(
        Settings(database=DatabaseSettings.model_validate({"url": f"sqlite+aiosqlite:///{tmp_path}/own.db"}))
    )
    try:
        await upgrade(database)
        assert 0 == await count(database)
    finally:
        await database.close()

    assert await asyncio.to_thread((tmp_path / "own.db").is_file)


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
        began_at = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            await write()
        alone_s = time.monotonic() - began_at
        # Those that queue behind the first are not made to wait for it and then for themselves again.
        async with asyncio.timeout(10 * alone_s):
            results = await asyncio.gather(*(write() for _ in range(20)), return_exceptions=True)
        assert [StoreUnavailableError] * 20 == [type(result) for result in results]
        assert 0 == await count(impatient)
    finally:
        await asyncio.to_thread(holder.close)

    await write()
    assert 1 == await count(impatient)


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
