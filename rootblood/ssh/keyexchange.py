"""A wrongly guessed first key exchange packet is ignored, as RFC 4253 section 7.1 wants it.

A client may send its first key exchange packet right behind its list of algorithms, for the key exchange it
guesses. The guess is wrong where the first key exchange or the first host key algorithm of the two lists
differ, even if what is then chosen is what the client guessed: the packet is void, and the client sends it
again. asyncssh asks only whether the choice is the client's first, takes the void packet and breaks the
connection at the second. Dropbear's client always guesses, and its first is not always ours.
"""

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
