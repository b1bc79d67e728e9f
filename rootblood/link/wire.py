"""What a connection puts on its transport and takes off it, without the copies and packets that cost bulk.

asyncssh puts an empty IGNORE packet before each packet, which is of use with CBC ciphers alone (RFC 4251,
section 9.3.1), and those are not offered; writes each packet by a system call of its own; and slices what it
has received, and what it is to send, again and again. That is where most of a gigabyte's time goes. Here

- packets are gathered, and written once an event;
- data of a channel goes from the received packet to the channel, and from the channel into a packet, at once.

All other packets, and all that is not as usual (another cipher, a key exchange, a wrong tag or length), take
asyncssh's own way, which also raises the errors.
"""

import asyncio
import os
import time
from struct import Struct
from typing import TYPE_CHECKING

from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_CHANNEL_DATA, MSG_IGNORE
from asyncssh.packet import String, UInt32

from rootblood.link.ciphers import LENGTH_BYTES, TAG_BYTES, PacketCipher

if TYPE_CHECKING:
    from asyncssh.packet import SSHPacketLogger

_DATA = Struct(">BBII")
"""Before a channel's data: padding's length, message number, channel, data's length (RFC 4254, 5.2)."""

_MIN_PADDING_BYTES = 4
_GATHERED_BYTES = 128 * 1024
"""Written at once when this much has come together, whatever the event."""


class Wire:
    """The packets of one connection. Make it with `install`."""

    def __init__(self, connection: SSHConnection, transport: asyncio.Transport) -> None:
        self._connection = connection
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._slow_send_packet = connection.send_packet
        self._slow_header = connection._recv_pkthdr
        self.congested = False
        """Whether the transport has as much as it should keep."""

    # To the peer.

    def send_packet(self, pkttype: int, *args: bytes, handler: "SSHPacketLogger | None" = None) -> None:
        """Send any packet as asyncssh does, but for the one it puts before each."""
        if pkttype != MSG_IGNORE:
            self._slow_send_packet(pkttype, *args, handler=handler)

    def send_data(self, channel: int, data: bytes | bytearray) -> None:
        """Send a CHANNEL_DATA packet; the peer's number of the channel, and data that its window allows."""
        connection = self._connection
        cipher = connection._send_encryption
        if (
            not isinstance(cipher, PacketCipher)
            or not connection._kex_complete
            or not connection._auth_complete
            or connection._rekey_bytes_sent >= connection._rekey_bytes
            or (connection._rekey_seconds and time.monotonic() >= connection._rekey_time)
        ):
            self._slow_send_packet(MSG_CHANNEL_DATA, UInt32(channel), String(bytes(data)))
            return
        size = _DATA.size + len(data)
        padding = -size % connection._send_blocksize
        if padding < _MIN_PADDING_BYTES:
            padding += connection._send_blocksize
        content = b"".join(
            (_DATA.pack(padding, MSG_CHANNEL_DATA, channel, len(data)), data, os.urandom(padding))
        )
        sequence = connection._send_seq
        for part in cipher.seal(sequence, content):
            self.gather(part)
        connection._send_seq = (sequence + 1) & 0xFFFF_FFFF
        connection._rekey_bytes_sent += len(content)

    def gather(self, data: bytes) -> None:
        """Write `data` with what else this event writes."""
        if not self._gathered:
            self._loop.call_soon(self._write)
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= _GATHERED_BYTES:
            self._write()

    def _write(self) -> None:
        if self._gathered:
            gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
            self._transport.write(b"".join(gathered))

    def pause_writing(self) -> None:
        """The transport has enough: the channels keep what they get."""
        self.congested = True

    def resume_writing(self) -> None:
        """The transport takes more."""
        self.congested = False
        for channel in list(self._connection._channels.values()):
            channel._flush_send_buf()

    # From the peer.

    def receive(self) -> bool:
        """Take whole packets off while they are channels' data; asyncssh's handler for a packet's header."""
        connection = self._connection
        data = connection._inpbuf
        view = memoryview(data)
        at = 0
        while True:
            if connection._transport is None:  # closed meanwhile
                connection._inpbuf = b""
                return False
            cipher = connection._recv_encryption
            if not isinstance(cipher, PacketCipher):
                break
            if len(data) - at < connection._recv_blocksize:
                connection._inpbuf = data[at:]
                return False
            sequence = connection._recv_seq
            end = at + LENGTH_BYTES + cipher.length(sequence, view[at:]) + TAG_BYTES
            if end - at > connection._max_recv_pktlen:
                break
            if end > len(data):
                connection._inpbuf = data[at:]
                return False
            opened = cipher.open(sequence, view[at:end])
            if opened is None or not self._deliver(opened):
                cipher.opened = opened
                break
            at = end
            connection._auth_final = True
            connection._recv_seq = (sequence + 1) & 0xFFFF_FFFF
        connection._inpbuf = data[at:]
        return self._slow_header()

    def _deliver(self, opened: bytes) -> bool:
        """Hand data to its channel; False when the packet is anything else, or unusual in any way."""
        if len(opened) < _DATA.size or opened[1] != MSG_CHANNEL_DATA or not self._connection._auth_complete:
            return False
        padding, _, number, size = _DATA.unpack_from(opened)
        channel = self._connection._channels.get(number)
        if (
            channel is None
            or channel._recv_state != "open"
            or _DATA.size + size + padding != len(opened)
            or size > channel._recv_window
        ):
            return False
        channel._accept_data(opened[_DATA.size : _DATA.size + size])
        return True


def install(connection: SSHConnection, transport: asyncio.Transport) -> Wire:
    """Let `connection` send and receive by a `Wire`."""
    wire = Wire(connection, transport)
    connection.send_packet = wire.send_packet  # type: ignore[method-assign]
    connection._send = wire.gather  # type: ignore[method-assign]
    connection.pause_writing = wire.pause_writing  # type: ignore[method-assign]
    connection.resume_writing = wire.resume_writing  # type: ignore[method-assign]
    if connection._recv_handler == connection._recv_pkthdr:
        connection._recv_handler = wire.receive
    connection._recv_pkthdr = wire.receive  # type: ignore[method-assign]
    return wire
