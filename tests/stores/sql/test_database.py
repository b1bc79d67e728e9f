"""Transactions, and what becomes of the errors of the database, on either kind."""

import asyncio

import pytest

from rootblood.errors import ConfigurationError, ConflictError, StoreUnavailableError
from rootblood.settings import DatabaseSettings, Settings
from rootblood.stores.sql.database import Database, uninterrupted
from tests.stores.sql.statements import COUNT, INSERT, count


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense", "not a URL"),
        ("sqlite+aiosqlite://", "must name a file"),
        ("sqlite+aiosqlite:///:memory:", "must name a file"),
        ("sqlite+aiosqlite:///file:x?uri=true", "must name a file"),
        ("sqlite+nonsense:///x.db", "no async driver"),
        ("nonsense://host/db", "no async driver"),
        ("postgresql://host/db", r"begins with postgresql\+asyncpg://"),
        ("postgresql+asyncpg://host:x/db", "not a URL"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Database(Settings(database=DatabaseSettings.model_validate({"url": url})))


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


async def test_more_readers_than_connections_wait_and_then_give_up(impatient: Database) -> None:
    async def hold(ready: asyncio.Semaphore) -> None:
        async with impatient.read() as session:
            await session.execute(COUNT)
            ready.release()
            await asyncio.Event().wait()

    ready = asyncio.Semaphore(0)
    size = 4 if impatient.file else 8
    holders = [asyncio.create_task(hold(ready)) for _ in range(size)]
    for _ in holders:
        await ready.acquire()

    with pytest.raises(StoreUnavailableError):
        await count(impatient)

    for holder in holders:
        holder.cancel()
    await asyncio.gather(*holders, return_exceptions=True)
    assert 0 == await count(impatient)


async def test_writers_take_turns_with_those_of_another_process(
    settings: Settings, database: Database
) -> None:
    """What a store has read in a transaction that writes still holds when it writes."""
    other = Database(settings)

    async def add_next(using: Database) -> None:
        async with using.write() as session:
            highest = await session.scalar(COUNT)
            await asyncio.sleep(0)  # let the others in, if they can come in
            await session.execute(INSERT, {"uid": highest, "name": str(highest)})

    await asyncio.gather(*(add_next(using) for _ in range(20) for using in (database, other)))

    assert 40 == await count(database)
    await other.close()


async def test_its_name_says_where_it_is_and_no_password(settings: Settings) -> None:
    url = "postgresql+asyncpg://alice:secret@db.example.org:5433/rb"
    guarded = settings.model_copy(update={"database": DatabaseSettings.model_validate({"url": url})})

    assert "PostgreSQL database rb on db.example.org:5433" == Database(guarded).name
    assert "secret" not in repr(guarded)
