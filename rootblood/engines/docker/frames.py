"""A container exec's stdin and stdout as an asyncio transport.

`exec_start(socket=True)` gives the connection to the Docker API after its upgrade to a raw stream. The socket
itself is adopted into the event loop, so that there is no thread and no copy between the engine and whoever
speaks over it. What goes in is raw; what comes out is framed, eight bytes of header before each piece (Docker
API, "Attach to a container: Stream format").
"""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import structlog
from typing_extensions import override

_HEADER_BYTES = 8
_STDERR = 2


class DelegatingProtocol(asyncio.Protocol):
    """A protocol whose events are all another's, `inner`."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        self.inner = inner

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.inner.connection_made(transport)

    @override
    def data_received(self, data: bytes) -> None:
        self.inner.data_received(data)

    @override
    def eof_received(self) -> bool | None:
        return self.inner.eof_received()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.inner.connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        self.inner.pause_writing()

    @override
    def resume_writing(self) -> None:
        self.inner.resume_writing()


class DemultiplexingProtocol(DelegatingProtocol):
    """Takes Docker's frames apart: stdout goes to the inner protocol, stderr to a callback.

    Everything else (the transport, flow control, the end of the stream) is the inner protocol's, as if it
    had been connected itself.
    """

    def __init__(self, inner: asyncio.Protocol, on_stderr: Callable[[bytes], None]) -> None:
        super().__init__(inner)
        self._on_stderr = on_stderr
        self._header = b""
        self._stream = 0
        self._left = 0

    @override
    def data_received(self, data: bytes) -> None:
        if (
            not self._header and 0 < len(data) <= self._left
        ):  # one piece of one frame: the common case in bulk
            self._left -= len(data)
            self._deliver(data)
            return
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                self._deliver(piece)
                continue
            missing = _HEADER_BYTES - len(self._header)
            self._header += data[at : at + missing]
            at += missing
            if len(self._header) == _HEADER_BYTES:
                self._stream = self._header[0]
                self._left = int.from_bytes(self._header[4:], "big")
                self._header = b""

    def _deliver(self, data: bytes) -> None:
        if self._stream == _STDERR:
            self._on_stderr(data)
        else:
            self.inner.data_received(data)


class StderrLog:
    """Logs the beginning of what a process writes to stderr, which could fill the host's disk.

    Args:
        log: bound to whom the process belongs to.
        max_bytes: logged at most; what follows is dropped, and that it is is logged once.
    """

    def __init__(self, log: structlog.stdlib.BoundLogger, max_bytes: int = 4096) -> None:
        self._log = log
        self._left = max_bytes

    def __call__(self, data: bytes) -> None:
        """Take a piece of stderr."""
        if self._left <= 0:
            return
        self._log.info("stream_stderr", text=data[: self._left].decode(errors="replace").rstrip())
        self._left -= len(data)
        if self._left <= 0:
            self._log.info("stream_stderr_suppressed")


async def attach(protocol: DemultiplexingProtocol, execution: socket.socket) -> asyncio.Transport:
    """Connect `protocol` to an exec's connection, as `take_socket` gives it."""
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=execution)
    return transport


def take_socket(upgraded: Any) -> tuple[socket.socket, bytes]:
    """Take the raw socket out of what `exec_start(socket=True)` returned.

    Returns:
        The socket, non-blocking and ours alone, and the bytes of the stream that the HTTP client had read
        together with the response's head.
    """
    response = upgraded._response  # noqa: SLF001 - the SDK keeps the response there, for us to close
    upgraded._sock.settimeout(0)  # noqa: SLF001
    already_read: bytes = response.raw._fp.fp.peek()  # noqa: SLF001 - the reader that SocketIO lies under
    duplicate = socket.socket(fileno=os.dup(upgraded.fileno()))
    duplicate.settimeout(0)
    response.close()
    return duplicate, already_read
