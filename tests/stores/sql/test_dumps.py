"""Copies of a PostgreSQL database that is in use, by its own programs."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from rootblood.domain.accounts import Account
from rootblood.domain.logins import LoginSession
from rootblood.errors import ConfigurationError, ConflictError, InvalidInputError, StoreUnavailableError
from rootblood.settings import DatabaseSettings, Settings
from rootblood.stores.sql import dumps
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.checking import check
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.dumps import PostgresqlCopies
from rootblood.stores.sql.logins import SqlLoginStore
from rootblood.stores.sql.revisions import schema_is_current
from rootblood.stores.sql.schema import upgrade
from tests.postgresql import Cluster

pytestmark = pytest.mark.backend("postgresql")

PASSWORD = "p@/:%?secret"
QUOTED_PASSWORD = "p%40%2F%3A%25%3Fsecret"


@pytest.fixture
def copies(database: Database) -> PostgresqlCopies:
    return PostgresqlCopies(database)


def _database(url: str) -> Database:
    return Database(Settings(database=DatabaseSettings.model_validate({"url": url})))


async def _add(store: SqlAccountStore, name: str) -> Account:
    return await store.add(name=name, userhash=name, admin=False, password_hash=None, keys=[])


def _programs(directory: Path, script: str) -> Path:
    """Programs of PostgreSQL's names that run a script of ours."""
    directory.mkdir()
    for name in ("pg_dump", "pg_restore"):
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    return directory


async def test_a_copy_has_what_was_there_at_its_moment(
    copies: PostgresqlCopies, store: SqlAccountStore, database: Database, tmp_path: Path
) -> None:
    before = await _add(store, "before")
    logins = SqlLoginStore(database)
    now = datetime.now(UTC)
    await logins.add(before, LoginSession("id", now, now, "192.0.2.1", "a browser"), b"hash")
    async with database.write() as session:  # somebody else's: neither in a copy nor lost by a restore
        await session.execute(text("CREATE TABLE foreign_to_us AS SELECT 1 AS one"))
    await copies.save(tmp_path / "copy")
    after = await _add(store, "after")
    await copies.check(tmp_path / "copy")
    assert 0o600 == (tmp_path / "copy").stat().st_mode & 0o777

    await copies.require_unused()
    await copies.restore(tmp_path / "copy")

    assert [before] == await store.list()
    assert await schema_is_current(database)
    assert [] == [line for line in await check(database) if "foreign_to_us" not in line]
    # Numbers go on as before, and those given out since are given again.
    assert after.uid == (await _add(store, "another")).uid
    assert [] == list(await logins.list("before"))
    async with database.read() as session:
        assert 1 == await session.scalar(text("SELECT one FROM foreign_to_us"))


async def test_a_server_that_has_it_open_is_noticed(
    copies: PostgresqlCopies, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumps, "_GONE_PAUSE_S", 0.01)
    other = Database(settings)
    async with other.read() as session:
        await session.execute(text("SELECT 1"))
        with pytest.raises(ConflictError, match="1 connections of servers: stop them all"):
            await copies.require_unused()
    await other.close()
    monkeypatch.undo()
    await copies.require_unused()


async def test_a_database_without_the_tables_is_none(
    bare_database: Database, copies: PostgresqlCopies
) -> None:
    assert await copies.exists()
    await copies._drop()
    assert not await copies.exists()
    assert not await schema_is_current(bare_database)


async def test_a_copy_that_cannot_be_used_is_refused(
    copies: PostgresqlCopies, database: Database, cluster: Cluster, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    await copies.save(copy)
    elsewhere = _database(cluster.url(await asyncio.to_thread(cluster.create)))
    with pytest.raises(ConfigurationError, match="search_path"):
        await PostgresqlCopies(elsewhere).check(copy)
    await elsewhere.close()

    whole = await asyncio.to_thread(copy.read_bytes)
    await asyncio.to_thread(copy.write_bytes, whole[: len(whole) // 2])
    with pytest.raises(InvalidInputError, match="damaged"):
        await copies.check(copy)
    await asyncio.to_thread(copy.unlink)

    async with database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = 'r9999'"))
    await copies.save(copy)
    with pytest.raises(ConfigurationError, match="newer RootBlood"):
        await copies.check(copy)


async def test_the_password_is_on_no_command_line(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await asyncio.to_thread(cluster.create)
    await asyncio.to_thread(cluster.guard, name, PASSWORD)
    database = _database(cluster.url(name, password=QUOTED_PASSWORD))
    await upgrade(database)
    said = tmp_path / "said"
    script = f'echo "$0 $*" >>{said}\nexec {cluster.programs}/"${{0##*/}}" "$@"'
    monkeypatch.setattr(dumps, "_DEBIAN", str(_programs(tmp_path / "bin", script)))
    copies = PostgresqlCopies(database)
    await copies.save(tmp_path / "copy")
    await copies.check(tmp_path / "copy")
    await copies.restore(tmp_path / "copy")
    await database.close()

    lines = said.read_text()
    assert {"pg_dump", "pg_restore"} == {line.split()[0].rpartition("/")[2] for line in lines.splitlines()}
    assert "secret" not in lines

    database = _database(cluster.url(name, password="another"))
    with pytest.raises(StoreUnavailableError):
        await PostgresqlCopies(database).save(tmp_path / "another")
    await database.close()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (
            "",
            r"is of PostgreSQL \?, and the database of \d+; install it: .* postgresql-client-\d+",
        ),
        ("echo 'pg_dump (PostgreSQL) 9.6.24'", r"is of PostgreSQL 9, and the database of \d+; install it"),
        ("exit 1", r"is of PostgreSQL \?"),
        (None, r"there is no pg_dump of PostgreSQL \d+; install it: apt-get install postgresql-client-\d+"),
    ],
    ids=["mute", "old", "broken", "missing"],
)
async def test_it_is_said_what_to_install(
    copies: PostgresqlCopies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, error: str
) -> None:
    monkeypatch.setattr(dumps, "_DEBIAN", str(tmp_path / "nowhere"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin") + os.pathsep + "/nowhere")
    if script is not None:
        _programs(tmp_path / "bin", script)
    with pytest.raises(ConfigurationError, match=error):
        await copies.save(tmp_path / "copy")


async def test_one_that_is_new_enough_is_taken_from_the_path(
    copies: PostgresqlCopies, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumps, "_DEBIAN", str(tmp_path / "nowhere"))
    monkeypatch.setenv("PATH", f"{cluster.programs}{os.pathsep}{os.environ['PATH']}")
    await copies.save(tmp_path / "copy")
    await copies.check(tmp_path / "copy")
