"""Two forwarded streams made one: what comes out of one channel goes into the other.

A relay has two ends, each the asyncssh session of a TCP or UNIX channel on another connection. Neither end
needs to be open first: what one receives before the other is there waits, so that a server that speaks first
loses nothing. End of input passes in each direction by itself; a full send buffer on one side pauses reading
on the other.
"""

import asyncio

import asyncssh
from typing_extensions import override


class RelayEnd(asyncssh.SSHTCPSession[bytes]):
    """One end of a relay. Make both with `relay()`."""

    peer: "RelayEnd"

    def __init__(self) -> None:
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self._waiting: list[bytes] = []
        self._eof_waiting = False
        self.input_ended = False
        self._finishing = False
        self.closed = asyncio.Event()

    @override
    def connection_made(self, chan: "asyncssh.SSHTCPChannel[bytes]") -> None:
        self._channel = chan
        for data in self._waiting:
            chan.write(data)
        self._waiting.clear()
        if self._finishing:
            chan.close()
        elif self._eof_waiting:
            chan.write_eof()
        self.peer.resume_reading()

    @override
    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self.peer.send(data)

    @override
    def eof_received(self) -> bool:
        self.input_ended = True
        self.peer.send_eof()
        if self.peer.input_ended:  # both directions are over
            self.finish()
            self.peer.finish()
        return True  # the other direction stays open

    @override
    def pause_writing(self) -> None:
        self.peer.pause_reading()

    @override
    def resume_writing(self) -> None:
        self.peer.resume_reading()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        self.peer.finish()

    def finish(self) -> None:
        """Close this end once everything written to it is sent."""
        self._finishing = True
        if self._channel is not None:
            self._channel.close()

    def send(self, data: bytes) -> None:
        """Write to this end's channel, or keep it until there is one."""
        if self._channel is None:
            self._waiting.append(data)
            self.peer.pause_reading()
        elif not self._channel.is_closing():
            self._channel.write(data)

    def send_eof(self) -> None:
        """End what is written to this end."""
        if self._channel is None:
            self._eof_waiting = True
        else:
            self._channel.write_eof()

    def pause_reading(self) -> None:
        """Take nothing more from this end for now."""
        if self._channel is not None:
            self._channel.pause_reading()

    def resume_reading(self) -> None:
        """Take it again."""
        if self._channel is not None and not self.closed.is_set():
            self._channel.resume_reading()


def relay() -> tuple[RelayEnd, RelayEnd]:
    """The two ends of a new relay, each to be the session of one channel."""
    one, other = RelayEnd(), RelayEnd()
    one.peer, other.peer = other, one
    return one, other
