"""Locks on accounts, by files and by PostgreSQL: between tasks, between servers, and when a server dies."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rootblood.domain.accounts import new_userhash
from rootblood.errors import EnvironmentFailedError, StoreUnavailableError
from rootblood.settings import DatabaseSettings, Settings
from rootblood.stores.locks import FileAccountLocks, SharedLocks
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.locks import PostgresqlAccountLocks
from tests.postgresql import running_cluster
from tests.stores.sql.conftest import env_of

ALICE, BOB = new_userhash(), new_userhash()

Server = Callable[..., SharedLocks]

HOLD_FOR_EVER = """
import asyncio, sys
from rootblood.app import _account_locks
from rootblood.settings import Settings
from rootblood.stores.sql.database import Database

async def main():
    settings = Settings()
    async with _account_locks(settings, Database(settings)).hold(sys.argv[1]):
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def new_server(settings: Settings) -> AsyncIterator[Server]:
    """Makes what each server of one installation has."""
    made: list[SharedLocks] = []

    def make(patience_s: float = 30) -> SharedLocks:
        database = Database(settings)
        locks: SharedLocks = (
            FileAccountLocks(settings.state_dir / "locks", patience_s)
            if database.file
            else PostgresqlAccountLocks(database, settings.database, patience_s)
        )
        made.append(locks)
        return locks

    yield make
    for locks in made:
        await locks.close()


async def test_of_many_tasks_of_many_servers_one_is_inside(new_server: Server) -> None:
    inside, most, entered = 0, 0, 0

    async def enter(locks: SharedLocks) -> None:
        nonlocal inside, most, entered
        async with locks.hold(ALICE):
            inside += 1
            most, entered = max(most, inside), entered + 1
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(enter(locks) for locks in [new_server() for _ in range(3)] for _ in range(10)))

    assert (1, 30) == (most, entered)


async def test_accounts_do_not_wait_for_one_another(new_server: Server) -> None:
    one, other = new_server(), new_server()
    async with asyncio.timeout(10), one.hold(ALICE), one.hold(BOB), other.hold(new_userhash()):
        pass


async def test_another_server_is_not_waited_for_for_ever(new_server: Server) -> None:
    one, other = new_server(), new_server(patience_s=0.1)
    async with one.hold(ALICE):
        with pytest.raises(EnvironmentFailedError, match="another server is still at work"):
            async with other.hold(ALICE):
                pass

    async with asyncio.timeout(10), other.hold(ALICE):
        pass


async def test_who_gives_up_while_waiting_leaves_nothing_behind(new_server: Server) -> None:
    one, other = new_server(), new_server()

    async def wait_for(locks: SharedLocks) -> None:
        async with locks.hold(ALICE):
            pass

    async with one.hold(ALICE):
        waiting = [asyncio.create_task(wait_for(locks)) for locks in (one, other, other)]
        await asyncio.wait(waiting, timeout=0.2)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    assert [True] * 3 == [task.cancelled() for task in waiting]
    for locks in (one, other, one):
        async with asyncio.timeout(10), locks.hold(ALICE):
            pass


async def test_an_error_inside_lets_go(new_server: Server) -> None:
    one, other = new_server(), new_server()
    with pytest.raises(ZeroDivisionError):
        async with one.hold(ALICE):
            raise ZeroDivisionError

    async with asyncio.timeout(10), other.hold(ALICE):
        pass


async def test_a_server_that_is_killed_lets_go(settings: Settings, new_server: Server) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD_FOR_EVER, ALICE, env=env_of(settings), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert b"held\n" == await process.stdout.readline()
    with pytest.raises(EnvironmentFailedError):
        async with new_server(patience_s=0.1).hold(ALICE):
            pass

    process.kill()
    await process.communicate()

    async with asyncio.timeout(10), new_server().hold(ALICE):
        pass


async def test_locks_that_cannot_be_had_are_an_error(tmp_path: Path) -> None:
    await asyncio.to_thread((tmp_path / "locks").touch)

    with pytest.raises(StoreUnavailableError, match="locks"):
        async with FileAccountLocks(tmp_path / "locks").hold(ALICE):
            pass


async def test_a_postgresql_that_was_restarted_gives_locks_again() -> None:
    with running_cluster() as cluster:
        url = cluster.url(cluster.create())
        settings = Settings(database=DatabaseSettings.model_validate({"url": url, "busy_timeout_s": 2}))
        locks = PostgresqlAccountLocks(Database(settings), settings.database)
        async with locks.hold(ALICE):
            await asyncio.to_thread(cluster.stop)
        with pytest.raises(StoreUnavailableError):
            async with locks.hold(ALICE):
                pass
        await asyncio.to_thread(cluster.start)

        async with locks.hold(ALICE), locks.hold(BOB):
            assert "2" == cluster.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert "0" == cluster.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        await locks.close()
