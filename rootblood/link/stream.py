"""A forwarded stream of the link, for a task that reads and writes it.

Reading is what lets more come: what is not read stays in the environment, but for one window of the channel
and the little that is held here. Writing waits while the environment does not take what is written.
"""

import asyncio

import asyncssh
from typing_extensions import override

from rootblood.link.link import Link

_HELD_BYTES = 64 * 1024
"""What may wait here to be read before the channel is paused, which then holds up to its window itself."""


class LinkStream(asyncssh.SSHTCPSession[bytes]):
    """An open stream into the environment. Made by `connect_unix`."""

    def __init__(self) -> None:
        self._channel: asyncssh.SSHTCPChannel[bytes]
        self._received: list[bytes] = []
        self._held = 0
        self._ended = False
        self._lost = False
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    async def read(self) -> bytes:
        """All that has come since the last call, waiting for something to come; empty at the end.

        Raises:
            ConnectionResetError: the link broke off, and this is not the end that the environment meant.
        """
        while not self._received and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        data = b"".join(self._received)
        self._received.clear()
        self._held = 0
        if not data and self._lost:
            raise ConnectionResetError("the link broke off")
        if not self._ended:
            self._channel.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send `data`, and wait for as long as too much is on its way; what comes after the end is lost."""
        await self._writable.wait()
        if not self._channel.is_closing():
            self._channel.write(data)
            await self._writable.wait()

    def close(self) -> None:
        """End the stream in both directions."""
        self._channel.close()

    # What the channel has to say.

    @override
    def connection_made(self, chan: "asyncssh.SSHTCPChannel[bytes]") -> None:
        self._channel = chan

    @override
    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._received.append(data)
        self._held += len(data)
        if self._held >= _HELD_BYTES:
            self._channel.pause_reading()
        self._arrived.set()

    @override
    def eof_received(self) -> bool:
        self._end()
        return False  # nothing is left to be said in the other direction either

    @override
    def pause_writing(self) -> None:
        self._writable.clear()

    @override
    def resume_writing(self) -> None:
        self._writable.set()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = not self._ended
        self._end()
        self._writable.set()

    def _end(self) -> None:
        self._ended = True
        self._arrived.set()


async def connect_unix(link: Link, path: str) -> LinkStream:
    """Open a stream to a UNIX socket of the environment.

    Raises:
        OSError: nobody listens there, or the link is lost.
    """
    stream = LinkStream()
    try:
        await link.dial_unix(stream, path)
    except asyncssh.Error as error:
        raise ConnectionRefusedError(str(error)) from error
    return stream
