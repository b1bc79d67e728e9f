"""A client's channel as a stream of bytes, for what the front door itself has to say on it.

Both ways it is bounded: what the client sends ahead waits in its own window, and who sends waits until the
client has taken enough of what was sent before. A client that says it has no more to ask, and takes nothing,
has left: OpenSSH's `ssh` stays behind like that when the `scp` or `sftp` that started it is killed.
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
        self._has_room = True
        self._ended = False
        self._decided = asyncio.Event()
        """Whether there is room, or will never be."""

        self._decided.set()
        self.reader = asyncio.StreamReader(_HELD_BYTES)
        # All that it asks of a transport is to pause and to resume reading.
        self.reader.set_transport(cast("asyncio.Transport", channel))

    async def send(self, data: bytes) -> None:
        """Send data, once there is room for it.

        Raises:
            BrokenPipeError: the client has left.
        """
        await self._decided.wait()
        if not self._has_room:
            raise BrokenPipeError
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
        self._has_room = False
        if not self._ended:
            self._decided.clear()

    def resume_writing(self) -> None:
        """There is room again."""
        self._has_room = True
        self._decided.set()

    def end_reading(self) -> None:
        """The client sends no more."""
        self.reader.feed_eof()
        self._ended = True
        self._decided.set()
