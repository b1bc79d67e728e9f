"""The commands of the rescue console: what an account can do for its environment from outside.

Nothing here needs the environment to work, but `shell` and `dotfiles reset`, which go into it past everything
that the account can have broken. What comes out of an environment is shown escaped and cut.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Actor
from rootblood.domain.environments import EnvironmentDetails, EnvironmentState, StopReason, Usage
from rootblood.domain.rendering import moment, shown, size, span, status_rows, table
from rootblood.domain.visitors import Visitor
from rootblood.errors import EnvironmentFailedError, LimitReachedError, NotFoundError, RootBloodError
from rootblood.services.environments import RESTART_GRACE_S, Environments
from rootblood.services.tmux import ask_tmux

DONE, FAILED, MISUSED = 0, 1, 2
"""Exit statuses, as the command line has them."""

RESET_PROGRAM = "/usr/lib/rootblood/reset-dotfiles"

_MAX_ROWS = 30
_RESET_TIMEOUT_S = 30.0
_TMUX_TIMEOUT_S = 3.0
_MAX_OUTPUT_BYTES = 16 * 1024
_MAX_OUTPUT_LINES = 20
_LINE_CHARS = 300

_SPARE_PIDS = 10
"""What it takes to come in: the link's sshd and its helpers, and a shell."""

_TERMINALS_FORMAT = "#{session_created} #{session_attached} #{pane_current_command}"


class Screen(Protocol):
    """Where a console is shown: a terminal, or a pipe each way."""

    @property
    def is_terminal(self) -> bool:
        """Whether there is a person to ask, and a terminal to hand over."""

    def write(self, text: str) -> None:
        """Show text; lines end with a newline."""

    def complain(self, message: str) -> None:
        """Show one line that says what is wrong."""

    async def ask(self, question: str) -> str:
        """Show a question and return the line that answers it; empty when there is none any more."""

    async def shell(self, account: Account) -> int:
        """Hand the terminal to a shell in the environment, and return its exit status."""


@dataclass(frozen=True, slots=True)
class _Command:
    name: str
    summary: str
    run: Callable[[], Awaitable[int]]


class Console:
    """One console, for one account.

    Args:
        account: gives the account as it is now, or raises `NotFoundError` when it may no longer log in.
        environments: does what is asked for.
        visitors: gives the account's connections at this server.
        screen: to show things on.
        actor: who types, for the account's trail.
    """

    def __init__(
        self,
        *,
        account: Callable[[], Awaitable[Account]],
        environments: Environments,
        visitors: Callable[[], Sequence[Visitor]],
        screen: Screen,
        actor: Actor,
    ) -> None:
        self._account = account
        self._environments = environments
        self._visitors = visitors
        self._screen = screen
        self._actor = actor
        self.left = False
        """Whether the console is to be closed."""

        self._listed = (
            _Command("status", "state, age and use of your environment", self._status),
            _Command("start", "start it", self._start),
            _Command(
                "restart", "end all that runs in it, and start it again; your files stay", self._restart
            ),
            _Command("stop", "end all that runs in it; the next login starts it again", self._stop),
            _Command("sessions", "your connections to this server, and your tmux sessions", self._sessions),
            _Command("processes", "what runs in it, as seen from outside", self._processes),
            _Command("shell", "a shell in it that reads none of your dotfiles", self._shell),
            _Command("dotfiles reset", "put your dotfiles aside and lay down new ones", self._reset_dotfiles),
            _Command("help", "this list", self._help),
            _Command("exit", "leave; Ctrl-D does too", self._exit),
        )
        self._commands = {command.name: command for command in self._listed} | {"quit": self._listed[-1]}

    async def run(self, line: str) -> int:
        """Run one line and return its exit status; a line without a word does nothing."""
        name = " ".join(line.split())
        if not name:
            return DONE
        command = self._commands.get(name)
        if command is None:
            self._screen.complain(f"there is no command '{shown(name)}'; `help` lists what there is")
            return MISUSED
        try:
            return await command.run()
        except NotFoundError as error:
            self._screen.complain(str(error))
            self.left = True
        except RootBloodError as error:
            self._screen.complain(str(error))
        return FAILED

    async def _help(self) -> int:
        self._screen.write(table([(command.name, command.summary) for command in self._listed]))
        return DONE

    async def _exit(self) -> int:
        self.left = True
        return DONE

    async def _status(self) -> int:
        account = await self._account()
        details, usage, image_present = await asyncio.gather(
            self._environments.inspect(account),
            self._environments.usage(account),
            self._environments.image_present(),
        )
        if details is None:
            self._screen.write("there is no container now; `start`, or the next login, makes one\n")
        else:
            self._screen.write(table(status_rows(details, usage)))
            if usage is not None and _is_full(details, usage):
                self._screen.write("the limit of processes is reached: `restart` ends them all\n")
        if not image_present:
            self._screen.write("the image of the environments is missing; ask your administrator\n")
        return DONE

    async def _start(self) -> int:
        account = await self._account()
        details = await self._environments.inspect(account)
        if details is not None and details.environment.state is EnvironmentState.RUNNING:
            self._screen.write("your environment runs already\n")
            return DONE
        async with self._progress("starting"):
            await self._environments.start(account, by=self._actor)
        return DONE

    async def _restart(self) -> int:
        account = await self._account()
        async with self._progress("restarting"):
            await self._environments.restart(account, by=self._actor)
        return DONE

    async def _stop(self) -> int:
        account = await self._account()
        if self._screen.is_terminal:
            answer = await self._screen.ask("stop your environment and all that runs in it? [y/N] ")
            if answer.strip().lower() not in {"y", "yes"}:
                self._screen.write("nothing was stopped\n")
                return FAILED
        async with self._progress("stopping"):
            stopped = await self._environments.stop(
                account, StopReason.OWNER, grace_s=RESTART_GRACE_S, by=self._actor
            )
        if not stopped:
            self._screen.write("your environment was not running\n")
        return DONE

    async def _sessions(self) -> int:
        account = await self._account()
        rows = [
            (shown(visitor.peer), moment(visitor.since), shown(activity))
            for visitor in self._visitors()
            for activity in (visitor.activities or ["-"])
        ]
        self._screen.write(_cut_table([("FROM", "SINCE", "RUNS"), *rows]))
        details = await self._environments.inspect(account)
        if details is None or details.environment.state is not EnvironmentState.RUNNING:
            return DONE
        try:
            output = await ask_tmux(
                self._environments,
                account,
                "list-sessions",
                "-F",
                _TERMINALS_FORMAT,
                timeout_s=_TMUX_TIMEOUT_S,
                max_bytes=_MAX_OUTPUT_BYTES,
            )
        except EnvironmentFailedError:
            self._screen.write("\nyour environment does not tell what runs in tmux\n")
            return DONE
        terminals = _terminal_rows(output)
        if terminals:
            self._screen.write("\n" + _cut_table([("TMUX", "SINCE", "RUNS"), *terminals]))
        return DONE

    async def _processes(self) -> int:
        found = await self._environments.processes(await self._account())
        if not found:
            self._screen.write("nothing runs\n")
            return DONE
        rows = [
            (
                str(process.pid),
                f"{process.cpu_percent:.1f} %",
                size(process.memory_bytes),
                span(process.cpu_time_s),
                shown(process.command, 100),
            )
            for process in found
        ]
        self._screen.write(_cut_table([("PID", "CPU", "MEMORY", "TIME", "COMMAND"), *rows]))
        self._screen.write("PIDs are the server's; inside your environment the numbers are others\n")
        return DONE

    async def _shell(self) -> int:
        account = await self._account()
        if not self._screen.is_terminal:
            self._screen.complain("`shell` needs a terminal: ssh -t")
            return MISUSED
        await self._bring_up(account)
        return await self._screen.shell(account)

    async def _reset_dotfiles(self) -> int:
        account = await self._account()
        await self._bring_up(account)
        output = await self._environments.programs.run(
            account, [RESET_PROGRAM], timeout_s=_RESET_TIMEOUT_S, max_bytes=_MAX_OUTPUT_BYTES
        )
        *lines, last = output.splitlines()[:_MAX_OUTPUT_LINES] or [""]
        for line in lines:
            self._screen.write(shown(line, _LINE_CHARS) + "\n")
        if last != "done":
            cause = shown(last, _LINE_CHARS) or "your environment does not answer; `restart` and try again"
            raise EnvironmentFailedError(f"the dotfiles were not reset: {cause}")
        # A login attaches the session that was left, whatever its shell hangs in.
        self._screen.write("shells that are open keep the old ones; `restart` ends them\n")
        return DONE

    async def _bring_up(self, account: Account) -> None:
        """Let the environment run. Raises `LimitReachedError` where there is no room for one more process."""
        details, usage = await asyncio.gather(
            self._environments.inspect(account), self._environments.usage(account)
        )
        if details is None or details.environment.state is not EnvironmentState.RUNNING:
            async with self._progress("starting"):
                await self._environments.start(account, by=self._actor)
        elif usage is not None and _is_full(details, usage):
            raise LimitReachedError(
                f"{usage.pids} of {details.pids_limit} processes run in your environment, so no more can be "
                "started there; `processes` lists them, `restart` ends them all"
            )

    @asynccontextmanager
    async def _progress(self, action: str) -> AsyncIterator[None]:
        started = time.monotonic()
        self._screen.write(f"{action} ... ")
        try:
            yield
        except BaseException:
            self._screen.write("failed\n")
            raise
        self._screen.write(f"done ({time.monotonic() - started:.1f} s)\n")


def _is_full(details: EnvironmentDetails, usage: Usage) -> bool:
    return 0 < details.pids_limit < usage.pids + _SPARE_PIDS


def _terminal_rows(output: str) -> list[tuple[str, str, str]]:
    """Rows of `tmux list-sessions`; what does not look like one is left out."""
    rows = []
    for line in output.splitlines():
        created, _, rest = line.partition(" ")
        attached, _, command = rest.partition(" ")
        try:
            since = moment(datetime.fromtimestamp(int(created), UTC))
        except (ValueError, OverflowError, OSError):
            continue
        rows.append(("detached" if attached == "0" else "attached", since, shown(command)))
    return rows


def _cut_table(rows: Sequence[Sequence[str]]) -> str:
    """A table of at most so many rows below its headings, and how many more there are."""
    kept = rows[: _MAX_ROWS + 1]
    more = len(rows) - len(kept)
    return table(kept) + (f"{more} more\n" if more else "")
