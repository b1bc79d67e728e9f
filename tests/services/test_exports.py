"""Tarballs of homes, over the fake engine and a real spool."""

import asyncio
import hashlib
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Action, Actor, Door
from rootblood.domain.environments import EnvironmentState, Identity
from rootblood.domain.exports import ArchiveFormat, Export, ExportState, Progress
from rootblood.domain.leases import LeaseKind
from rootblood.errors import ConflictError, LimitReachedError, NotFoundError
from rootblood.link.keys import LinkKeys, create_link_keys, read_link_keys
from rootblood.link.link import ENTER_PROGRAM
from rootblood.services.archives import EXPORT_PROGRAM
from rootblood.services.environments import Environments
from rootblood.services.exports import Exports
from rootblood.services.visits import Visits
from rootblood.settings import ExportSettings, LinkSettings, Settings
from rootblood.stores.spool import Spool, SpoolFile
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.visits import SqlVisitStore
from tests.databases import set_up
from tests.fakes import exporter, sshd
from tests.fakes.engine import FakeEngine, FakeHost

GZIP = ArchiveFormat.GZIP


BOB = Actor(Door.API, "192.0.2.7", "bob")


class World:
    """An installation with one account, alice, and how her exports are made."""

    def __init__(
        self, directory: Path, alice: Account, engine: FakeEngine, environments: Environments
    ) -> None:
        self.alice = alice
        self.engine = engine
        self.environments = environments
        self.home = engine.host.home(alice.userhash)
        self.spooled = directory / "exports"
        self.spool = Spool(self.spooled, max_bytes=1000, min_free_bytes=0)
        self.spool.recover()
        self.trail: list[tuple[str, Action, Actor, str]] = []

    def exports(self, **settings: float) -> Exports:
        return Exports(self.environments, self.spool, ExportSettings.model_validate(settings), self.record)

    def record(self, account: Account, action: Action, by: Actor, detail: str = "") -> None:
        self.trail.append((account.name, action, by, detail))

    @property
    def runs(self) -> bool:
        return self.engine.host.containers[self.alice.userhash][1].state is EnvironmentState.RUNNING

    def next_archive(self, frames: bytes, *, hold: bool = False) -> None:
        """What the next exports give."""
        self.home.mkdir(exist_ok=True)
        (self.home / "frames").write_bytes(frames)
        if hold:
            (self.home / "hold").touch()

    def files(self) -> list[str]:
        return sorted(path.name.partition(".")[2] for path in self.spooled.glob("*/*"))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(Settings(state_dir=tmp_path / "state"))
    await set_up(database)
    yield database
    await database.close()


@pytest.fixture
def keys(tmp_path: Path) -> LinkKeys:
    create_link_keys(tmp_path / "keys")
    return read_link_keys(tmp_path / "keys")


@pytest.fixture
async def world(tmp_path: Path, database: Database, keys: LinkKeys) -> AsyncIterator[World]:
    store = SqlAccountStore(database, Settings().accounts)
    alice = await store.add(
        name="alice", userhash=secrets.token_hex(16), admin=False, password_hash=None, keys=()
    )
    host = FakeHost(tmp_path)
    programs = {
        ENTER_PROGRAM: [sys.executable, sshd.__file__, str(host.system("default"))],
        EXPORT_PROGRAM: [sys.executable, exporter.__file__],
    }
    engine = FakeEngine(host, programs=programs)
    visits = Visits(SqlVisitStore(database))
    environments = Environments(
        engine=engine,
        store=store,
        visits=visits,
        keys=keys,
        settings=LinkSettings(),
    )
    async with asyncio.timeout(60):
        yield await asyncio.to_thread(World, tmp_path, alice, engine, environments)
    await environments.close()
    await visits.close()
    await engine.close()


async def streamed(exports: Exports, account: Account) -> bytes:
    content = b""
    async with exports.stream(account, GZIP) as archive:
        while data := await archive.read():
            content += data
    return content


async def done(exports: Exports, account: Account, export: Export) -> Export:
    return [told async for told in exports.follow(account, export.id, interval_s=0.05)][-1]


async def expire(world: World, export: Export) -> None:
    """Let its time be up."""
    await asyncio.to_thread(world.spool.record, replace(export, expires_at=datetime.now(UTC)))


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(50):
        while not await condition():  # noqa: ASYNC110 - it happens on a disk, or in another process
            await asyncio.sleep(0.02)


async def test_a_stopped_environment_is_left_as_it_was_found(world: World) -> None:
    exports = world.exports(gzip_level=4)
    assert await streamed(exports, world.alice) == b"tarball"
    assert not world.runs
    assert await asyncio.to_thread((world.home / "runs").read_text) == "--frames --level 4 tar.gz\n"
    await world.engine.ensure(Identity.of(world.alice))
    await streamed(exports, world.alice)
    assert world.runs


async def test_an_environment_that_somebody_came_to_use_goes_on(world: World) -> None:
    exports = world.exports()
    async with exports.stream(world.alice, GZIP), world.environments.link(world.alice):
        pass
    assert not world.runs
    async with world.environments.link(world.alice):
        async with exports.stream(world.alice, GZIP):
            pass
        assert world.runs
        await world.engine.stop(world.alice.userhash)
        async with exports.stream(world.alice, GZIP):
            pass
        assert world.runs


async def test_who_stops_reading_stops_it(world: World) -> None:
    await asyncio.to_thread(world.next_archive, exporter.frame(b"d", b"x"), hold=True)
    async with (
        world.environments.lent(world.alice, LeaseKind.EXPORT),
        world.exports().stream(world.alice, GZIP) as archive,
    ):
        assert await archive.read() == b"x"
        archive.close()
        await eventually(partial(asyncio.to_thread, (world.home / "left").exists))


async def test_no_more_than_may_be_at_one_time(world: World) -> None:
    exports = world.exports(max_of_account=2)
    async with exports.stream(world.alice, GZIP), exports.stream(world.alice, GZIP):
        with pytest.raises(LimitReachedError, match="wait for one"):
            await streamed(exports, world.alice)
    assert await streamed(exports, world.alice) == b"tarball"
    crowded = world.exports(max_concurrent=1)
    async with crowded.stream(world.alice, GZIP):
        with pytest.raises(LimitReachedError, match="as many tarballs as it may"):
            await streamed(crowded, world.alice)


async def test_no_longer_than_may_be(world: World) -> None:
    await asyncio.to_thread(world.next_archive, exporter.frame(b"d", b"x"), hold=True)
    with pytest.raises(LimitReachedError, match="too long"):
        await streamed(world.exports(max_s=0.3), world.alice)
    assert not world.runs


async def test_whatever_was_read_is_in_the_trail(world: World) -> None:
    exports = world.exports()
    async with exports.stream(world.alice, GZIP, by=BOB) as archive:
        while await archive.read():
            pass
    await asyncio.to_thread(world.next_archive, exporter.frame(b"d", b"x" * 500), hold=True)
    async with exports.stream(world.alice, ArchiveFormat.ZSTD, by=BOB) as archive:
        await archive.read()
    assert world.trail == [
        ("alice", Action.EXPORT_MADE, BOB, "home.tar.gz, 7 bytes of home"),
        ("alice", Action.EXPORT_MADE, BOB, "home.tar.zst, 500 bytes of home, broken off"),
    ]


async def test_what_is_kept_is_in_the_trail_once_it_is(world: World) -> None:
    exports = world.exports()
    await done(exports, world.alice, await exports.spool(world.alice, GZIP, by=BOB))

    async def is_told() -> bool:
        return bool(world.trail)

    await eventually(is_told)
    assert world.trail == [
        ("alice", Action.EXPORT_MADE, BOB, "home.tar.gz, 7 bytes of home, kept here for a while")
    ]
    await asyncio.to_thread(world.next_archive, exporter.frame(b"d", b"x") + b"nonsense")
    await done(exports, world.alice, await exports.spool(world.alice, GZIP, by=BOB))
    assert len(world.trail) == 1


async def test_a_tarball_in_the_spool(world: World) -> None:
    exports = world.exports()
    begun = await exports.spool(world.alice, GZIP)
    assert begun.state is ExportState.RUNNING
    export = await done(exports, world.alice, begun)
    assert (export.state, export.progress) == (ExportState.READY, Progress(7, 3))
    assert export.sha256 == hashlib.sha256(b"tarball").hexdigest()
    assert export.expires_at - export.created_at == timedelta(days=1)
    _, path = await exports.path(world.alice, export.id)
    assert await asyncio.to_thread(path.read_bytes) == b"tarball"
    assert await exports.list(world.alice) == [export]
    await exports.delete(world.alice, export.id)
    assert (await exports.list(world.alice), await asyncio.to_thread(world.files)) == ([], [])
    with pytest.raises(NotFoundError):
        await exports.delete(world.alice, export.id)


async def test_one_that_fails_says_why_and_leaves_nothing(world: World) -> None:
    failing = exporter.frame(b"d", b"x") + exporter.frame(
        b"e", b'{"files": 1, "error": "no x", "warnings": []}'
    )
    await asyncio.to_thread(world.next_archive, failing)
    exports = world.exports()
    export = await done(exports, world.alice, await exports.spool(world.alice, GZIP))
    assert (export.state, str(export.error)[-4:]) == (ExportState.FAILED, "no x")
    assert await asyncio.to_thread(world.files) == ["json"]
    with pytest.raises(ConflictError, match="no x"):
        await exports.path(world.alice, export.id)


async def test_a_full_spool(world: World) -> None:
    await asyncio.to_thread(world.next_archive, exporter.frame(b"d", b"x" * 2000) + exporter.GOOD_END)
    exports = world.exports()
    export = await done(exports, world.alice, await exports.spool(world.alice, GZIP))
    assert (export.state, await asyncio.to_thread(world.files)) == (ExportState.FAILED, ["json"])
    assert "no room" in str(export.error)


async def test_one_on_its_way_is_alone_and_can_be_broken_off(world: World) -> None:
    await asyncio.to_thread(world.next_archive, exporter.frame(b"d", b"x"), hold=True)
    exports = world.exports()
    export = await exports.spool(world.alice, GZIP)
    with pytest.raises(ConflictError, match="on its way"):
        await exports.spool(world.alice, GZIP)

    async def is_growing() -> bool:
        return (await exports.find(world.alice, export.id)).progress.bytes > 0

    await eventually(is_growing)
    with pytest.raises(ConflictError, match="still on its way"):
        await exports.path(world.alice, export.id)
    await exports.delete(world.alice, export.id)
    assert (await asyncio.to_thread(world.files), world.runs) == ([], False)


async def test_the_oldest_makes_room(world: World) -> None:
    exports = world.exports(spool_max_of_account=2)
    made = [await done(exports, world.alice, await exports.spool(world.alice, GZIP)) for _ in range(3)]
    assert [export.id for export in await exports.list(world.alice)] == [made[2].id, made[1].id]


async def test_attempts_that_failed_do_not_push_out_what_is_ready(world: World) -> None:
    exports = world.exports(spool_max_of_account=2)
    ready = await done(exports, world.alice, await exports.spool(world.alice, GZIP))
    await asyncio.to_thread(world.next_archive, exporter.frame(b"d", b"x") + b"nonsense")
    failed = []
    for _ in range(3):
        failed.append(await done(exports, world.alice, await exports.spool(world.alice, GZIP)))
        await exports.settled()  # it is told a moment before there may be another
    assert [failed[2].id, ready.id] == [export.id for export in await exports.list(world.alice)]


async def test_of_many_that_are_begun_at_once_one_is_made(world: World) -> None:
    exports = world.exports()
    begun = await asyncio.gather(
        *[exports.spool(world.alice, GZIP) for _ in range(5)], return_exceptions=True
    )
    (export,) = (each for each in begun if isinstance(each, Export))
    assert 4 == sum(isinstance(each, ConflictError) for each in begun)
    made = await done(exports, world.alice, export)
    assert ([made], ExportState.READY) == (await exports.list(world.alice), made.state)


def hold_what_begins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> tuple[threading.Event, threading.Event]:
    """Have the spool wait as it begins a tarball: it sets the first then, and the second lets it go on."""
    is_beginning, may_begin = threading.Event(), threading.Event()
    begin = world.spool.begin

    def slowly(export: Export) -> SpoolFile:
        is_beginning.set()
        may_begin.wait(60)
        return begin(export)

    monkeypatch.setattr(world.spool, "begin", slowly)
    return is_beginning, may_begin


async def test_who_leaves_while_one_is_begun_leaves_none_that_nobody_makes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_beginning, may_begin = hold_what_begins(world, monkeypatch)
    exports = world.exports()
    asking = asyncio.create_task(exports.spool(world.alice, GZIP))
    await asyncio.to_thread(is_beginning.wait, 60)
    asking.cancel()
    await asyncio.wait([asking])
    may_begin.set()
    await exports.settled()
    assert [ExportState.READY] == [export.state for export in await exports.list(world.alice)]


@pytest.mark.parametrize("ending", ["close", "delete_all"])
async def test_one_that_is_just_being_begun_is_broken_off_too(
    world: World, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    await asyncio.to_thread(world.next_archive, exporter.frame(b"d", b"x"), hold=True)
    is_beginning, may_begin = hold_what_begins(world, monkeypatch)
    exports = world.exports()
    asking = asyncio.create_task(exports.spool(world.alice, GZIP))
    await asyncio.to_thread(is_beginning.wait, 60)
    breaking = asyncio.create_task(exports.close() if ending == "close" else exports.delete_all(world.alice))
    await asyncio.sleep(0)
    may_begin.set()
    await asyncio.wait([asking, breaking])
    await breaking
    assert ([], ["json"] if ending == "close" else []) == (
        list(exports._spooling),
        await asyncio.to_thread(world.files),
    )


async def test_what_is_ready_stays_whatever_becomes_of_its_environment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = asyncio.Event()

    async def stop(_userhash: str, **_options: object) -> None:
        stopping.set()
        await asyncio.sleep(3600)

    monkeypatch.setattr(world.engine, "stop", stop)
    exports = world.exports()
    export = await done(exports, world.alice, await exports.spool(world.alice, GZIP))
    await stopping.wait()
    another = await exports.spool(world.alice, GZIP)
    await exports.close()
    assert (await exports.find(world.alice, export.id)).state is ExportState.READY
    assert (await exports.find(world.alice, another.id)).state is not ExportState.RUNNING


async def test_a_stop_of_the_server_breaks_off_and_says_so(world: World) -> None:
    await asyncio.to_thread(world.next_archive, exporter.frame(b"d", b"x"), hold=True)
    exports = world.exports()
    export = await exports.spool(world.alice, GZIP)
    await exports.close()
    found = await exports.find(world.alice, export.id)
    assert (found.state, found.error) == (ExportState.FAILED, "the server is being stopped; make another one")
    assert await asyncio.to_thread(world.files) == ["json"]


async def test_what_another_account_has_is_not_there(world: World) -> None:
    exports = world.exports()
    export = await done(exports, world.alice, await exports.spool(world.alice, GZIP))
    bob = replace(world.alice, name="bob", userhash=secrets.token_hex(16))
    for ask in (exports.find, exports.path, exports.delete):
        for export_id in (export.id, "../" + export.id, "", "x" * 10_000):
            with pytest.raises(NotFoundError):
                await ask(bob, export_id)
    assert await exports.list(bob) == []
    await exports.delete_all(world.alice)
    assert await asyncio.to_thread(lambda: list(world.spooled.iterdir())) == []


async def test_expired_is_gone(world: World) -> None:
    exports = world.exports()
    export = await done(exports, world.alice, await exports.spool(world.alice, GZIP))
    await expire(world, export)
    assert await exports.list(world.alice) == []
    with pytest.raises(NotFoundError):
        await exports.path(world.alice, export.id)
    await asyncio.to_thread(world.spool.delete_expired, datetime.now(UTC))
    assert await asyncio.to_thread(world.files) == []


async def test_who_follows_what_nobody_makes_does_not_spin(world: World) -> None:
    exports = world.exports()
    export = await done(exports, world.alice, await exports.spool(world.alice, GZIP))
    soon = datetime.now(UTC) + timedelta(seconds=0.5)
    left = replace(export, state=ExportState.RUNNING, expires_at=soon)
    await asyncio.to_thread(world.spool.record, left)
    told: list[Export] = []

    async def follow() -> None:
        async for each in exports.follow(world.alice, export.id, interval_s=0.1):
            told.append(each)  # noqa: PERF401 - those before the error count

    with pytest.raises(NotFoundError, match="expired"):
        await follow()
    assert len(told) <= 6


async def test_what_expired_is_deleted_without_anybody_asking(world: World) -> None:
    exports = world.exports(spool_sweep_interval_s=0.05)
    await expire(world, await done(exports, world.alice, await exports.spool(world.alice, GZIP)))
    assert await asyncio.to_thread(world.files) == ["json", "tar.gz"]
    aside = world.spooled.with_name("aside")
    await asyncio.to_thread(world.spooled.rename, aside)  # a disk that is away for a while
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(exports.expire(stop))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(aside.rename, world.spooled)

        async def is_gone() -> bool:
            return await asyncio.to_thread(world.files) == []

        await eventually(is_gone)
        stop.set()
