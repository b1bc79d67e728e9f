"""A gigabyte each way arrives whole, and costs the server next to no memory.

The data is AES in counter mode over zeros, made where it is sent and hashed where it arrives; it is a little
more than the keys of a connection are good for, so they change on the way.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Server

pytestmark = pytest.mark.serial

MEBIBYTE = 2**20
SIZE_MIB = 1025
ALLOWED_KIB = 32 * 1024
MAKE = (
    f"head -c {SIZE_MIB * MEBIBYTE} /dev/zero | openssl enc -aes-128-ctr -nosalt -K {'0' * 32} -iv {'0' * 32}"
)


def bulk() -> Iterator[bytes]:
    """The data, a mebibyte at a time; what MAKE prints."""
    encryptor = Cipher(algorithms.AES(bytes(16)), modes.CTR(bytes(16))).encryptor()
    zeros = bytes(MEBIBYTE)
    return (encryptor.update(zeros) for _ in range(SIZE_MIB))


@pytest.fixture(scope="module")
def sha256() -> str:
    digest = hashlib.sha256()
    for piece in bulk():
        digest.update(piece)
    return digest.hexdigest()


@contextmanager
def little_memory(server: Server) -> Iterator[None]:
    """Watch the server's memory for the length of a block."""
    before, most, over = server.rss_kib, 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.05):
            most = max(most, server.rss_kib)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
    assert 0 < most <= before + ALLOWED_KIB


@pytest.fixture
def watched(server: Server, alice: Client) -> Iterator[Client]:
    """A client whose environment runs, so that the server's memory is what the transfer costs."""
    alice.output("true")
    with little_memory(server):
        yield alice


def test_down_by_exec(watched: Client, sha256: str) -> None:
    digest = hashlib.sha256()
    with watched.open(MAKE) as process:
        assert process.stdout is not None
        while piece := process.stdout.read(MEBIBYTE):
            digest.update(piece)
        assert process.wait(CLIENT_TIMEOUT_S) == 0

    assert digest.hexdigest() == sha256


def test_up_by_exec(watched: Client, sha256: str) -> None:
    with watched.open("sha256sum") as process:
        assert process.stdin is not None
        for piece in bulk():
            process.stdin.write(piece)
        out, err = process.communicate(timeout=CLIENT_TIMEOUT_S)

    assert (process.returncode, err) == (0, b"")
    assert out.decode().split()[0] == sha256


def test_down_by_sftp(watched: Client, sha256: str, tmp_path: Path) -> None:
    file = tmp_path / "bulk"
    watched.output(f"{MAKE} >bulk-down")

    try:
        watched.sftp(f"get bulk-down {file}", "rm bulk-down")
        with file.open("rb") as data:
            assert hashlib.file_digest(data, "sha256").hexdigest() == sha256
    finally:
        file.unlink(missing_ok=True)


def test_up_by_sftp(watched: Client, sha256: str, tmp_path: Path) -> None:
    file = tmp_path / "bulk"
    with file.open("wb") as data:
        data.writelines(bulk())

    try:
        watched.sftp(f"put {file} bulk-up")
    finally:
        file.unlink()
    assert watched.output("sha256sum bulk-up && rm bulk-up").split()[0] == sha256
