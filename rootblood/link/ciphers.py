"""AES-GCM and ChaCha20-Poly1305 over whole packets, in place of asyncssh's own.

The algorithms are `cryptography`'s here as there. asyncssh sets one up anew for each packet, and takes the
packet apart and puts it together again around it: five copies a packet, and for ChaCha20 four objects. Here
both are kept for the life of a key, and work on the bytes where they are.

Registered with asyncssh when this module is imported; AES-CTR, whose MAC is apart, stays asyncssh's.
"""

from abc import abstractmethod
from typing import Self

from asyncssh.encryption import Encryption, register_encryption_alg
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305
from typing_extensions import override

LENGTH_BYTES = 4
TAG_BYTES = 16

Buffer = bytes | memoryview


class PacketCipher(Encryption):
    """One direction of a connection under one key.

    A packet is its length (four bytes), what is sealed, and a tag of sixteen bytes.
    """

    opened: bytes | None = None
    """A packet that was opened ahead of asyncssh, which then asks for it by `decrypt_packet`."""

    @abstractmethod
    def __init__(self, key: bytes, iv: bytes) -> None:
        """Take the key, and where to begin if it is not the sequence number that says so."""

    @classmethod
    @override
    def new(
        cls,
        cipher_name: str,
        key: bytes,
        iv: bytes,
        mac_alg: bytes = b"",
        mac_key: bytes = b"",
        etm: bool = False,
    ) -> Self:
        return cls(key, iv)

    @abstractmethod
    def length(self, sequence: int, packet: Buffer) -> int:
        """How much is sealed in the packet that begins with these bytes, four or more, by its own word."""

    @abstractmethod
    def open(self, sequence: int, packet: Buffer) -> bytes | None:
        """What is sealed in a whole packet; None when it is not what was sent."""

    @abstractmethod
    def seal(self, sequence: int, content: bytes) -> tuple[bytes, bytes, bytes]:
        """Seal a packet's content: what goes on the wire, in its parts."""

    @classmethod
    @override
    def needs_mac(cls) -> bool:
        return False

    @classmethod
    @override
    def get_mac_params(cls, mac_alg: bytes) -> tuple[int, int, bool]:
        return 0, TAG_BYTES, True

    @override
    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        length, sealed, tag = self.seal(seq, packet)
        return length + sealed, tag

    @override
    def decrypt_header(self, seq: int, first_block: bytes, header_len: int) -> tuple[bytes, bytes]:
        return first_block, self.length(seq, first_block).to_bytes(LENGTH_BYTES, "big")

    @override
    def decrypt_packet(
        self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes
    ) -> bytes | None:
        if self.opened is not None:
            opened, self.opened = self.opened, None
            return opened
        return self.open(seq, b"".join((first, rest, mac)))


class GCMCipher(PacketCipher):
    """RFC 5647, with OpenSSH's names: the length is not encrypted, and is authenticated with the rest."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._aead = AESGCM(key)
        self._fixed = iv[:4]
        self._invocation = int.from_bytes(iv[4:], "big")

    @override
    def length(self, sequence: int, packet: Buffer) -> int:
        return int.from_bytes(packet[:LENGTH_BYTES], "big")

    @override
    def open(self, sequence: int, packet: Buffer) -> bytes | None:
        try:
            return self._aead.decrypt(self._nonce(), packet[LENGTH_BYTES:], packet[:LENGTH_BYTES])
        except InvalidTag:
            return None

    @override
    def seal(self, sequence: int, content: bytes) -> tuple[bytes, bytes, bytes]:
        length = len(content).to_bytes(LENGTH_BYTES, "big")
        return length, self._aead.encrypt(self._nonce(), content, length), b""

    def _nonce(self) -> bytes:
        nonce = self._fixed + self._invocation.to_bytes(8, "big")
        self._invocation = (self._invocation + 1) & 0xFFFF_FFFF_FFFF_FFFF
        return nonce


class ChaChaCipher(PacketCipher):
    """OpenSSH's PROTOCOL.chacha20poly1305: the length has a key of its own, so that it can be read first."""

    _BLOCK = bytes(64)

    def __init__(self, key: bytes, iv: bytes) -> None:
        del iv
        start = bytes(16)
        self._content = Cipher(ChaCha20(key[:32], start), mode=None).encryptor()
        self._length = Cipher(ChaCha20(key[32:], start), mode=None).encryptor()

    @override
    def length(self, sequence: int, packet: Buffer) -> int:
        return int.from_bytes(self._crypt_length(sequence, packet[:LENGTH_BYTES]), "big")

    @override
    def open(self, sequence: int, packet: Buffer) -> bytes | None:
        tag_at = len(packet) - TAG_BYTES
        mac = self._start(sequence)
        mac.update(packet[:tag_at])
        try:
            mac.verify(bytes(packet[tag_at:]))
        except InvalidSignature:
            return None
        return self._content.update(packet[LENGTH_BYTES:tag_at])

    @override
    def seal(self, sequence: int, content: bytes) -> tuple[bytes, bytes, bytes]:
        length = self._crypt_length(sequence, len(content).to_bytes(LENGTH_BYTES, "big"))
        mac = self._start(sequence)
        sealed = self._content.update(content)
        mac.update(length)
        mac.update(sealed)
        return length, sealed, mac.finalize()

    def _start(self, sequence: int) -> Poly1305:
        """Begin a packet: its MAC's key is the first half of the key stream's first block."""
        self._content.reset_nonce(_nonce(sequence))
        return Poly1305(self._content.update(self._BLOCK)[:32])

    def _crypt_length(self, sequence: int, length: Buffer) -> bytes:
        self._length.reset_nonce(_nonce(sequence))
        return self._length.update(length)


def _nonce(sequence: int) -> bytes:
    """A block counter of zero, and the sequence number in 64 bits."""
    return bytes(8) + sequence.to_bytes(8, "big")


for _name, _cipher in (
    ("aes128-gcm", GCMCipher),
    ("aes256-gcm", GCMCipher),
    ("chacha20-poly1305", ChaChaCipher),
):
    register_encryption_alg(f"{_name}@openssh.com".encode(), _cipher, _name, default=False)
