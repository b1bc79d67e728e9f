"""Public keys as people hand them over, and as the doors compare them.

A key comes in as a line of OpenSSH's `.pub` or authorized_keys format, or as the RFC 4716 block that PuTTY
exports. What is kept is the blob, the wire form of RFC 4253 section 6.6: the SSH door gets exactly that from
a client, so a login compares bytes with bytes. A blob is therefore taken only in the one encoding a client
would send; a key that could never match is refused here, with the reason, instead of at each login.

Options in front of a key (`from=`, `command=`) are refused by name: to ignore one would open what its owner
thinks is shut.
"""

import base64
import binascii
import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rootblood.errors import InvalidInputError

RSA_MIN_BITS = 2048
RSA_MAX_BITS = 16384
"""As OpenSSH's SSHBUF_MAX_BIGNUM."""

MAX_LINE_CHARS = 8192
"""Longer than any key there can be (16384-bit RSA: 2,800 characters) and a comment of any sense."""

_ED25519_BYTES = 32

_CERTIFICATE = re.compile(r"[a-z0-9-]+-cert-v0[01]@openssh\.com")
_OPTION_NAME = re.compile(r"([A-Za-z0-9-]{1,64})(?=[=,]|$)")
_PRIVATE_KEY = re.compile(r"BEGIN [A-Z0-9 ]*PRIVATE KEY|^PuTTY-User-Key-File-|^Private-Lines:", re.MULTILINE)
_PEM_PUBLIC_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PUBLIC KEY-----")
_BEGIN_RFC4716 = "---- BEGIN SSH2 PUBLIC KEY ----"
_END_RFC4716 = "---- END SSH2 PUBLIC KEY ----"

_OPTIONS = frozenset(
    {
        "agent-forwarding",
        "cert-authority",
        "command",
        "environment",
        "expiry-time",
        "from",
        "no-agent-forwarding",
        "no-port-forwarding",
        "no-pty",
        "no-touch-required",
        "no-user-rc",
        "no-x11-forwarding",
        "permitlisten",
        "permitopen",
        "port-forwarding",
        "principals",
        "pty",
        "restrict",
        "tunnel",
        "user-rc",
        "verify-required",
        "x11-forwarding",
    }
)
"""Those of sshd(8), to tell an option from a misspelt algorithm."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that may log in, checked to be one."""

    algorithm: str
    """The name inside the blob, such as `ssh-ed25519`."""

    blob: bytes
    """Wire form of RFC 4253 section 6.6."""

    comment: str = ""
    """What its owner wrote behind it, control characters and all: escape it where it is shown."""

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as `ssh-keygen -l` prints it."""
        return fingerprint_of(self.blob)

    @property
    def line(self) -> str:
        """The key as a line of authorized_keys; the comment is not escaped."""
        return f"{self.algorithm} {base64.b64encode(self.blob).decode('ascii')} {self.comment}".rstrip(" ")


@dataclass(frozen=True, slots=True)
class AccountKey:
    """A key of an account, and since when."""

    key: PublicKey
    created_at: datetime


def fingerprint_of(blob: bytes) -> str:
    """Fingerprint of any blob, a key's or not."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


def parse_public_key(line: str) -> PublicKey:
    """Read one line in OpenSSH's format: algorithm, base64, comment.

    Raises:
        InvalidInputError: it is no key that may log in; the message says which rule it breaks.
    """
    _refuse_private_key(line)
    line = line.strip(" \t\r\n")
    if len(line) > MAX_LINE_CHARS:
        raise InvalidInputError(f"a public key has at most {MAX_LINE_CHARS} characters")
    if "\n" in line or "\0" in line:
        raise InvalidInputError("a public key is one line of text")
    algorithm, encoded, comment = [*re.split(r"[ \t]+", line, maxsplit=2), "", ""][:3]
    if algorithm not in _READERS:
        raise InvalidInputError(_why_not_an_algorithm(algorithm, line))
    if not encoded:
        raise InvalidInputError(f"the key itself is missing behind {algorithm}")
    return _from_blob(_decoded(encoded), comment, expected=algorithm)


def parse_public_keys(text: str) -> list[PublicKey]:
    """Read a whole file of authorized_keys lines and RFC 4716 blocks; a key that is there twice counts once.

    Raises:
        InvalidInputError: a line is no key that may log in, or there is none at all. One bad line refuses
            the file, and the message names it.
    """
    _refuse_private_key(text)
    if _PEM_PUBLIC_KEY.search(text):
        raise InvalidInputError(
            "this is a PEM public key: `ssh-keygen -i -m PKCS8 -f FILE` turns it into OpenSSH's format"
        )
    keys: dict[bytes, PublicKey] = {}
    for number, parse in _entries(text):
        try:
            key = parse()
        except InvalidInputError as error:
            raise InvalidInputError(f"line {number}: {error}") from error
        keys.setdefault(key.blob, key)
    if not keys:
        raise InvalidInputError("there is no public key in it")
    return list(keys.values())


def _entries(text: str) -> Iterator[tuple[int, Callable[[], PublicKey]]]:
    """Each key of a file, not yet read, with the number of its first line."""
    # Not splitlines(), which also splits at characters that may stand in a comment.
    lines = iter(enumerate(text.removeprefix("\ufeff").split("\n"), start=1))
    for number, raw in lines:
        line = raw.strip(" \t\r")
        if line == _BEGIN_RFC4716:
            block: list[str] = []
            ended = False
            for _, inner in lines:
                ended = inner.strip(" \t\r") == _END_RFC4716
                if ended:
                    break
                block.append(inner.strip(" \t\r"))
            yield number, functools.partial(_parse_rfc4716, block, ended=ended)
        elif line and not line.startswith("#"):
            yield number, functools.partial(parse_public_key, line)


def _parse_rfc4716(lines: list[str], *, ended: bool) -> PublicKey:
    """Read what stands between the markers of RFC 4716 section 3."""
    if not ended:
        raise InvalidInputError(f"the block does not end with {_END_RFC4716!r}")
    if sum(map(len, lines)) > MAX_LINE_CHARS:
        raise InvalidInputError(f"a public key has at most {MAX_LINE_CHARS} characters")
    comment, body = "", []
    remaining = iter(lines)
    for line in remaining:
        if ":" not in line:  # base64 has none, a header always
            body.append(line)
            continue
        header = line
        while header.endswith("\\"):
            header = header[:-1] + next(remaining, "")
        tag, _, value = header.partition(":")
        if tag.lower() == "comment":
            comment = value.strip()
            if len(comment) > 1 and comment[0] == comment[-1] == '"':
                comment = comment[1:-1]
    if "\0" in comment:
        raise InvalidInputError("a public key is text")
    return _from_blob(_decoded("".join(body)), comment)


def _refuse_private_key(text: str) -> None:
    if _PRIVATE_KEY.search(text):
        raise InvalidInputError(
            "this is a PRIVATE key, which nobody but its owner may ever hold: hand over the .pub file "
            "instead, and make a new key pair if this one has been sent to anybody"
        )


def _why_not_an_algorithm(word: str, line: str) -> str:
    """The message for a line that does not start with an algorithm we take."""
    if _CERTIFICATE.fullmatch(word):
        return "this is a certificate: certificates are not accepted, hand over the key it was made for"
    if word == "ssh-dss":
        return "DSA keys are too weak to be accepted: make an ed25519 key (ssh-keygen -t ed25519)"
    option = _OPTION_NAME.match(word)
    if option and (
        option[1].lower() in _OPTIONS or any(part in _READERS for part in re.split(r"[ \t]+", line)[1:])
    ):
        return f"the option {option[1]} stands in front of the key: options are not supported, remove it"
    return "this is not a public key in OpenSSH's format (such as 'ssh-ed25519 AAAA... comment')"


def _decoded(encoded: str) -> bytes:
    try:
        blob = binascii.a2b_base64(encoded.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidInputError("the key is damaged: it is not base64") from error
    if base64.b64encode(blob).decode("ascii") != encoded:
        raise InvalidInputError("the key is damaged: its base64 does not end well")
    return blob


def _from_blob(blob: bytes, comment: str, *, expected: str | None = None) -> PublicKey:
    """Check a blob from its first to its last byte.

    Args:
        blob: wire form of RFC 4253 section 6.6.
        comment: what stood behind it.
        expected: the algorithm that stood before it; None where the format has no such word.
    """
    fields = _Fields(blob)
    try:
        algorithm = fields.string().decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidInputError("the key is damaged: it names no algorithm") from error
    if expected is not None and algorithm != expected:
        raise InvalidInputError(f"the key is damaged: it says {expected} in front, and is not one")
    if algorithm not in _READERS:
        raise InvalidInputError(_why_not_an_algorithm(algorithm, algorithm))
    _READERS[algorithm](fields)
    fields.end()
    # Lone surrogates (bytes that were no UTF-8) could not be stored.
    return PublicKey(algorithm, blob, comment.encode("utf-8", "replace").decode("utf-8"))


class _Fields:
    """Reads the fields of RFC 4251 section 5 off a blob."""

    def __init__(self, blob: bytes) -> None:
        self._rest = blob

    def string(self) -> bytes:
        length = int.from_bytes(self._rest[:4], "big")
        if len(self._rest) < 4 + length:
            raise InvalidInputError("the key is damaged: it ends too early")
        value, self._rest = self._rest[4 : 4 + length], self._rest[4 + length :]
        return value

    def mpint(self) -> int:
        raw = self.string()
        value = int.from_bytes(raw, "big", signed=True)
        if value < 0 or raw != (value.to_bytes(value.bit_length() // 8 + 1, "big") if value else b""):
            raise InvalidInputError("the key is damaged: a number in it is not written as SSH does")
        return value

    def end(self) -> None:
        if self._rest:
            raise InvalidInputError("the key is damaged: there are bytes behind its end")


def _read_ed25519(fields: _Fields) -> None:
    if len(fields.string()) != _ED25519_BYTES:
        raise InvalidInputError("the key is damaged: an ed25519 key has 32 bytes")


def _read_rsa(fields: _Fields) -> None:
    exponent, modulus = fields.mpint(), fields.mpint()
    bits = modulus.bit_length()
    if bits < RSA_MIN_BITS:
        raise InvalidInputError(f"an RSA key of {bits} bits is too weak: {RSA_MIN_BITS} is the least")
    if bits > RSA_MAX_BITS:
        raise InvalidInputError(f"an RSA key of {bits} bits is too long: {RSA_MAX_BITS} is the most")
    if modulus % 2 == 0:
        raise InvalidInputError("the key is damaged: these numbers are no RSA key")
    try:
        rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise InvalidInputError("the key is damaged: these numbers are no RSA key") from error


def _ecdsa_reader(name: str, curve: ec.EllipticCurve) -> Callable[[_Fields], None]:
    def read(fields: _Fields) -> None:
        if fields.string() != name.encode():
            raise InvalidInputError("the key is damaged: it names another curve than its algorithm")
        point = fields.string()
        # RFC 5656 allows compressed points; OpenSSH does not, and sends none.
        if not point.startswith(b"\x04"):
            raise InvalidInputError("the key is damaged: its point is not written as OpenSSH does")
        try:
            ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidInputError(f"the key is damaged: its point is not on {name}") from error

    return read


def _security_key_reader(read_key: Callable[[_Fields], None]) -> Callable[[_Fields], None]:
    """The key of a FIDO token: the plain key's fields, then the application (OpenSSH's PROTOCOL.u2f)."""

    def read(fields: _Fields) -> None:
        read_key(fields)
        fields.string()

    return read


_READERS: dict[str, Callable[[_Fields], None]] = {
    "ssh-ed25519": _read_ed25519,
    "ssh-rsa": _read_rsa,
    "ecdsa-sha2-nistp256": _ecdsa_reader("nistp256", ec.SECP256R1()),
    "ecdsa-sha2-nistp384": _ecdsa_reader("nistp384", ec.SECP384R1()),
    "ecdsa-sha2-nistp521": _ecdsa_reader("nistp521", ec.SECP521R1()),
    "sk-ssh-ed25519@openssh.com": _security_key_reader(_read_ed25519),
    "sk-ecdsa-sha2-nistp256@openssh.com": _security_key_reader(_ecdsa_reader("nistp256", ec.SECP256R1())),
}
"""Every algorithm that may log in, and what checks the fields behind its name."""

ALGORITHMS = tuple(_READERS)
"""Every algorithm that may log in, by the name inside the blob."""
