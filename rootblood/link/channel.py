"""asyncssh's channels with a receive window that means what it says.

asyncssh fills the window up whenever it delivers a piece, without counting what it still holds back for a
session that paused reading. A session that pauses and resumes, as a bridge between two connections does all
the time, lets the peer send another window each time, and memory grows with the length of the stream. Here
what is held counts: a channel never holds more than one window.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_CHANNEL_WINDOW_ADJUST
from asyncssh.packet import UInt32
from typing_extensions import override

WINDOW_BYTES = 2 * 1024 * 1024
"""What a peer may send ahead on one channel; OpenSSH's own default."""

MAX_PACKET_BYTES = 32 * 1024


class BoundedReceive(SSHChannel[bytes]):
    """Opens the window for what was delivered, not for what is still held."""

    _recv_window: int
    _init_recv_window: int

    @override
    def _deliver_data(self, data: bytes, datatype: asyncssh.DataType) -> None:
        held = sum(len(waiting) for waiting, _ in self._recv_buf)
        room = self._init_recv_window - held
        if self._recv_window < room / 2:
            self.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(room - self._recv_window))
            self._recv_window = room
        if self._session is not None:
            self._session.data_received(data, datatype)


class LinkChannel(BoundedReceive, asyncssh.SSHClientChannel[bytes]):
    """A session channel of the link."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        connection._update_recv_pktlen(MAX_PACKET_BYTES)  # noqa: SLF001 - as create_session does
        super().__init__(
            connection,
            asyncio.get_running_loop(),
            utf8_decode_errors="replace",
            encoding=None,
            errors="strict",
            window=WINDOW_BYTES,
            max_pktsize=MAX_PACKET_BYTES,
        )


class _ForwardedTCP(BoundedReceive, asyncssh.SSHTCPChannel[bytes]):
    """A forwarded TCP stream."""


class _ForwardedUNIX(BoundedReceive, asyncssh.SSHUNIXChannel[bytes]):
    """A forwarded UNIX stream."""


def bound_forwarded_channels(connection: SSHConnection) -> None:
    """Let all TCP and UNIX channels of `connection`, whoever opens them, be bounded as above."""

    def factory(kind: type[SSHChannel[bytes]]) -> Callable[..., Any]:
        def create(
            encoding: str | None = None,
            errors: str = "strict",
            window: int = WINDOW_BYTES,
            max_pktsize: int = MAX_PACKET_BYTES,
        ) -> SSHChannel[bytes]:
            connection._update_recv_pktlen(max_pktsize)  # noqa: SLF001 - as asyncssh's own factories do
            return kind(connection, asyncio.get_running_loop(), encoding, errors, window, max_pktsize)

        return create

    connection.create_tcp_channel = factory(_ForwardedTCP)  # type: ignore[method-assign]
    connection.create_unix_channel = factory(_ForwardedUNIX)  # type: ignore[method-assign]
