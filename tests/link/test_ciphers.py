"""Packets sealed here are opened by asyncssh's own ciphers, and the other way round."""

from typing import cast

import pytest
from asyncssh.crypto.chacha import ChachaCipher
from asyncssh.crypto.cipher import GCMCipher as AsyncsshGCMCipher
from asyncssh.encryption import ChachaEncryption, Encryption, GCMEncryption, get_encryption
from hypothesis import given
from hypothesis import strategies as st

from rootblood.link.ciphers import ChaChaCipher, GCMCipher, PacketCipher

IV = bytes(range(4)) + b"\xff" * 8  # the next invocation wraps around
NAMES = ["aes128-gcm", "aes256-gcm", "chacha20-poly1305"]
KEY_BYTES = {"aes128-gcm": 16, "aes256-gcm": 32, "chacha20-poly1305": 64}

contents = st.lists(st.binary(min_size=12, max_size=200), min_size=1, max_size=5)


def ours(name: str) -> PacketCipher:
    made = get_encryption(f"{name}@openssh.com".encode(), key(name), IV)
    return cast("PacketCipher", made)


def theirs(name: str) -> Encryption:
    if name == "chacha20-poly1305":
        return ChachaEncryption(ChachaCipher(key(name)))
    return GCMEncryption(AsyncsshGCMCipher(name, key(name), IV))


def key(name: str) -> bytes:
    return bytes(range(KEY_BYTES[name]))


def test_the_ciphers_here_are_the_ones_asyncssh_negotiates() -> None:
    assert [GCMCipher, GCMCipher, ChaChaCipher] == [type(ours(name)) for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
@given(contents)
def test_what_is_sealed_here_is_opened_there(name: str, packets: list[bytes]) -> None:
    sealing, opening = ours(name), theirs(name)
    for number, content in enumerate(packets):
        length, sealed, tag = sealing.seal(number, content)
        body = sealed + tag
        first, header = opening.decrypt_header(number, length + body[:12], 4)
        assert len(content) == int.from_bytes(header, "big")
        assert content == opening.decrypt_packet(number, first, body[12:-16], 4, body[-16:])


@pytest.mark.parametrize("name", NAMES)
@given(contents)
def test_what_is_sealed_there_is_opened_here(name: str, packets: list[bytes]) -> None:
    sealing, opening = theirs(name), ours(name)
    for number, content in enumerate(packets):
        packet = b"".join(sealing.encrypt_packet(number, len(content).to_bytes(4, "big"), content))
        assert len(content) == opening.length(number, memoryview(packet))
        assert content == opening.open(number, memoryview(packet))


@pytest.mark.parametrize("name", NAMES)
@given(st.binary(min_size=16, max_size=64), st.integers(min_value=0), st.integers(0, 7))
def test_a_packet_with_one_bit_changed_is_refused(name: str, content: bytes, at: int, bit: int) -> None:
    packet = bytearray(b"".join(ours(name).seal(7, content)))
    packet[at % len(packet)] ^= 1 << bit
    assert ours(name).open(7, memoryview(packet)) is None


@pytest.mark.parametrize("name", NAMES)
def test_what_was_opened_ahead_is_not_opened_again(name: str) -> None:
    packet = b"".join(ours(name).seal(0, bytes(20)))
    cipher = ours(name)
    cipher.opened = cipher.open(0, packet)
    assert bytes(20) == cipher.decrypt_packet(0, packet[:16], packet[16:-16], 4, packet[-16:])
    assert cipher.opened is None
