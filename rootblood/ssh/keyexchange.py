"""Key exchange, with two things that asyncssh does not do.

A wrongly guessed first key exchange packet is ignored, as RFC 4253 section 7.1 wants it.

A client may send its first key exchange packet right behind its list of algorithms, for the key exchange it
guesses. The guess is wrong where the first key exchange or the first host key algorithm of the two lists
differ, even if what is then chosen is what the client guessed: the packet is void, and the client sends it
again. asyncssh asks only whether the choice is the client's first, takes the void packet and breaks the
connection at the second. Dropbear's client always guesses, and its first is not always ours.

And a key exchange that was begun has to end. asyncssh's login timer ends with the authentication, and during
a key exchange its keepalive questions wait like everything else that is to be sent: a peer that goes on
sending, but never its part of the exchange, would stay, with ever more waiting for it.
"""

import asyncio
from dataclasses import dataclass
from typing import Self

import asyncssh
from asyncssh.constants import MSG_KEXINIT
from asyncssh.packet import SSHPacket

_COOKIE_BYTES = 16
_OTHER_LISTS = 8
"""Ciphers, MACs, compression and languages, each way."""


@dataclass(frozen=True)
class Proposal:
    """What decides about a guess in a KEXINIT message."""

    key_exchange: bytes
    host_key: bytes
    packet_follows: bool

    @classmethod
    def parse(cls, message: bytes) -> Self:
        """Read a KEXINIT message, its type included.

        Raises:
            asyncssh.packet.PacketDecodeError: it is cut short.
        """
        packet = SSHPacket(message)
        packet.get_byte()
        packet.get_bytes(_COOKIE_BYTES)
        key_exchange, host_key = (next(iter(packet.get_namelist()), b"") for _ in range(2))
        for _ in range(_OTHER_LISTS):
            packet.get_namelist()
        return cls(key_exchange, host_key, packet.get_boolean())

    def guessed_wrong(self, peer: Self) -> bool:
        """Whether a packet follows this proposal that `peer` has to ignore."""
        return self.packet_follows and (self.key_exchange, self.host_key) != (
            peer.key_exchange,
            peer.host_key,
        )


def ignore_wrong_guesses(connection: asyncssh.SSHServerConnection) -> None:
    """Make this connection, whose key exchange has not begun, judge guesses by the RFC."""
    connection._packet_handlers = {  # noqa: SLF001 - asyncssh offers no other place to stand
        **connection._packet_handlers,  # noqa: SLF001
        MSG_KEXINIT: _process_kexinit,
    }


async def _process_kexinit(
    connection: asyncssh.SSHServerConnection, message_type: int, message_id: int, packet: SSHPacket
) -> None:
    # The next packet is looked at only when this is done.
    await asyncssh.SSHServerConnection._process_kexinit(  # noqa: SLF001
        connection, message_type, message_id, packet
    )
    client, server = (
        Proposal.parse(message)
        for message in (connection._client_kexinit, connection._server_kexinit)  # noqa: SLF001
    )
    connection._ignore_first_kex = client.guessed_wrong(server)  # noqa: SLF001


class RekeyTimer:
    """Drops a connection whose key exchange, the first or a later one, takes too long.

    Args:
        connection: its key exchange has not begun.
        timeout_s: from our KEXINIT to new keys both ways.
    """

    def __init__(self, connection: asyncssh.SSHServerConnection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._send_kexinit = connection._send_kexinit  # noqa: SLF001
        connection._send_kexinit = self._begin  # type: ignore[method-assign] # noqa: SLF001

    def cancel(self) -> None:
        """Forget the connection, which is closed."""
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        # A peer that begins again and again, and never ends, gets no new time.
        if self._timer is None or not self._under_way():
            self.cancel()
            self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._expire)
        self._send_kexinit()

    def _under_way(self) -> bool:
        connection = self._connection
        # We have sent NEWKEYS where it is complete, and the peer has where nothing waits to be its keys.
        return not connection._kex_complete or connection._next_recv_encryption is not None  # noqa: SLF001

    def _expire(self) -> None:
        if self._under_way():
            reason = "Key exchange took too long"
            self._connection._send_disconnect(  # noqa: SLF001 - disconnect() would tell no cause
                asyncssh.DISC_KEY_EXCHANGE_FAILED, reason, "en"
            )
            self._connection._force_close(asyncssh.KeyExchangeFailed(reason))  # noqa: SLF001
