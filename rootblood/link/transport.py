"""A stream that comes up a link, as an asyncio transport: any asyncio protocol can serve it.

Flow control goes both ways, as on a socket: a protocol that pauses reading stops the peer at its window, and
a peer that does not read pauses the protocol. As whoever is at the other end is hostile, a stream has a time
by which it ends, whatever state its channel is in then.
"""

import asyncio
from collections.abc import Callable

import asyncssh
from typing_extensions import override


class StreamSession(asyncssh.SSHTCPSession[bytes]):
    """The session of a channel that `protocol` is to serve.

    Args:
        protocol: serves it.
        timeout_s: after which the stream is cut off.
        on_closed: called once the channel is gone at both ends, or never was opened.
    """

    def __init__(self, protocol: asyncio.Protocol, timeout_s: float, on_closed: Callable[[], None]) -> None:
        self._protocol = protocol
        self._timeout_s = timeout_s
        self._on_closed = on_closed
        self._transport: StreamTransport | None = None

    @override
    def connection_made(self, chan: "asyncssh.SSHTCPChannel[bytes]") -> None:
        self._transport = StreamTransport(chan, self._protocol, self._timeout_s)
        self._protocol.connection_made(self._transport)

    @override
    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._protocol.data_received(bytes(data))

    @override
    def eof_received(self) -> bool:
        transport = self._transport
        if transport is not None and not transport.is_closing() and not self._protocol.eof_received():
            transport.close()
        return True  # asyncssh is not to close what the protocol wants half open

    @override
    def pause_writing(self) -> None:
        if self._transport is not None and not self._transport.is_lost:
            self._protocol.pause_writing()

    @override
    def resume_writing(self) -> None:
        if self._transport is not None and not self._transport.is_lost:
            self._protocol.resume_writing()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._on_closed()
        if self._transport is not None:
            self._transport.lose(exc)


class StreamTransport(asyncio.Transport):
    """What the protocol of a `StreamSession` writes to."""

    def __init__(
        self, channel: "asyncssh.SSHTCPChannel[bytes]", protocol: asyncio.Protocol, timeout_s: float
    ) -> None:
        super().__init__()
        self._channel = channel
        self._protocol: asyncio.BaseProtocol = protocol
        self._closing = False
        self._input_paused = False
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.call_later(timeout_s, self.abort)
        self.is_lost = False
        """Whether the protocol has been told, or is about to be, that this is over."""

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self._closing and not self._channel.is_closing():
            self._channel.write(bytes(data))

    @override
    def write_eof(self) -> None:
        if not self._closing and not self._channel.is_closing():
            self._channel.write_eof()

    @override
    def can_write_eof(self) -> bool:
        return True

    @override
    def close(self) -> None:
        """Take nothing more, send what was written, and close; the deadline stays."""
        if not self._closing:
            self._closing = True
            self._channel.close()

    @override
    def abort(self) -> None:
        """Close at once. The peer need not agree: the protocol is told all the same."""
        self._closing = True
        if not self.is_lost:
            self._channel.abort()
            self.lose(None)

    @override
    def is_closing(self) -> bool:
        return self._closing

    @override
    def pause_reading(self) -> None:
        if not self._closing:
            self._input_paused = True
            self._channel.pause_reading()

    @override
    def resume_reading(self) -> None:
        if not self._closing and self._input_paused:
            self._input_paused = False
            self._channel.resume_reading()

    @override
    def is_reading(self) -> bool:
        return not self._closing and not self._input_paused

    @override
    def get_write_buffer_size(self) -> int:
        return self._channel.get_write_buffer_size()

    @override
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._channel.set_write_buffer_limits(high, low)

    @override
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        raise NotImplementedError("a stream keeps its protocol")

    @override
    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def lose(self, exc: Exception | None) -> None:
        """Tell the protocol, once, that this is over."""
        if not self.is_lost:
            self.is_lost = self._closing = True
            self._deadline.cancel()
            self._loop.call_soon(self._protocol.connection_lost, exc)
