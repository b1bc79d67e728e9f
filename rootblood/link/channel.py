"""asyncssh's channels and connections with memory that is bounded, whatever the peer does.

Receiving: asyncssh fills the window up whenever it delivers a piece, without counting what it still holds
back for a session that paused reading. A session that pauses and resumes, as a bridge between two
connections does all the time, lets the peer send another window each time, and memory grows with the length
of the stream. Here what is held counts: a channel never holds more than one window.

Both ways, small packets are put together: a window of single bytes would be two million list entries, and
taking the first of a long list moves all the others.

Sending: asyncssh hands everything that the peer's window allows to the transport, and ignores the transport's
request to pause. A peer that announces 2 GiB of window and then stops reading gets them into our memory. Here
a congested transport stops the channels, whose own buffers then fill and pause whoever writes to them.

And what a peer announces is not taken at its word: packets are never larger than ours, a peer that wants its
stream in crumbs is dropped, as is one whose window grows beyond what RFC 4254 section 5.2 allows.

Here, in `rootblood.link.wire`, `rootblood.ssh.channel` and `rootblood.ssh.keyexchange`, and nowhere else,
something is overridden that asyncssh keeps private.
"""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_CHANNEL_WINDOW_ADJUST
from asyncssh.packet import SSHPacket, UInt32
from typing_extensions import override

from rootblood.link.wire import Wire, install

WINDOW_BYTES = 2 * 1024 * 1024
"""What a peer may send ahead on one channel; OpenSSH's own default."""

MAX_PACKET_BYTES = 32 * 1024
"""Both ways; what every implementation must take, RFC 4253 section 6.1."""

MIN_PACKET_BYTES = 256
"""Less is not taken as a peer's limit: each packet costs the loop some 20 µs, whatever is in it."""

_MAX_WINDOW_BYTES = 2**32 - 1
"""RFC 4254 section 5.2."""

_TRANSPORT_BUFFER_BYTES = 256 * 1024
"""What may wait in a transport before its channels stop: several packets, so that it never runs dry."""

_PIECE_BYTES = MAX_PACKET_BYTES
"""What is held or waits is kept in pieces of about this size, however small the packets it came in."""

_STREAMS = 2
"""Standard output and standard error; pieces of the two may pass one another."""

_WIRE = "rootblood_wire"


class BoundedChannel(SSHChannel[bytes]):
    """A channel that holds one window at most, and sends nothing into a congested transport."""

    _recv_window: int
    _init_recv_window: int

    @property
    def _wire(self) -> Wire | None:
        """The connection's, until the channel is closed."""
        return None if self._conn is None else self._conn.get_extra_info(_WIRE)

    @override
    def process_open(self, send_chan: int, send_window: int, send_pktsize: int, session: Any) -> None:
        try:
            packet_bytes = _packet_bytes(send_pktsize)
        except asyncssh.ProtocolError:
            if inspect.iscoroutine(session):
                session.close()  # nobody will await it
            raise
        super().process_open(send_chan, send_window, packet_bytes, session)

    @override
    def process_open_confirmation(
        self, send_chan: int, send_window: int, send_pktsize: int, packet: SSHPacket
    ) -> None:
        super().process_open_confirmation(send_chan, send_window, _packet_bytes(send_pktsize), packet)

    @override
    def _process_window_adjust(self, _pkttype: int, _pktid: int, packet: SSHPacket) -> None:
        super()._process_window_adjust(_pkttype, _pktid, packet)
        if self._send_window > _MAX_WINDOW_BYTES:
            raise asyncssh.ProtocolError("Window adjusted beyond its limit")

    # asyncssh looks its handlers up here, not by their names.
    _packet_handlers = {  # noqa: RUF012 - as asyncssh declares it
        **SSHChannel._packet_handlers,  # noqa: SLF001
        MSG_CHANNEL_WINDOW_ADJUST: _process_window_adjust,
    }

    @override
    def _accept_data(self, data: bytes, datatype: asyncssh.DataType = None) -> None:
        if self._recv_paused and self._send_state not in {"close_pending", "closed"}:
            held = _last_piece(self._recv_buf, datatype)
            if isinstance(held, bytearray) and len(held) < _PIECE_BYTES:
                held.extend(data)
                self._recv_window -= len(data)
                return
            # A bytearray, so that what follows can be added to it; asyncssh only hands it on.
            super()._accept_data(bytearray(data), datatype)  # type: ignore[arg-type]
        else:
            super()._accept_data(data, datatype)

    @override
    def write(self, data: bytes, datatype: asyncssh.DataType = None) -> None:
        if self._send_state == "open":
            wire = self._wire
            if (
                datatype is None
                and not self._send_buf
                and 0 < len(data) <= min(self._send_window, self._send_pktsize)
                and wire is not None
                and not wire.congested
                and self._send_chan is not None
            ):
                self._send_window -= len(data)
                wire.send_data(self._send_chan, data)
                return
            waiting = _last_piece(self._send_buf, datatype)
            if waiting is not None and len(waiting) < _PIECE_BYTES:
                waiting.extend(data)
                self._send_buf_len += len(data)
                self._flush_send_buf()
                return
        super().write(data, datatype)

    @override
    def _deliver_data(self, data: bytes, datatype: asyncssh.DataType) -> None:
        held = sum(len(waiting) for waiting, _ in self._recv_buf)
        room = self._init_recv_window - held
        if self._recv_window < room / 2:
            self.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(room - self._recv_window))
            self._recv_window = room
        if self._session is not None:
            self._session.data_received(data, datatype)

    @override
    def _flush_send_buf(self) -> None:
        wire = self._wire
        if wire is not None and wire.congested:
            self._pause_resume_writing()  # the session's, by what waits here
        else:
            super()._flush_send_buf()


def _packet_bytes(announced: int) -> int:
    """The largest packet to send to a peer that announced `announced`.

    Raises:
        asyncssh.ProtocolError: it is too small to work with.
    """
    if announced < MIN_PACKET_BYTES:
        raise asyncssh.ProtocolError("Maximum packet size too small")
    return min(announced, MAX_PACKET_BYTES)


def _last_piece(pieces: Sequence[tuple[Any, Any]], datatype: asyncssh.DataType) -> Any:
    """The piece that more of the same stream may be added to: its last, or the order would be another."""
    return next((piece for piece, kind in reversed(pieces[-_STREAMS:]) if kind == datatype), None)


class LinkChannel(BoundedChannel, asyncssh.SSHClientChannel[bytes]):
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


class _ForwardedTCP(BoundedChannel, asyncssh.SSHTCPChannel[bytes]):
    """A forwarded TCP stream."""


class _ForwardedUNIX(BoundedChannel, asyncssh.SSHUNIXChannel[bytes]):
    """A forwarded UNIX stream."""


def bound_connection(connection: SSHConnection) -> None:
    """Let `connection` and its TCP and UNIX channels, whoever opens them, be bounded as above.

    Session channels are made as `BoundedChannel` where they are made.
    """
    transport = connection._transport  # noqa: SLF001 - asyncssh has no other way to it
    if transport is None:
        return  # lost already

    connection.set_extra_info(**{_WIRE: install(connection, transport)})
    transport.set_write_buffer_limits(high=_TRANSPORT_BUFFER_BYTES)

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
