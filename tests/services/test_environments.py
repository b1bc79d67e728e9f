"""The way from an account to a link, over the fake engine, the real store and a real SSH server."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.environments import EnsureStep, EnvironmentState
from rootblood.errors import EngineUnavailableError, EnvironmentFailedError, ImageMissingError
from rootblood.link.keys import LinkKeys, create_link_keys, read_link_keys
from rootblood.link.link import ENTER_PROGRAM, Link, SessionRequest
from rootblood.services.environments import Environments
from rootblood.settings import LinkSettings, Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.schema import upgrade
from tests.fakes import sshd
from tests.fakes.engine import FakeEngine, FakeHost


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
    async with asyncio.timeout(10):
        await session.closed.wait()
    return session.data


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlAccountStore]:
    settings = Settings(state_dir=tmp_path / "state")
    database = Database(settings)
    await upgrade(database)
    yield SqlAccountStore(database, settings.accounts)
    await database.close()


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
    engine: FakeEngine, store: SqlAccountStore, keys: LinkKeys
) -> AsyncIterator[Environments]:
    made = Environments(engine=engine, store=store, keys=keys, settings=LinkSettings())
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
    await environments.prepare()
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
        await environments.prepare()
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
    assert 2 == engine.ensures


async def test_a_link_that_fails_twice_is_an_error(
    environments: Environments, engine: FakeEngine, alice: Account
) -> None:
    engine.failing_streams = 2
    with pytest.raises(EnvironmentFailedError):
        async with environments.link(alice):
            pass
    assert (2, 0) == (engine.ensures, engine.failing_streams)


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
        async with asyncio.timeout(10):
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
