"""The way from an account to a link, over the fake engine, the real store and a real SSH server."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.environments import EnsureStep, EnvironmentState, RestartReason, StopReason
from rootblood.domain.leases import LeaseKind
from rootblood.errors import EngineUnavailableError, EnvironmentFailedError, ImageMissingError
from rootblood.link.keys import LinkKeys, create_link_keys, read_link_keys
from rootblood.link.link import ENTER_PROGRAM, Link, SessionRequest
from rootblood.services.environments import Environments
from rootblood.services.visits import Visits
from rootblood.settings import LinkSettings, Settings
from rootblood.stores.locks import FileAccountLocks
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.visits import SqlVisitStore
from tests.databases import set_up
from tests.fakes import sshd
from tests.fakes.engine import FakeEngine, FakeHost


@dataclass(frozen=True)
class Memory:
    """The visits service, and the store below it."""

    visits: Visits
    store: SqlVisitStore

    async def restart(self, account: Account) -> RestartReason | None:
        """Why the environment was started again, once everything is written."""
        await self.visits.close()
        return await self.store.restart(account.userhash)


class Echo(asyncssh.SSHClientSession[bytes]):
    def __init__(self) -> None:
        self.data = b""
        self.closed = asyncio.Event()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:  # noqa: ARG002
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.closed.set()


async def echoed(link: Link, command: bytes) -> bytes:
    _, session = await link.open_session(Echo, SessionRequest(command=command))
    async with asyncio.timeout(60):
        await session.closed.wait()
    return session.data


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(Settings(state_dir=tmp_path / "state"))
    await set_up(database)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> SqlAccountStore:
    return SqlAccountStore(database, Settings().accounts)


@pytest.fixture
async def memory(database: Database) -> AsyncIterator[Memory]:
    store = SqlVisitStore(database)
    made = Memory(Visits(store), store)
    yield made
    await made.visits.close()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    host = FakeHost(tmp_path)
    program = [sys.executable, sshd.__file__, str(host.system("default"))]
    made = FakeEngine(host, programs={ENTER_PROGRAM: program})
    yield made
    await made.close()


@pytest.fixture
def keys(tmp_path: Path) -> LinkKeys:
    create_link_keys(tmp_path / "keys")
    return read_link_keys(tmp_path / "keys")


@pytest.fixture
async def environments(
    engine: FakeEngine, store: SqlAccountStore, memory: Memory, keys: LinkKeys
) -> AsyncIterator[Environments]:
    made = Environments(engine=engine, store=store, visits=memory.visits, keys=keys, settings=LinkSettings())
    yield made
    await made.close()


async def new_account(store: SqlAccountStore, name: str) -> Account:
    userhash = secrets.token_hex(16)
    return await store.add(name=name, userhash=userhash, admin=False, password_hash=None, keys=())


@pytest.fixture
async def alice(store: SqlAccountStore) -> Account:
    return await new_account(store, "alice")


async def test_a_link_reaches_the_environment(environments: Environments, alice: Account) -> None:
    steps: list[EnsureStep] = []
    async with environments.link(alice, on_step=steps.append) as link:
        assert b"a; 'b'\n" == await echoed(link, b"a; 'b'\n")
    assert [EnsureStep.CREATE] == steps
    assert [EnvironmentState.RUNNING] == [found.state for found in await environments.list()]


async def test_a_link_that_cannot_take_calls_is_as_good_as_any(
    environments: Environments, alice: Account
) -> None:
    environments.links.answer_calls(lambda _account: None)
    async with environments.link(alice) as link:
        assert b"one" == await echoed(link, b"one")
        assert b"two" == await echoed(link, b"two")
    async with asyncio.timeout(60):
        await environments.close()


async def test_names_are_published_once(
    environments: Environments, engine: FakeEngine, store: SqlAccountStore, alice: Account
) -> None:
    for _ in range(2):
        async with environments.link(alice):
            pass
    assert [["alice"]] == engine.installs
    bob = await new_account(store, "bob")  # by another process, say
    for _ in range(2):
        async with environments.link(bob):
            pass
        await environments.remove(bob)
    assert [["alice"], ["bob"]] == engine.installs
    assert [True, True] == [account.published for account in await store.list()]


async def test_deleted_accounts_keep_their_names(
    environments: Environments, engine: FakeEngine, store: SqlAccountStore, alice: Account
) -> None:
    await store.delete(alice.userhash)
    await environments.shared.prepare()
    assert [["alice"]] == engine.installs


async def test_connections_at_once_share_one_link_and_one_environment(
    environments: Environments, engine: FakeEngine, alice: Account
) -> None:
    async def use() -> Link:
        async with environments.link(alice) as link:
            return link

    links = await asyncio.gather(*(use() for _ in range(10)))
    assert 1 == len(set(links))
    assert 1 == engine.ensures


async def test_an_engine_that_comes_back_heals(
    environments: Environments, engine: FakeEngine, alice: Account
) -> None:
    engine.away = True
    with pytest.raises(EngineUnavailableError):
        await environments.shared.prepare()
    with pytest.raises(EngineUnavailableError):
        async with environments.link(alice):
            pass
    engine.away = False
    async with environments.link(alice) as link:
        assert b"hi" == await echoed(link, b"hi")
    assert [["alice"]] == engine.installs


async def test_an_image_that_is_built_meanwhile_heals(
    environments: Environments, engine: FakeEngine, alice: Account
) -> None:
    engine.image_present = False
    with pytest.raises(ImageMissingError):
        async with environments.link(alice):
            pass
    engine.image_present = True
    async with environments.link(alice) as link:
        assert link.is_open


async def test_a_link_that_fails_once_is_tried_once_more(
    environments: Environments, engine: FakeEngine, alice: Account
) -> None:
    engine.failing_streams = 1
    async with environments.link(alice) as link:
        assert link.is_open
    assert 0 == engine.failing_streams


async def test_a_link_that_fails_twice_is_an_error(
    environments: Environments, engine: FakeEngine, alice: Account
) -> None:
    engine.failing_streams = 2
    with pytest.raises(EnvironmentFailedError):
        async with environments.link(alice):
            pass
    assert 0 == engine.failing_streams


async def test_an_environment_that_does_not_start_is_an_error(
    environments: Environments, engine: FakeEngine, alice: Account
) -> None:
    engine.fail_starts = True
    with pytest.raises(EnvironmentFailedError):
        async with environments.link(alice):
            pass


async def test_after_a_stop_the_next_use_starts_it_again(environments: Environments, alice: Account) -> None:
    steps: list[EnsureStep] = []
    async with environments.link(alice) as first:
        assert await environments.stop(alice) is True
        async with asyncio.timeout(60):
            await first.wait_lost()
        async with environments.link(alice, on_step=steps.append) as second:
            assert b"again" == await echoed(second, b"again")
    assert [EnsureStep.START] == steps


async def test_purge_takes_container_and_home(
    environments: Environments, engine: FakeEngine, alice: Account
) -> None:
    async with environments.link(alice):
        assert engine.host.home(alice.userhash).is_dir()
    await environments.purge(alice)
    assert [] == await environments.list()
    assert not engine.host.home(alice.userhash).exists()
    assert await environments.remove(alice) is False


# Several servers.


@pytest.fixture
def locks(tmp_path: Path) -> FileAccountLocks:
    """Another server's."""
    return FileAccountLocks(tmp_path / "locks")


@pytest.fixture
async def with_locks(
    engine: FakeEngine, store: SqlAccountStore, memory: Memory, keys: LinkKeys, tmp_path: Path
) -> AsyncIterator[Environments]:
    """This server, which gives another one no time."""
    made = Environments(
        engine=engine,
        store=store,
        visits=memory.visits,
        keys=keys,
        settings=LinkSettings(),
        locks=FileAccountLocks(tmp_path / "locks", patience_s=0.2),
    )
    yield made
    await made.close()


async def test_nothing_is_made_or_ended_while_another_server_is_at_it(
    with_locks: Environments, locks: FileAccountLocks, engine: FakeEngine, alice: Account
) -> None:
    async with locks.hold(alice.userhash):
        for change in (
            with_locks.start(alice),
            with_locks.restart(alice),
            with_locks.stop(alice),
            with_locks.remove(alice),
            with_locks.purge(alice),
        ):
            with pytest.raises(EnvironmentFailedError, match="another server"):
                await change
        assert (0, []) == (engine.ensures, engine.stop_graces)

    await with_locks.start(alice)
    assert 1 == engine.ensures


async def test_what_runs_is_entered_without_a_lock(
    with_locks: Environments, locks: FileAccountLocks, alice: Account
) -> None:
    await with_locks.start(alice)
    async with (
        locks.hold(alice.userhash),
        with_locks.link(alice) as link,
        with_locks.lent(alice, LeaseKind.EXPORT),
    ):
        assert b"hi" == await echoed(link, b"hi")


async def test_first_uses_at_two_servers_make_one_environment(
    environments: Environments, with_locks: Environments, engine: FakeEngine, alice: Account
) -> None:
    environments._locks = FileAccountLocks(engine.host.directory / "locks")
    steps: list[EnsureStep] = []

    await asyncio.gather(
        *(
            server.start(alice, on_step=steps.append)
            for server in (environments, with_locks)
            for _ in range(5)
        )
    )

    assert [EnsureStep.CREATE] == steps


# What is remembered for the account's next visit.


async def used(environments: Environments, account: Account) -> None:
    async with environments.link(account):
        pass


async def after(
    environments: Environments, engine: FakeEngine, account: Account, reason: RestartReason
) -> None:
    """The environment was used, ended so, and is used again."""
    async with environments.link(account) as link:
        engine.end_by_hand(account.userhash, reason)
        async with asyncio.timeout(60):
            await link.wait_lost()
    await used(environments, account)


async def test_a_first_start_is_nothing_to_tell(
    environments: Environments, memory: Memory, alice: Account
) -> None:
    await used(environments, alice)
    assert None is await memory.restart(alice)


async def test_what_the_engine_saw_is_remembered(
    environments: Environments, engine: FakeEngine, memory: Memory, alice: Account
) -> None:
    await after(environments, engine, alice, RestartReason.OUT_OF_MEMORY)
    assert RestartReason.OUT_OF_MEMORY is await memory.restart(alice)


@pytest.mark.parametrize("reason", StopReason)
@pytest.mark.parametrize("verb", ["stop", "remove"])
async def test_who_asked_for_the_stop_is_remembered_in_its_place(
    environments: Environments, memory: Memory, alice: Account, verb: str, reason: StopReason
) -> None:
    async with environments.link(alice) as link:
        assert await getattr(environments, verb)(alice, reason)
        async with asyncio.timeout(60):
            await link.wait_lost()
    await used(environments, alice)
    assert RestartReason(reason) is await memory.restart(alice)


async def test_a_stop_that_found_nothing_to_stop_leaves_no_trace(
    environments: Environments, engine: FakeEngine, memory: Memory, alice: Account
) -> None:
    assert not await environments.stop(alice, StopReason.ADMINISTRATOR)
    await used(environments, alice)
    engine.away = True
    with pytest.raises(EngineUnavailableError):
        await environments.stop(alice, StopReason.ADMINISTRATOR)
    engine.away = False
    await after(environments, engine, alice, RestartReason.KILLED)
    assert RestartReason.KILLED is await memory.restart(alice)


async def test_a_second_stop_takes_nothing_from_the_first(
    environments: Environments, memory: Memory, alice: Account
) -> None:
    async with environments.link(alice) as link:
        assert await environments.stop(alice, StopReason.IDLE)
        assert not await environments.stop(alice, StopReason.ADMINISTRATOR)
        async with asyncio.timeout(60):
            await link.wait_lost()
    await used(environments, alice)
    assert RestartReason.IDLE is await memory.restart(alice)
