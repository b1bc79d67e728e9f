"""A session channel of a client, bridged onto one of the link.

The client's channel and the link's are each other's mirror: what one receives the other sends, a full send
buffer on one side pauses reading on the other, and end of input, window changes, signals, exit status and
exit signal are passed on as they are. The account's shell, its terminal and its subsystems are OpenSSH's at
the far end of the link; nothing is interpreted here. Only an interactive shell is asked for by a command, the
image's own, that keeps it in a session which outlives the connection.

`is_closing()` of an asyncssh channel is true from its end of output on, so it says whether data may be
written; requests (exit status, signals, window changes) may be sent until it is closed, and asyncssh drops
later ones.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncssh
from typing_extensions import override

from rootblood.domain.accounts import Account
from rootblood.domain.environments import EnsureStep, RestartReason
from rootblood.domain.rendering import ENDS, over_first_row
from rootblood.errors import EnvironmentFailedError, RootBloodError
from rootblood.link.link import Link, Pty, SessionRequest
from rootblood.link.waiting import first_of
from rootblood.services.visits import News
from rootblood.ssh.departure import PLAIN_SCREEN
from rootblood.ssh.environment import ClientEnvironment, command_variables
from rootblood.ssh.failures import (
    BROKEN_OFF,
    CAUSE_S,
    INTERNAL_MESSAGE,
    INTERNAL_STATUS,
    exit_status,
    explanation,
    message_line,
)
from rootblood.ssh.greeting import SHELL_COMMAND, greeting_variables
from rootblood.ssh.requested import RequestedSession
from rootblood.ssh.resizing import Resizing

if TYPE_CHECKING:
    from rootblood.ssh.connection import Connection

_SUBSYSTEMS = frozenset({"sftp"})
_SIGNALS = frozenset(
    {"ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"}
)
"""RFC 4254 section 6.10."""

_HANGUP_SIGNALS = ("HUP", "TERM", "KILL")

_DOUBT_S = 0.3
"""As `CAUSE_S`, where a program ended as it would have of itself, or with its environment."""

_KILLED_STATUSES = {128 + number for number in (1, 9, 15)}
"""What a shell makes of a program that was hung up on, killed or terminated."""

_ERASE_LINE = b"\r\x1b[K"


class LinkSession(asyncssh.SSHClientSession[bytes]):
    """The link's side: passes on to the client's channel what comes up from the environment."""

    def __init__(self, client: "asyncssh.SSHServerChannel[bytes]") -> None:
        self._client = client
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self.closed = asyncio.Event()
        self.exit_status: int | None = None
        self.exit_signal: str | None = None

    @override
    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        self._channel = chan

    @override
    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if not self._client.is_closing():
            self._client.write(data, datatype)

    @override
    def eof_received(self) -> bool:
        # Told to the client together with the exit status: OpenSSH's closes a channel once both ends of input
        # are told, asyncssh answers a close at once, and a status that comes after that has no way to go.
        return True  # the other direction stays open

    @override
    def pause_writing(self) -> None:
        self._client.pause_reading()

    @override
    def resume_writing(self) -> None:
        self._client.resume_reading()

    @override
    def exit_status_received(self, status: int) -> None:
        self.exit_status = status

    @override
    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        del core_dumped, msg, lang  # the environment's own words: no client's terminal should show them
        self.exit_signal = signal if signal in _SIGNALS else "TERM"

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()


class ClientSession(RequestedSession):
    """The client's side of a session channel, and the task that bridges it."""

    def __init__(self, connection: "Connection", environment: ClientEnvironment) -> None:
        super().__init__(connection, environment)
        self._upstream: asyncssh.SSHClientChannel[bytes] | None = None
        self._early: list[bytes] = []
        self._early_eof = False
        self._progress_shown = False
        self._joined_at = 0.0

    @property
    @override
    def activity(self) -> str:
        if self._subsystem is not None:
            return self._subsystem
        return "a shell" if self._command is None else self._command.decode(errors="replace")

    @property
    @override
    def is_waited_for(self) -> bool:
        """All but an interactive shell is, which tmux keeps."""
        return self._pty is None or self._command is not None or self._subsystem is not None

    @override
    def subsystem_requested(self, subsystem: str) -> bool:
        self._subsystem = subsystem
        return subsystem in _SUBSYSTEMS

    # What the client sends, once it runs; what comes before the link is there waits for it.

    @override
    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._upstream is None:
            self._early.append(data)
            self._channel.pause_reading()
        elif not self._upstream.is_closing():
            self._upstream.write(data)

    @override
    def eof_received(self) -> bool:
        if self._upstream is None:
            self._early_eof = True
        elif not self._upstream.is_closing():
            self._upstream.write_eof()
        return True  # the other direction stays open

    @override
    def pause_writing(self) -> None:
        if self._upstream is not None:
            self._upstream.pause_reading()

    @override
    def resume_writing(self) -> None:
        if self._upstream is not None:
            self._upstream.resume_reading()

    @override
    def signal_received(self, signal: str) -> None:
        if self._upstream is not None and signal in _SIGNALS:
            self._upstream.send_signal(signal)

    @override
    def break_received(self, msec: int) -> bool:
        if self._upstream is None:
            return False
        self._upstream.send_break(msec)
        return True

    # The task.

    @override
    async def run(self) -> None:
        """Bridge it to its end."""
        try:
            async with self._connected_link() as (link, channel, session):
                await first_of(session.closed.wait(), self._gone.wait())
                if not session.closed.is_set():
                    await self._hang_up(channel, session)
                else:
                    await self._finish(session, await self._cause(session, link))
        except RootBloodError as error:
            self._connection.log.warning("session_failed", cause=str(error))
            self._fail(explanation(error, self._connection.account_name), exit_status(error))
        except Exception:
            self._connection.log.exception("session_crashed")
            self._fail(INTERNAL_MESSAGE, INTERNAL_STATUS)

    @asynccontextmanager
    async def _connected_link(
        self,
    ) -> "AsyncIterator[tuple[Link, asyncssh.SSHClientChannel[bytes], LinkSession]]":
        account = await self._connection.login.entering()
        for _ in range(2):  # a link that died unnoticed is replaced, once
            async with self._connection.environments.link(
                account,
                on_step=self._show_progress,
                agent_path=self._agent_path,
                by=self._connection.actor,
            ) as link:
                opened = await self._open(link, account)
                if opened is not None:
                    yield link, *opened
                    return
        raise EnvironmentFailedError("the way into your environment broke off; try again")

    @property
    def _agent_path(self) -> str | None:
        """Socket of the client's ssh-agent; a closed channel, whose client has left, can no more be asked."""
        return None if self._gone.is_set() else self._channel.get_agent_path()

    async def _open(
        self, link: Link, account: Account
    ) -> "tuple[asyncssh.SSHClientChannel[bytes], LinkSession] | None":
        """Open the link's channel and join the two; None when the link turned out to be dead."""
        command, ours, news = self._command, {}, News()
        if command is not None:
            ours = command_variables(command)
        elif self._pty is not None and self._subsystem is None:
            news = await self._connection.login.news(account)
            command, ours = SHELL_COMMAND, greeting_variables(self._connection.texts.motd, news)
        request = SessionRequest(
            command=command,
            subsystem=self._subsystem,
            pty=self._pty,
            env={**self._environment.variables, **ours},
        )
        try:
            channel, session = await link.open_session(lambda: LinkSession(self._channel), request)
        except EnvironmentFailedError:
            if link.is_open:
                raise
            return None
        self._connection.visits.told(account, news)
        self._join(channel, request.pty)
        return channel, session

    def _join(self, channel: "asyncssh.SSHClientChannel[bytes]", opened_with: Pty | None) -> None:
        if self._progress_shown and not self._channel.is_closing():
            self._channel.write(_ERASE_LINE)
        self._upstream = channel
        self._joined_at = time.monotonic()
        if self._pty is not None and opened_with is not None:
            self._resizing = Resizing(
                opened_with.size,
                lambda size: channel.change_terminal_size(*size),
                self._connection.settings.resize_interval_s,
            )
            self._resizing.change(self._pty.size)  # it may have changed while the channel was opening
        if not channel.is_closing():  # else the command ended without a look at its input
            for data in self._early:
                channel.write(data)
            if self._early_eof:
                channel.write_eof()
        self._early.clear()
        if not self._gone.is_set():
            self._channel.resume_reading()

    async def _cause(self, session: LinkSession, link: Link) -> RestartReason | None:
        """Why the environment has ended, where the session has ended with it."""

        async def told(patience_s: float) -> RestartReason | None:
            ends = self._connection.environments.ends
            return await ends.since(self._connection.login.userhash, self._joined_at, patience_s=patience_s)

        patience_s = self._patience_s(session)
        cause = await told(patience_s)
        if cause is None and patience_s == _DOUBT_S and not link.is_open:
            cause = await told(CAUSE_S)  # there is no doubt any more: it is word of it that is late
        return cause

    async def _finish(self, session: LinkSession, cause: RestartReason | None) -> None:
        if session.exit_signal is None and session.exit_status is None:
            if self._pty is not None and not self._channel.is_closing():
                self._channel.write(PLAIN_SCREEN)
            raise EnvironmentFailedError(f"{BROKEN_OFF if cause is None else ENDS[cause]}; connect again")
        if cause is not None:
            self._complain(f"{ENDS[cause]}; connect again")
        self._channel.write_eof()
        if session.exit_signal is not None:
            self._channel.exit_with_signal(session.exit_signal, core_dumped=False, msg="", lang="")
        elif session.exit_status is not None:
            self._channel.exit(session.exit_status)

    def _patience_s(self, session: LinkSession) -> float:
        """How long to wait for word that the environment has ended, by how this session has."""
        if session.exit_signal is not None:
            return _DOUBT_S if session.exit_signal in _HANGUP_SIGNALS else 0.0
        if session.exit_status is None:
            return CAUSE_S
        # tmux, in the way of a shell, ends with status 1 when it is told to.
        is_shell = self._pty is not None and self._command is None
        doubtful = session.exit_status in _KILLED_STATUSES or (is_shell and session.exit_status != 0)
        return _DOUBT_S if doubtful else 0.0

    async def _hang_up(self, channel: "asyncssh.SSHClientChannel[bytes]", session: LinkSession) -> None:
        """End what ran on the channel after its client vanished, as a terminal's hang-up would.

        OpenSSH leaves a command without a terminal running in that case. What the user daemonised, or runs
        in tmux, is in another process group and lives.
        """
        if self._pty is None and self._subsystem is None:  # OpenSSH signals no subsystem, and ends it itself
            for signal in _HANGUP_SIGNALS:
                channel.send_signal(signal)
                try:
                    async with asyncio.timeout(self._connection.settings.hangup_grace_s):
                        await session.closed.wait()
                except TimeoutError:
                    continue
                break
        channel.close()

    def _show_progress(self, step: EnsureStep) -> None:
        if self._pty is not None and not self._channel.is_closing():
            self._progress_shown = True
            self._channel.write(_ERASE_LINE + f"rootblood: {step} your environment ...".encode())

    def _fail(self, message: str, status: int) -> None:
        if self._progress_shown and not self._channel.is_closing():
            self._channel.write(_ERASE_LINE)
        self._complain(message)
        self._channel.exit(status)

    def _complain(self, message: str) -> None:
        if not self._channel.is_closing():
            self._channel.write_stderr(message_line(message, terminal=self._pty is not None))

    def show(self, text: str) -> None:
        """Show a line on the client's terminal, if it has one, without disturbing what is there."""
        if self._pty is not None and not self._channel.is_closing():
            self._channel.write(over_first_row(text))
