"""The console's commands, over the fake engine and the real services and store."""

import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Actor, Door
from rootblood.domain.environments import EnvironmentState, Process, Usage
from rootblood.errors import NotFoundError, StoreUnavailableError
from rootblood.link.keys import LinkKeys, create_link_keys, read_link_keys
from rootblood.services.environments import RESTART_GRACE_S, Environments
from rootblood.services.visits import Visits
from rootblood.settings import LinkSettings, Settings
from rootblood.ssh.console import RESET_PROGRAM, Console
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.schema import upgrade
from rootblood.stores.sql.visits import SqlVisitStore
from tests.fakes.engine import PIDS_LIMIT, FakeEngine, FakeHost

TMUX = "/usr/bin/tmux"


@dataclass
class Paper:
    """A screen that keeps what is written, and answers from a list."""

    is_terminal: bool = False
    written: str = ""
    complaints: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    shells: int = 0

    def write(self, text: str) -> None:
        self.written += text

    def complain(self, message: str) -> None:
        self.complaints.append(message)

    async def ask(self, question: str) -> str:
        self.written += question
        return self.answers.pop(0) if self.answers else ""

    async def shell(self, account: Account) -> int:
        assert account.name == "alice"
        self.shells += 1
        return 7


@dataclass
class Visitor:
    peer: str = "203.0.113.7"
    since: datetime = datetime(2026, 11, 23, 18, 4, 5, tzinfo=UTC)
    activities: Sequence[str] = ("a shell",)


@dataclass
class Rig:
    engine: FakeEngine
    environments: Environments
    account: Account
    screen: Paper
    console: Console
    visitors: list[Visitor]
    refusals: list[Exception] = field(default_factory=list)
    """What the account's next look-ups raise."""

    @property
    def state(self) -> EnvironmentState | None:
        found = self.engine.host.containers.get(self.account.userhash)
        return found[1].state if found is not None else None

    async def start(self) -> None:
        await self.environments.start(self.account)

    def program(self, path: str, script: str) -> None:
        self.engine._programs[path] = [sys.executable, "-c", script]


@pytest.fixture
def keys(tmp_path: Path) -> LinkKeys:
    create_link_keys(tmp_path / "keys")
    return read_link_keys(tmp_path / "keys")


@pytest.fixture
async def rig(tmp_path: Path, keys: LinkKeys, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    # Here it is Python that is started in tmux's place, which may take a while.
    monkeypatch.setattr("rootblood.ssh.console._TMUX_TIMEOUT_S", 60.0)
    settings = Settings(state_dir=tmp_path / "state")
    database = Database(settings)
    await upgrade(database)
    store = SqlAccountStore(database, settings.accounts)
    account = await store.add(
        name="alice", userhash=secrets.token_hex(16), admin=False, password_hash=None, keys=()
    )
    engine = FakeEngine(FakeHost(tmp_path), programs={TMUX: [sys.executable, "-c", ""]})
    visits = Visits(SqlVisitStore(database))
    environments = Environments(engine=engine, store=store, visits=visits, keys=keys, settings=LinkSettings())
    screen, visitors = Paper(), [Visitor()]

    async def current() -> Account:
        if made.refusals:
            raise made.refusals.pop(0)
        return account

    console = Console(
        account=current,
        environments=environments,
        visitors=lambda: visitors,
        screen=screen,
        actor=Actor(Door.SSH, "203.0.113.7"),
    )
    made = Rig(engine, environments, account, screen, console, visitors)
    yield made
    await environments.close()
    await visits.close()
    await engine.close()
    await database.close()


@pytest.mark.parametrize("line", ["", "  \t "])
async def test_an_empty_line_does_nothing(rig: Rig, line: str) -> None:
    assert await rig.console.run(line) == 0
    assert (rig.screen.written, rig.screen.complaints) == ("", [])


@pytest.mark.parametrize(
    "line", ["reboot", "status now", "dotfiles", "dotfiles reset all", "\x1b[2J", "x" * 99999]
)
async def test_what_is_no_command_is_said_in_one_safe_line(rig: Rig, line: str) -> None:
    assert await rig.console.run(line) == 2
    (complaint,) = rig.screen.complaints
    assert complaint.endswith("`help` lists what there is")
    assert complaint.isprintable()
    assert len(complaint) < 130


@pytest.mark.parametrize("word", ["exit", "quit", "  exit  "])
async def test_leaving(rig: Rig, word: str) -> None:
    assert await rig.console.run(word) == 0
    assert rig.console.left


async def test_restart_gives_programs_a_short_time(rig: Rig) -> None:
    await rig.start()
    assert await rig.console.run("restart") == 0
    assert rig.engine.stop_graces == [RESTART_GRACE_S]
    assert rig.state is EnvironmentState.RUNNING
    assert rig.screen.written.startswith("restarting ... done (")


async def test_a_restart_that_fails_says_so_on_its_line(rig: Rig) -> None:
    rig.engine.fail_starts = True
    assert await rig.console.run("restart") == 1
    assert rig.screen.written == "restarting ... failed\n"
    assert rig.screen.complaints == ["your environment could not be started"]


async def test_without_an_image_a_restart_stops_nothing(rig: Rig) -> None:
    await rig.start()
    rig.engine.image_present = False
    assert await rig.console.run("restart") == 1
    assert (rig.state, rig.engine.stop_graces) == (EnvironmentState.RUNNING, [])
    assert await rig.console.run("status") == 0
    assert "the image of the environments is missing" in rig.screen.written


@pytest.mark.parametrize(
    ("answer", "state"), [("y", "stopped"), (" YES ", "stopped"), ("n", "running"), ("", "running")]
)
async def test_stop_asks_a_person_first(rig: Rig, answer: str, state: str) -> None:
    await rig.start()
    rig.screen.is_terminal = True
    rig.screen.answers = [answer]
    assert await rig.console.run("stop") == (0 if state == "stopped" else 1)
    assert rig.state == state


async def test_stop_asks_no_script(rig: Rig) -> None:
    await rig.start()
    assert await rig.console.run("stop") == 0
    assert rig.state is EnvironmentState.STOPPED


async def test_status_without_a_container(rig: Rig) -> None:
    assert await rig.console.run("status") == 0
    assert rig.screen.written == "there is no container now; `start`, or the next login, makes one\n"


async def test_status_says_when_it_is_full(rig: Rig) -> None:
    await rig.start()
    rig.engine.usage = Usage(memory_bytes=5 * 1024 * 1024, cpus=0.25, pids=PIDS_LIMIT)
    assert await rig.console.run("status") == 0
    assert "processes  64 of 64\nthe limit of processes is reached" in rig.screen.written
    assert "memory     5 MiB of 1.0 GiB\ncpu        0.25 of 1 core\n" in rig.screen.written


async def test_status_of_what_was_killed(rig: Rig) -> None:
    await rig.start()
    rig.engine.end_by_hand(rig.account.userhash)
    assert await rig.console.run("status") == 0
    assert ", exit status 137\n" in rig.screen.written


@pytest.mark.parametrize("command", ["shell", "dotfiles reset"])
async def test_nothing_goes_in_where_there_is_no_room(rig: Rig, command: str) -> None:
    await rig.start()
    rig.screen.is_terminal = True
    rig.engine.usage = Usage(memory_bytes=0, cpus=0, pids=PIDS_LIMIT)
    assert await rig.console.run(command) == 1
    assert "`restart` ends them all" in rig.screen.complaints[0]
    assert rig.screen.shells == 0


async def test_shell_starts_what_is_stopped_and_has_the_shell_s_status(rig: Rig) -> None:
    rig.screen.is_terminal = True
    assert await rig.console.run("shell") == 7
    assert rig.state is EnvironmentState.RUNNING
    assert rig.screen.written.startswith("starting ... done (")


async def test_processes_are_sorted_by_use_cut_and_escaped(rig: Rig) -> None:
    await rig.start()
    rig.engine.more_processes = [
        Process(
            pid=number, cpu_percent=float(number), memory_bytes=0, cpu_time_s=0, command=f"p{number}\x1b[2J\n"
        )
        for number in range(100)
    ]
    assert await rig.console.run("processes") == 0
    heading, *rows, more, _ = rig.screen.written.splitlines()
    assert heading.split() == ["PID", "CPU", "MEMORY", "TIME", "COMMAND"]
    assert [row.split()[0] for row in rows] == [str(number) for number in range(99, 69, -1)]
    assert rows[0].endswith(r"p99\x1b[2J\n")
    assert more == "70 more"


async def test_sessions_are_escaped_and_tmux_is_asked(rig: Rig) -> None:
    await rig.start()
    rig.visitors.append(Visitor(activities=["echo \x1b]0;x\x07" + "y" * 100, "sftp"]))
    rig.program(
        TMUX,
        r"print('1795460549 0 vim\x1b[2J'); print('no number'); print('9' * 40 + ' 1 x'); print('5 1 sh')",
    )
    assert await rig.console.run("sessions") == 0
    assert "\x1b" not in rig.screen.written
    assert r"2026-11-23 18:04:05 UTC  echo \x1b]0;x\x07yyy" in rig.screen.written
    assert max(map(len, rig.screen.written.splitlines())) < 120
    tmux = rig.screen.written.split("\n\n")[1].splitlines()
    assert [row.split()[0] for row in tmux] == ["TMUX", "detached", "attached"]
    assert tmux[1].endswith(r"vim\x1b[2J")


async def test_sessions_without_an_answer_from_inside(rig: Rig) -> None:
    await rig.start()
    rig.engine.failing_streams = 1
    assert await rig.console.run("sessions") == 0
    assert "does not tell what runs in tmux" in rig.screen.written


async def test_reset_shows_what_the_program_says_escaped(rig: Rig) -> None:
    rig.program(RESET_PROGRAM, r"print('moved \x1b[2J'); print('done')")
    assert await rig.console.run("dotfiles reset") == 0
    assert "moved \\x1b[2J\n" in rig.screen.written
    assert rig.screen.written.endswith("; `restart` ends them\n")


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("print('first'); print('no \\x1bplace')", r"no \x1bplace"),
        ("", "does not answer"),
        ("print('x' * 10**6)", "xxx..."),
        ("for n in range(10**5): print(n)", "19"),
    ],
)
async def test_a_reset_that_does_not_end_well_has_failed(rig: Rig, script: str, cause: str) -> None:
    rig.program(RESET_PROGRAM, script)
    assert await rig.console.run("dotfiles reset") == 1
    (complaint,) = rig.screen.complaints
    assert complaint.startswith("the dotfiles were not reset: ")
    assert cause in complaint
    assert len(complaint) < 400


@pytest.mark.parametrize(
    "command", ["status", "start", "restart", "stop", "sessions", "processes", "dotfiles reset"]
)
async def test_an_engine_that_is_away_is_one_line(rig: Rig, command: str) -> None:
    rig.engine.away = True
    assert await rig.console.run(command) == 1
    assert rig.screen.complaints == ["the container engine does not answer"]
    assert not rig.console.left


@pytest.mark.parametrize("command", ["status", "start", "restart", "stop", "sessions", "processes", "shell"])
async def test_an_account_that_may_no_longer_log_in_is_shown_out(rig: Rig, command: str) -> None:
    rig.refusals.append(NotFoundError("this account may no longer log in"))
    assert await rig.console.run(command) == 1
    assert rig.console.left
    assert rig.state is None


async def test_a_store_that_is_away_is_no_reason_to_leave(rig: Rig) -> None:
    rig.refusals.append(StoreUnavailableError("the database does not answer"))
    assert await rig.console.run("status") == 1
    assert not rig.console.left
    assert await rig.console.run("status") == 0
