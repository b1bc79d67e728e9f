"""What is PostgreSQL's own: how it is reached, what it costs when it goes away, and what it does not take."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from rootblood.cli.output import explain
from rootblood.domain.keys import PublicKey
from rootblood.errors import ConfigurationError, InvalidInputError, StoreUnavailableError
from rootblood.settings import DatabaseSettings, Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.schema import upgrade
from tests.postgresql import Cluster, running_cluster
from tests.stores.sql.statements import INSERT, count, insert

pytestmark = pytest.mark.backend("postgresql")


def database_at(url: str, **more: float) -> Database:
    return Database(Settings(database=DatabaseSettings.model_validate({"url": url, **more})))


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """One that a test may stop."""
    with running_cluster() as made:
        yield made


@pytest.fixture
async def own_database(own_cluster: Cluster) -> AsyncIterator[Database]:
    database = database_at(own_cluster.url(own_cluster.create()), busy_timeout_s=2)
    await upgrade(database)
    yield database
    await database.close()


async def setting(database: Database, name: str) -> str:
    async with database.read() as session:
        return str((await session.scalars(text(f"SHOW {name}"))).one())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lock_timeout", "5s"),
        ("statement_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "20s"),
        ("transaction_isolation", "repeatable read"),
        ("transaction_read_only", "on"),
        ("application_name", "rootblood"),
    ],
)
async def test_what_a_read_runs_under(database: Database, name: str, value: str) -> None:
    assert value == await setting(database, name)


async def test_a_write_sees_what_was_committed_while_it_waited(database: Database) -> None:
    async with database.write() as session:
        isolation = (await session.scalars(text("SHOW transaction_isolation"))).one()

    assert "read committed" == isolation


async def test_a_password_in_the_url_is_used_and_never_shown(cluster: Cluster) -> None:
    name = cluster.create()
    cluster.guard(name, "p@/:%?secret")
    database = database_at(cluster.url(name, password="p%40%2F%3A%25%3Fsecret"))
    await upgrade(database)
    assert 0 == await count(database)
    await database.close()

    mistaken = database_at(cluster.url(name, password="p%40wrongsecret"))
    with pytest.raises(StoreUnavailableError) as refused:
        await count(mistaken)

    assert "password authentication failed" in explain(refused.value)
    assert "wrongsecret" not in explain(refused.value)
    assert "secret" not in mistaken.name
    await mistaken.close()


async def test_no_error_shows_what_was_to_be_stored(database: Database) -> None:
    with pytest.raises(StoreUnavailableError) as failed:
        async with database.write() as session:
            await session.execute(text("UPDATE nowhere SET x = :x"), {"x": "$argon2id$secret"})

    assert "argon2id" not in str(failed.value.__cause__)


@pytest.mark.parametrize("where", ["nowhere", "x?host=/nowhere", "x?host=127.0.0.1&port=1"])
async def test_a_server_that_is_not_there_is_unavailable(where: str) -> None:
    database = database_at(
        f"postgresql+asyncpg://x@/{where}" if "?" in where else f"postgresql+asyncpg://x@127.0.0.1:1/{where}"
    )

    with pytest.raises(StoreUnavailableError, match="the database does not answer"):
        await count(database)


async def test_an_option_that_nobody_knows(cluster: Cluster) -> None:
    database = database_at(cluster.url(cluster.create()) + "&colour=blue")

    with pytest.raises(ConfigurationError, match="an option that asyncpg does not take"):
        await count(database)


async def test_it_heals_once_postgresql_is_back(own_cluster: Cluster, own_database: Database) -> None:
    await insert(own_database, 1, "a")
    await asyncio.to_thread(own_cluster.stop)
    for use in (count(own_database), insert(own_database, 2, "b")):
        with pytest.raises(StoreUnavailableError):
            await use

    await asyncio.to_thread(own_cluster.start)

    await insert(own_database, 2, "b")
    assert 2 == await count(own_database)


async def test_a_postgresql_that_hangs_is_not_waited_for_for_ever(
    own_cluster: Cluster, own_database: Database
) -> None:
    assert 0 == await count(own_database)
    backends = own_cluster.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'rootblood'")
    stopped = [own_cluster.process.pid, *(int(pid) for pid in backends.splitlines())]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(30):
            with pytest.raises(StoreUnavailableError):
                await count(own_database)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)

    assert 0 == await count(own_database)


async def test_a_writer_elsewhere_that_froze_loses_its_lock(cluster: Cluster) -> None:
    url = cluster.url(cluster.create())
    frozen, other = database_at(url, busy_timeout_s=1), database_at(url, busy_timeout_s=20)
    await upgrade(other)

    async def freeze(in_it: asyncio.Event, until: asyncio.Event) -> None:
        async with frozen.write() as session:
            await session.execute(INSERT, {"uid": 1, "name": "a"})
            in_it.set()
            await until.wait()

    in_it, until = asyncio.Event(), asyncio.Event()
    freezing = asyncio.create_task(freeze(in_it, until))
    await in_it.wait()
    await insert(other, 2, "b")  # waits until PostgreSQL has had enough
    until.set()
    with pytest.raises(StoreUnavailableError):
        await freezing

    assert 1 == await count(other)
    await frozen.close()
    await other.close()


async def test_a_writer_elsewhere_that_takes_too_long_is_not_waited_for(
    database: Database, impatient: Database
) -> None:
    async with database.write() as session:
        await session.execute(INSERT, {"uid": 1, "name": "a"})
        with pytest.raises(StoreUnavailableError):
            await insert(impatient, 2, "b")

    await insert(impatient, 2, "b")
    assert 2 == await count(database)


async def test_what_it_cannot_keep_is_bad_input(store: SqlAccountStore) -> None:
    for name, comment in (("a" * 33, ""), ("alice", "a\0b")):
        with pytest.raises(InvalidInputError, match="cannot be kept"):
            await store.add(
                name=name,
                userhash="ab" * 16,
                admin=False,
                password_hash=None,
                keys=[PublicKey("ssh-ed25519", b"blob", comment)],
            )

    assert [] == await store.list()


async def test_nothing_is_made_in_the_state_directory(settings: Settings, database: Database) -> None:
    assert await database.exists()
    assert not await asyncio.to_thread(Path.exists, settings.state_dir)
