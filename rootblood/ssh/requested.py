"""What a client asks for on a session channel: the same at each place of an account.

A channel is asked for a terminal or none, and then for a shell, a command or a subsystem; what is done for it
is the place's own: `rootblood.ssh.session`, `rescue` and `drive_session`.
"""

import asyncio
from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncssh
from typing_extensions import override

from rootblood.link.link import Pty
from rootblood.ssh.channel import command_bytes
from rootblood.ssh.departure import take_leave, warn
from rootblood.ssh.environment import ClientEnvironment, accepted_term
from rootblood.ssh.resizing import Resizing, clamped_size

if TYPE_CHECKING:
    from rootblood.ssh.connection import Connection


class RequestedSession(asyncssh.SSHServerSession[bytes]):
    """One session channel, and the task that serves it.

    Args:
        connection: it is a channel of.
        environment: the variables that the client sent and that were taken.
    """

    def __init__(self, connection: "Connection", environment: ClientEnvironment) -> None:
        self._connection = connection
        self._environment = environment
        self._channel: asyncssh.SSHServerChannel[bytes]
        self._pty: Pty | None = None
        self._command: bytes | None = None
        self._subsystem: str | None = None
        self._resizing: Resizing | None = None
        """Takes the sizes of the terminal from when it is there on."""

        self._gone = asyncio.Event()
        """Whether the channel is closed."""

    @property
    @abstractmethod
    def activity(self) -> str:
        """What it runs: the client's own text, where that is a command."""

    @property
    @abstractmethod
    def is_waited_for(self) -> bool:
        """Whether it is waited for when the server stops, as what it does is lost if it is cut off."""

    @abstractmethod
    async def run(self) -> None:
        """Serve it to its end."""

    def warn(self, drain_s: float) -> None:
        """Tell the person at a terminal how long it is waited for; a program is told nothing."""
        if self._pty is not None:
            warn(self._channel, drain_s)

    def leave(self) -> None:
        """Tell the client that the server stops, and end the session."""
        take_leave(self._channel, terminal=self._pty is not None)

    @override
    def connection_made(self, chan: "asyncssh.SSHServerChannel[bytes]") -> None:
        self._channel = chan

    @override
    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: "asyncssh.misc.TermModes"
    ) -> bool:
        self._pty = Pty(accepted_term(term_type), clamped_size(*term_size), dict(term_modes))
        return True

    @override
    def shell_requested(self) -> bool:
        return True

    @override
    def exec_requested(self, command: str) -> bool:
        self._command = command_bytes(command)
        return True

    @override
    def session_started(self) -> None:
        self._connection.sessions.started(self)

    @override
    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._pty is not None:
            self._pty = replace(self._pty, size=clamped_size(width, height, pixwidth, pixheight))
            if self._resizing is not None:
                self._resizing.change(self._pty.size)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        if self._resizing is not None:
            self._resizing.stop()
        self._connection.sessions.closed(self)
