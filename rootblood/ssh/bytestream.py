"""A client's channel as a stream of bytes, for what the front door itself has to say on it.

Both ways it is bounded: what the client sends ahead waits in its own window, and who sends waits until the
client has taken enough of what was sent before.
"""

import asyncio
from typing import cast

import asyncssh

from rootblood.ssh.failures import message_line

_HELD_BYTES = 128 * 1024


class ByteStream:
    """One session channel, read from and written to by one task.

    Args:
        channel: the client's. Its session hands on what it is told of it.
        terminal: whether the client's end is one.
    """

    def __init__(self, channel: "asyncssh.SSHServerChannel[bytes]", *, terminal: bool) -> None:
        self._channel = channel
        self._terminal = terminal
        self._room = asyncio.Event()
        self._room.set()
        self.reader = asyncio.StreamReader(_HELD_BYTES)
        # All that it asks of a transport is to pause and to resume reading.
        self.reader.set_transport(cast("asyncio.Transport", channel))

    async def send(self, data: bytes) -> None:
        """Send data, once there is room for it; it is dropped when the client has left."""
        await self._room.wait()
        if not self._channel.is_closing():
            self._channel.write(data)

    def tell(self, message: str) -> None:
        """Show one line to the person at the other end, on stderr."""
        self.show(message_line(message, terminal=self._terminal))

    def show(self, data: bytes) -> None:
        """Show what is made up for a terminal already, on stderr."""
        if not self._channel.is_closing():
            self._channel.write_stderr(data)

    def pause_writing(self) -> None:
        """There is no room for now."""
        self._room.clear()

    def resume_writing(self) -> None:
        """There is room again, or nobody left to need it."""
        self._room.set()
