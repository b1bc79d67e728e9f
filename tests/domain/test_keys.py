"""Which keys are taken, and that `ssh-keygen` reads them alike; which are refused, and why."""

import base64
import contextlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from rootblood.domain.keys import (
    MAX_LINE_CHARS,
    PublicKey,
    fingerprint_of,
    parse_public_key,
    parse_public_keys,
)
from rootblood.errors import InvalidInputError


def string(value: bytes) -> bytes:
    """A string of RFC 4251."""
    return len(value).to_bytes(4, "big") + value


def mpint(value: int) -> bytes:
    """A positive mpint of RFC 4251."""
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def line_of(algorithm: str, blob: bytes, comment: str = "") -> str:
    return f"{algorithm} {base64.b64encode(blob).decode()} {comment}".rstrip()


ED25519 = (
    ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    .public_key()
    .public_bytes(Encoding.Raw, PublicFormat.Raw)
)
POINT = (
    ec.derive_private_key(7, ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
)
MODULUS_3072 = (1 << 3071) + 1

ED25519_BLOB = string(b"ssh-ed25519") + string(ED25519)
ED25519_LINE = line_of("ssh-ed25519", ED25519_BLOB, "alice@laptop")
SK_ED25519_BLOB = string(b"sk-ssh-ed25519@openssh.com") + string(ED25519) + string(b"ssh:")
ECDSA_BLOB = string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(POINT)


def rsa_blob(*, bits: int = 3072, exponent: int = 65537) -> bytes:
    return string(b"ssh-rsa") + mpint(exponent) + mpint((1 << (bits - 1)) + 1)


def keygen(directory: Path, *arguments: str) -> Path:
    """Make a key pair with the real program; returns the public file."""
    file = directory / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-N", "", "-C", "alice@laptop", *arguments, "-f", str(file)],
        check=True,
        capture_output=True,
    )
    return file.with_suffix(".pub")


def fingerprint_by_keygen(public_file: Path) -> str:
    listed = subprocess.run(
        ["ssh-keygen", "-lf", str(public_file)], check=True, capture_output=True, text=True
    )
    return listed.stdout.split()[1]


@pytest.mark.parametrize(
    ("arguments", "algorithm"),
    [
        (["-t", "ed25519"], "ssh-ed25519"),
        (["-t", "rsa", "-b", "2048"], "ssh-rsa"),
        (["-t", "ecdsa", "-b", "256"], "ecdsa-sha2-nistp256"),
        (["-t", "ecdsa", "-b", "384"], "ecdsa-sha2-nistp384"),
        (["-t", "ecdsa", "-b", "521"], "ecdsa-sha2-nistp521"),
    ],
)
def test_a_key_of_ssh_keygen(tmp_path: Path, arguments: list[str], algorithm: str) -> None:
    public_file = keygen(tmp_path, *arguments)

    key = parse_public_key(public_file.read_text())

    assert algorithm == key.algorithm
    assert "alice@laptop" == key.comment
    assert fingerprint_by_keygen(public_file) == key.fingerprint
    assert public_file.read_text() == key.line + "\n"


@pytest.mark.parametrize(
    ("algorithm", "blob"),
    [
        ("sk-ssh-ed25519@openssh.com", SK_ED25519_BLOB),
        (
            "sk-ecdsa-sha2-nistp256@openssh.com",
            string(b"sk-ecdsa-sha2-nistp256@openssh.com")
            + string(b"nistp256")
            + string(POINT)
            + string(b"ssh:work"),
        ),
    ],
)
def test_a_key_of_a_security_token(tmp_path: Path, algorithm: str, blob: bytes) -> None:
    file = tmp_path / "token.pub"
    file.write_text(line_of(algorithm, blob, "yubikey") + "\n")

    key = parse_public_key(file.read_text())

    assert (algorithm, blob, "yubikey") == (key.algorithm, key.blob, key.comment)
    assert fingerprint_by_keygen(file) == key.fingerprint


def test_a_file_of_putty(tmp_path: Path) -> None:
    public_file = keygen(tmp_path, "-t", "rsa", "-b", "2048")
    exported = subprocess.run(
        ["ssh-keygen", "-e", "-m", "RFC4716", "-f", str(public_file)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    (key,) = parse_public_keys(exported)

    assert fingerprint_by_keygen(public_file) == key.fingerprint
    assert "2048-bit RSA" in key.comment


def test_headers_of_rfc_4716_may_continue_on_the_next_line() -> None:
    encoded = base64.b64encode(ED25519_BLOB).decode()
    text = (
        "---- BEGIN SSH2 PUBLIC KEY ----\r\n"
        'Comment: "alice at \\\r\nhome"\r\n'
        "x-private: whatever\r\n"
        f"{encoded[:40]}\r\n{encoded[40:]}\r\n"
        "---- END SSH2 PUBLIC KEY ----\r\n"
    )

    assert [PublicKey("ssh-ed25519", ED25519_BLOB, "alice at home")] == parse_public_keys(text)


def test_a_block_of_rfc_4716_without_its_end() -> None:
    encoded = base64.b64encode(ED25519_BLOB).decode()

    with pytest.raises(InvalidInputError, match="line 2: the block does not end"):
        parse_public_keys(f"\n---- BEGIN SSH2 PUBLIC KEY ----\n{encoded}\n")


def test_a_file_of_several_keys() -> None:
    rsa_line = line_of("ssh-rsa", rsa_blob(), "work key")
    text = f"\ufeff# laptop\n\n{ED25519_LINE}\r\n  \t\n{rsa_line}\n{ED25519_LINE}\n"

    assert [
        ("ssh-ed25519", "alice@laptop"),
        ("ssh-rsa", "work key"),
    ] == [(key.algorithm, key.comment) for key in parse_public_keys(text)]


def test_one_bad_line_refuses_the_file_and_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"^line 3: this is not a public key"):
        parse_public_keys(f"{ED25519_LINE}\n# fine\nnonsense\n")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_a_file_without_keys(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no public key in it"):
        parse_public_keys(text)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ('from="10.0.0.0/8"', "from"),
        ('command="echo hi there"', "command"),
        ("no-pty", "no-pty"),
        ("Restrict,pty", "Restrict"),
        ("cert-authority", "cert-authority"),
        ('some-new-option="x"', "some-new-option"),
    ],
)
def test_options_are_refused_by_name(options: str, named: str) -> None:
    with pytest.raises(InvalidInputError, match=f"the option {named} stands in front"):
        parse_public_key(f"{options} {ED25519_LINE}")


def test_a_private_key_is_refused_with_a_warning(tmp_path: Path) -> None:
    private = keygen(tmp_path, "-t", "ed25519").with_suffix("").read_text()

    for read in (parse_public_keys, parse_public_key):
        with pytest.raises(InvalidInputError, match=r"PRIVATE key.*new key pair") as caught:
            read(private)
        assert private.splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE KEY-----\nMII",
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n",
        f"{ED25519_LINE}\n-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
    ],
)
def test_other_forms_of_private_keys(text: str) -> None:
    with pytest.raises(InvalidInputError, match="PRIVATE key"):
        parse_public_keys(text)


def test_a_pem_public_key_says_how_to_convert_it() -> None:
    with pytest.raises(InvalidInputError, match="ssh-keygen -i -m PKCS8"):
        parse_public_keys("-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n")


def test_a_certificate_of_ssh_keygen(tmp_path: Path) -> None:
    public_file = keygen(tmp_path, "-t", "ed25519")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(tmp_path / "key"), "-I", "id", str(public_file)],
        check=True,
        capture_output=True,
    )

    with pytest.raises(InvalidInputError, match="this is a certificate"):
        parse_public_key((tmp_path / "key-cert.pub").read_text())


EVEN_MODULUS = string(b"ssh-rsa") + mpint(65537) + mpint(1 << 3071)
PADDED_MODULUS = string(b"ssh-rsa") + mpint(65537) + string(b"\0\0" + MODULUS_3072.to_bytes(384, "big"))
NEGATIVE_MODULUS = string(b"ssh-rsa") + mpint(65537) + string(MODULUS_3072.to_bytes(384, "big"))
OFF_CURVE = string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(b"\x04" + b"\x01" * 64)
COMPRESSED = string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(b"\x02" + POINT[1:33])
OTHER_CURVE = string(b"ecdsa-sha2-nistp256") + string(b"nistp384") + string(POINT)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (line_of("ssh-dss", string(b"ssh-dss")), "DSA keys are too weak"),
        (line_of("ssh-rsa", rsa_blob(bits=2047)), "2047 bits is too weak"),
        (line_of("ssh-rsa", rsa_blob(bits=16385)), "16385 bits is too long"),
        (line_of("ssh-rsa", rsa_blob(exponent=2)), "no RSA key"),
        (line_of("ssh-rsa", rsa_blob(exponent=1)), "no RSA key"),
        (line_of("ssh-rsa", EVEN_MODULUS), "no RSA key"),
        (line_of("ssh-rsa", PADDED_MODULUS), "not written as SSH does"),
        (line_of("ssh-rsa", NEGATIVE_MODULUS), "not written as SSH does"),
        (line_of("ecdsa-sha2-nistp256", OFF_CURVE), "not on nistp256"),
        (line_of("ecdsa-sha2-nistp256", COMPRESSED), "not written as OpenSSH does"),
        (line_of("ecdsa-sha2-nistp256", OTHER_CURVE), "another curve"),
        (line_of("ssh-ed25519", ED25519_BLOB + b"\0"), "bytes behind its end"),
        (line_of("ssh-ed25519", ED25519_BLOB[:-1]), "ends too early"),
        (line_of("ssh-ed25519", string(b"ssh-ed25519") + string(b"\0" * 31)), "32 bytes"),
        (line_of("ssh-ed25519", ECDSA_BLOB), "says ssh-ed25519 in front"),
        (line_of("ssh-rsa", ED25519_BLOB), "says ssh-rsa in front"),
        (line_of("ssh-ed25519", string(b"\xff\xfe")), "names no algorithm"),
        (line_of("rsa-sha2-256", rsa_blob()), "not a public key"),
        ("ssh-ed25519", "key itself is missing"),
        ("ssh-ed25519 AAAA*", "not base64"),
        ("ssh-ed25519 AAAA=BBB", "base64"),
        ("ssh-ed25519 AAAB4", "base64"),
        ("ssh-ed25519 \u00e9\u00e9\u00e9\u00e9", "not base64"),
        ("ssh-ed25519\u00a0AAAA", "not a public key"),
        ("nonsense", "not a public key"),
        ("", "not a public key"),
        (f"{ED25519_LINE}\n{ED25519_LINE}", "one line"),
        (f"{ED25519_LINE}\0", "one line"),
        (ED25519_LINE + "x" * MAX_LINE_CHARS, "at most"),
    ],
)
def test_a_key_that_is_refused(line: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        parse_public_key(line)


def test_base64_with_loose_bits_at_its_end_is_refused() -> None:
    encoded = base64.b64encode(SK_ED25519_BLOB).decode()
    assert encoded.endswith("o=")  # six bits, of which two belong to no byte

    with pytest.raises(InvalidInputError, match="base64 does not end well"):
        parse_public_key(f"sk-ssh-ed25519@openssh.com {encoded[:-2]}p=")


def test_a_comment_is_kept_as_it_came() -> None:
    comment = "evil \x1b[2J\u202e \x0b\x85\u2028 two  spaces"

    assert comment == parse_public_key(f"{ED25519_LINE.rsplit(' ', 1)[0]} {comment}").comment
    assert [comment] == [
        key.comment for key in parse_public_keys(f"{ED25519_LINE.rsplit(' ', 1)[0]} {comment}\n")
    ]


def test_a_comment_that_was_no_text_can_be_stored() -> None:
    key = parse_public_key(f"{ED25519_LINE} caf\udce9")

    assert "alice@laptop caf?" == key.comment
    key.comment.encode()


def test_the_fingerprint_of_any_blob() -> None:
    assert fingerprint_of(b"").startswith("SHA256:47DEQpj8HBSa")


@given(st.text())
def test_any_text_is_a_key_or_refused(text: str) -> None:
    for read in (parse_public_key, parse_public_keys):
        with contextlib.suppress(InvalidInputError):
            read(text)


@given(st.sampled_from([ED25519_BLOB, ECDSA_BLOB, rsa_blob()]), st.data())
def test_a_changed_blob_is_another_key_or_refused(blob: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(blob) - 1))
    changed = bytearray(blob)
    changed[position] ^= data.draw(st.integers(1, 255))
    algorithm = blob[4 : 4 + blob[3]].decode()
    try:
        key = parse_public_key(line_of(algorithm, bytes(changed)))
    except InvalidInputError:
        return
    assert bytes(changed) == key.blob
    assert key == parse_public_key(key.line)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n")))
def test_a_line_is_read_back_as_the_same_key(comment: str) -> None:
    key = parse_public_key(f"{ED25519_LINE} {comment}")

    assert key == parse_public_key(key.line)
    assert [key] == parse_public_keys(key.line)
