"""How a connection leaves when the server stops: as soon as nothing is lost with it, and told why.

What the image keeps in tmux goes on without a connection, so an interactive shell is closed at once, and its
client comes back to it. All other sessions are waited for, and no new ones begin. A client that has only just
come is served what it came for: its connection may have been on its way when the server was told to stop.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

import asyncssh

from rootblood.ssh.failures import message_line

RESTARTING = "the server is being restarted; connect again in a moment"

_FIRST_CHANNEL_S = 10.0
"""From a client's TCP connection to the first channel that it asks for, a login between them."""

_HEARING_S = 2.0
"""From the end of its channels to that of the connection: OpenSSH's client forgets, with the connection, what
it has not shown yet."""

PLAIN_SCREEN = b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?1049l\x1b[?25h\x1b[0m\r\x1b[K"
"""Ends what tmux had switched on, as it cannot do that itself any more: reports of the mouse, brackets around
what is pasted, the second screen, on which the line would go unseen, and a hidden cursor."""


class LeavingSession(Protocol):
    """What a session has to say to its end."""

    @property
    def is_waited_for(self) -> bool:
        """Whether what it does is lost if it is cut off."""

    def warn(self, drain_s: float) -> None:
        """Tell the person at a terminal, if there is one, how long it is waited for."""

    def leave(self) -> None:
        """Tell the client that the server stops, and end the session."""


class Departure:
    """The leaving of one connection.

    Args:
        sessions: those that are open, at any time.
        disconnect: closes the connection, with what is open on it.
    """

    def __init__(self, sessions: Collection[LeavingSession], disconnect: Callable[[], None]) -> None:
        self._sessions = sessions
        self._disconnect = disconnect
        self._began_at = asyncio.get_running_loop().time()
        self._has_had_channel = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_finishing = False
        self._is_over = False
        self.has_begun = False

    def begin(self, drain_s: float) -> None:
        """Leave, now or later; a command at a terminal is told that it has `drain_s` left."""
        self.has_begun = True
        for session in list(self._sessions):
            if session.is_waited_for:
                session.warn(drain_s)
            else:
                session.leave()
        if self._has_had_channel:
            self.session_ended()
        else:
            age_s = asyncio.get_running_loop().time() - self._began_at
            self._set_timer(_FIRST_CHANNEL_S - age_s, self.session_ended)

    def require_channel(self) -> None:
        """Ask whether the client may open one more channel.

        Raises:
            asyncssh.ChannelOpenError: it may not.
        """
        if self.has_begun and self._has_had_channel:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, RESTARTING)
        self._has_had_channel = True

    def session_ended(self) -> None:
        """Leave with the last session that was waited for; nothing happens before the server stops."""
        if self.has_begun and not any(session.is_waited_for for session in self._sessions):
            self.finish()

    def finish(self) -> None:
        """Leave, whatever is open: its client is told, and heard that before the connection is closed."""
        self.has_begun = True
        for session in list(self._sessions):
            session.leave()
        if not self._sessions:
            self._leave()
        elif not self._is_finishing:
            self._is_finishing = True
            self._set_timer(_HEARING_S, self._leave)

    def over(self) -> None:
        """Forget it: the connection is closed."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _leave(self) -> None:
        if not self._is_over:
            self.over()
            self._disconnect()

    def _set_timer(self, delay_s: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, then)


def take_leave(channel: "asyncssh.SSHServerChannel[bytes]", *, terminal: bool) -> None:
    """Tell the client that the server stops, and close the channel, without a status: it did not end."""
    if not channel.is_closing():
        plain = PLAIN_SCREEN if terminal else b""
        channel.write_stderr(plain + message_line(RESTARTING, terminal=terminal))
    channel.close()


def warn(channel: "asyncssh.SSHServerChannel[bytes]", drain_s: float) -> None:
    """Tell the person at a terminal how long a command is waited for."""
    if not channel.is_closing():
        message = f"the server is being restarted; what runs here is cut off in {drain_s:.0f} s"
        channel.write_stderr(b"\r\n" + message_line(message, terminal=True))
