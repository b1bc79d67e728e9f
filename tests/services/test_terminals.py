"""Terminals are ttyd's: started when somebody needs one, shared by all of an account, over the link."""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rootblood.domain.accounts import Account
from rootblood.errors import EnvironmentBrokenError
from rootblood.link.keys import LinkKeys, create_link_keys, read_link_keys
from rootblood.link.link import ENTER_PROGRAM
from rootblood.services.environments import Environments
from rootblood.services.terminals import WEB_TERMINAL_PROGRAM, Terminals
from rootblood.services.ttyd import Terminal, TerminalSize
from rootblood.services.visits import Visits
from rootblood.settings import LinkSettings, Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.visits import SqlVisitStore
from tests.databases import set_up
from tests.fakes import sshd, web_terminal
from tests.fakes.engine import FakeEngine, FakeHost

SIZE = TerminalSize(100, 30)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(Settings(state_dir=tmp_path / "state"))
    await set_up(database)
    yield database
    await database.close()


@pytest.fixture
async def alice(database: Database) -> Account:
    store = SqlAccountStore(database, Settings().accounts)
    userhash = secrets.token_hex(16)
    return await store.add(name="alice", userhash=userhash, admin=False, password_hash=None, keys=())


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, list[str]]:
    """What the image has; a test may change it."""
    system = FakeHost(tmp_path).system("default")
    return {
        ENTER_PROGRAM: [sys.executable, sshd.__file__, str(system)],
        WEB_TERMINAL_PROGRAM: [sys.executable, web_terminal.__file__],
    }


@pytest.fixture
async def engine(tmp_path: Path, programs: dict[str, list[str]]) -> AsyncIterator[FakeEngine]:
    made = FakeEngine(FakeHost(tmp_path), programs=programs)
    yield made
    await made.close()


@pytest.fixture
def keys(tmp_path: Path) -> LinkKeys:
    create_link_keys(tmp_path / "keys")
    return read_link_keys(tmp_path / "keys")


@pytest.fixture
async def terminals(database: Database, engine: FakeEngine, keys: LinkKeys) -> AsyncIterator[Terminals]:
    visits = Visits(SqlVisitStore(database))
    environments = Environments(
        engine=engine,
        store=SqlAccountStore(database, Settings().accounts),
        visits=visits,
        keys=keys,
        settings=LinkSettings(),
    )
    async with asyncio.timeout(60):
        yield Terminals(environments)
        await environments.close()
        await visits.close()


async def echoed(terminal: Terminal, data: bytes) -> bytes:
    """What a terminal shows of `data`, which is typed into it."""
    output = b""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_type(terminal, data))
        while len(output) < len(data):
            output += await terminal.read()
    return output


async def _type(terminal: Terminal, data: bytes) -> None:
    for start in range(0, len(data), 32768):
        await terminal.write(data[start : start + 32768])


def home(engine: FakeEngine, account: Account) -> Path:
    return engine.host.home(account.userhash)


async def told(engine: FakeEngine, account: Account) -> dict[str, object]:
    """What ttyd was told, once it has ended with its last client."""
    file = home(engine, account) / "ttyd.json"
    while not file.exists() or not file.read_text():  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.01)
    result = json.loads(file.read_text())
    assert isinstance(result, dict)
    return result


async def test_a_terminal_takes_input_sizes_and_the_session_to_show(
    terminals: Terminals, engine: FakeEngine, alice: Account
) -> None:
    async with terminals.open(alice, SIZE, session="3") as terminal:
        await terminal.resize(TerminalSize(90, 20))
        assert b"ls\r" == await echoed(terminal, b"ls\r")
    assert {
        "hellos": [{"AuthToken": "", "columns": 100, "rows": 30}],
        "arguments": [["session", "3"]],
        "resizes": [{"columns": 90, "rows": 20}],
    } == await told(engine, alice)


async def test_terminals_opened_at_once_start_one_ttyd(
    terminals: Terminals, engine: FakeEngine, alice: Account
) -> None:
    async def use(number: int) -> None:
        async with terminals.open(alice, SIZE) as terminal:
            assert b"%d\r" % number == await echoed(terminal, b"%d\r" % number)
            await everybody.wait()

    everybody = asyncio.Barrier(5)
    await asyncio.gather(*(use(number) for number in range(5)))
    assert "started\n" == (home(engine, alice) / "starts").read_text()


async def test_after_the_last_terminal_the_next_starts_another_ttyd(
    terminals: Terminals, engine: FakeEngine, alice: Account
) -> None:
    for _ in range(2):
        async with terminals.open(alice, SIZE) as terminal:
            await echoed(terminal, b"x")
        await told(engine, alice)
        (home(engine, alice) / "ttyd.json").unlink()
    assert "started\n" * 2 == (home(engine, alice) / "starts").read_text()


async def test_what_runs_there_may_end(terminals: Terminals, alice: Account) -> None:
    async with terminals.open(alice, SIZE) as terminal:
        await terminal.write(b"exit\r")
        assert b"" == await terminal.read()
        await terminal.write(b"lost")


async def test_much_in_both_directions_loses_nothing(terminals: Terminals, alice: Account) -> None:
    data = secrets.token_bytes(6 * 1024 * 1024)
    async with terminals.open(alice, SIZE) as terminal:
        assert data == await echoed(terminal, data)


async def test_a_link_that_breaks_off_is_no_end_of_the_session(
    terminals: Terminals, engine: FakeEngine, alice: Account
) -> None:
    async with terminals.open(alice, SIZE) as terminal:
        await echoed(terminal, b"x")
        engine.end_by_hand(alice.userhash)
        with pytest.raises(ConnectionResetError):
            await terminal.read()


async def test_a_ttyd_that_does_not_start_is_a_broken_environment(
    terminals: Terminals, programs: dict[str, list[str]], engine: FakeEngine, alice: Account
) -> None:
    engine._programs[WEB_TERMINAL_PROGRAM] = ["true"]
    with pytest.raises(EnvironmentBrokenError, match="does not start"):
        async with terminals.open(alice, SIZE):
            pass
    engine._programs[WEB_TERMINAL_PROGRAM] = programs[WEB_TERMINAL_PROGRAM]
    async with terminals.open(alice, SIZE) as terminal:
        assert b"x" == await echoed(terminal, b"x")
