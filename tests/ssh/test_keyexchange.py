"""Which first key exchange packets are void."""

import pytest
from asyncssh.constants import MSG_KEXINIT
from asyncssh.packet import Boolean, Byte, NameList, PacketDecodeError, UInt32

from rootblood.ssh.keyexchange import Proposal


def kexinit(key_exchanges: list[bytes], host_keys: list[bytes], *, packet_follows: bool) -> bytes:
    rest = NameList([b"any"]) * 8
    lists = NameList(key_exchanges) + NameList(host_keys) + rest
    return Byte(MSG_KEXINIT) + bytes(16) + lists + Boolean(packet_follows) + UInt32(0)


SERVER = Proposal.parse(kexinit([b"new", b"old"], [b"ed25519"], packet_follows=False))


@pytest.mark.parametrize(
    ("key_exchanges", "host_keys", "packet_follows", "wrong"),
    [
        ([b"new", b"old"], [b"ed25519", b"rsa"], True, False),
        ([b"old"], [b"ed25519"], True, True),  # though "old" is what is then chosen
        ([b"new"], [b"rsa", b"ed25519"], True, True),
        ([b"old"], [b"rsa"], False, False),
        ([], [], True, True),
    ],
    ids=["both right", "key exchange", "host key", "no guess", "nothing offered"],
)
def test_a_guess_is_wrong_where_the_first_of_both_lists_differ(
    key_exchanges: list[bytes],
    host_keys: list[bytes],
    *,
    packet_follows: bool,
    wrong: bool,
) -> None:
    client = Proposal.parse(kexinit(key_exchanges, host_keys, packet_follows=packet_follows))

    assert wrong == client.guessed_wrong(SERVER)


def test_a_message_cut_short_is_no_proposal() -> None:
    message = kexinit([b"new"], [b"ed25519"], packet_follows=True)

    with pytest.raises(PacketDecodeError):
        Proposal.parse(message[:-6])
