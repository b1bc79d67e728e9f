"""The shell of the rescue console: a channel of a link of its own, bridged onto the client's for a while.

Nothing that the account can have broken is in its way: it reads no dotfiles, and shares no link.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import asyncssh

from rootblood.domain.accounts import Account
from rootblood.domain.rendering import ENDS
from rootblood.errors import EnvironmentFailedError
from rootblood.link.link import Pty, SessionRequest
from rootblood.link.waiting import first_of
from rootblood.ssh.console import FAILED
from rootblood.ssh.environment import WITHOUT_BASHRC, ClientEnvironment
from rootblood.ssh.failures import BROKEN_OFF, CAUSE_S
from rootblood.ssh.resizing import Size
from rootblood.ssh.session import LinkSession

if TYPE_CHECKING:
    from rootblood.ssh.connection import Connection

_SHELL = (
    b". /usr/lib/rootblood/locale.sh; export INPUTRC=/etc/inputrc HISTFILE=; "
    b"exec /bin/bash --noprofile --norc"
)
"""What the account's own shell, which sshd runs it with, is told."""


class RescueShell:
    """A shell that has the client's terminal until it ends.

    Args:
        connection: whose client it is.
        channel: the client's.
        gone: set once that is closed.
    """

    def __init__(
        self, connection: "Connection", channel: "asyncssh.SSHServerChannel[bytes]", gone: asyncio.Event
    ) -> None:
        self._connection = connection
        self._client = channel
        self._gone = gone
        self._upstream: asyncssh.SSHClientChannel[bytes] | None = None
        self._early: list[bytes] = []

    @property
    def is_there(self) -> bool:
        """Whether it has the terminal already."""
        return self._upstream is not None

    async def run(
        self, account: Account, terminal: Callable[[], Pty | None], environment: ClientEnvironment
    ) -> int:
        """Run it to its end, and return its exit status.

        Args:
            account: in whose environment.
            terminal: the client's, as it is at the time.
            environment: the variables that it begins with.

        Raises:
            RootBloodError: it cannot be started, or broke off.
        """
        came_in_at = time.monotonic()
        async with self._connection.environments.fresh_link(account, by=self._connection.actor) as link:
            request = SessionRequest(
                command=_SHELL, pty=terminal(), env={**environment.variables, **WITHOUT_BASHRC}
            )
            channel, session = await link.open_session(lambda: LinkSession(self._client), request)
            self._join(channel, terminal())
            await first_of(session.closed.wait(), self._gone.wait())
        if session.exit_status is None and session.exit_signal is None and not self._gone.is_set():
            ends = self._connection.environments.ends
            cause = await ends.since(account.userhash, came_in_at, patience_s=CAUSE_S)
            raise EnvironmentFailedError(BROKEN_OFF if cause is None else ENDS[cause])
        return FAILED if session.exit_status is None else session.exit_status

    def _join(self, channel: "asyncssh.SSHClientChannel[bytes]", terminal: Pty | None) -> None:
        self._upstream = channel
        if terminal is not None:
            self.resize(terminal.size)  # it may have changed while the channel was opening
        for data in self._early:
            if not channel.is_closing():
                channel.write(data)
        self._early.clear()
        if not self._gone.is_set():
            self._client.resume_reading()

    # What the client sends.

    def feed(self, data: bytes) -> None:
        """Pass on what was typed; what is typed before it is there waits for it."""
        if self._upstream is None:
            self._early.append(data)
            self._client.pause_reading()
        elif not self._upstream.is_closing():
            self._upstream.write(data)

    def feed_eof(self) -> None:
        """Pass on that nothing more is typed."""
        if self._upstream is not None and not self._upstream.is_closing():
            self._upstream.write_eof()

    def resize(self, size: Size) -> None:
        """Pass on the size of the terminal."""
        if self._upstream is not None:
            self._upstream.change_terminal_size(*size)

    def pause_reading(self) -> None:
        """Take no output: the client does not."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume_reading(self) -> None:
        """Take output again."""
        if self._upstream is not None:
            self._upstream.resume_reading()
