"""A home as a tarball, beside `docker exec` with a `tar` and the same compressor.

The peer compresses in the container too: there, all that an account makes happens in the account's own share
of the machine.
"""

import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus

from bench.measure import seconds
from bench.peers import Peers
from tests.e2e.conftest import ALICE_PASSWORD
from tests.e2e.installation import Client
from tests.e2e.test_web_login import Curl

ROUNDS = 3

_HOME = """
set -e
head -c 200000000 /dev/urandom >random
seq 100000000 | head -c 200000000 >numbers
mkdir small
head -c 20000000 /dev/urandom | base64 | split -b 8000 -a 4 - small/
"""
"""A part that does not get smaller, one that does, and some 3,000 small files."""

_COMPRESSORS = {"tar.zst": "zstd -q -3", "tar.gz": "gzip -n -6"}
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Figures:
    """Medians, in seconds: of a tarball through a pipe, through the drive, and of the peer."""

    pipe: float
    drive: float
    peer: float
    pipe_first_byte: float
    """Its login included."""

    http_first_byte: float
    """Of a download, by somebody who is logged in."""


@dataclass(frozen=True)
class _Taker:
    """An account whose home is taken away."""

    client: Client
    container: str
    home: str
    download: Sequence[str]
    """A curl that asks for a tarball; the end of its path is missing."""


def tarballs(peers: Peers) -> Iterator[tuple[str, Figures]]:
    """Each format's figures."""
    with _taker(peers) as taker:
        for kind, compressor in _COMPRESSORS.items():
            yield kind, _measured(taker, kind, compressor)


def _measured(taker: _Taker, kind: str, compressor: str) -> Figures:
    script = f"tar -C {taker.home} -c . | {compressor}"
    peer = ["docker", "exec", taker.container, "sh", "-c", script]
    first_bytes, first_bytes_of_http, pipe, drive, theirs = [], [], [], [], []
    *curl, url = taker.download
    for _ in range(ROUNDS):
        pipe.append(
            seconds(lambda: first_bytes.append(_read(taker.client.argv(f"/usr/lib/rootblood/export {kind}"))))
        )
        drive.append(seconds(partial(_fetch, taker.client, kind)))
        theirs.append(seconds(partial(_read, peer)))
        first_bytes_of_http.append(_first_byte([*curl, url + kind]))
    return Figures(*map(statistics.median, (pipe, drive, theirs, first_bytes, first_bytes_of_http)))


def _fetch(client: Client, kind: str) -> None:
    drive = replace(client, name=f"{client.name}+export")
    argv = ["sftp", "-q", "-b", "-", *drive.options, "-P", str(drive.port), drive.target]
    batch = f"get home.{kind} /dev/null\n".encode()
    subprocess.run(argv, input=batch, stdout=subprocess.DEVNULL, check=True, timeout=300)


def _read(argv: Sequence[str | bytes]) -> float:
    """Read what a program that must succeed gives; returns after how many seconds its first byte came."""
    with _begun(argv) as (process, first):
        assert process.stdout is not None
        while process.stdout.read(_READ_BYTES):
            pass
    if process.returncode != 0:
        raise AssertionError(f"{argv} ended with {process.returncode}")
    return first


def _first_byte(argv: Sequence[str]) -> float:
    """The same of a program that is not read to its end."""
    with _begun(argv) as (process, first):
        process.kill()
    return first


@contextmanager
def _begun(argv: Sequence[str | bytes]) -> "Iterator[tuple[subprocess.Popen[bytes], float]]":
    """A program whose first byte came, and after how many seconds that was."""
    start = time.perf_counter()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if not process.stdout.read(1):
            raise AssertionError("not a byte came")
        yield process, time.perf_counter() - start


@contextmanager
def _taker(peers: Peers) -> Iterator[_Taker]:
    name = "taker"
    before = set(peers.installation.containers())
    public = f"{peers.rootblood.key}.pub"
    peers.installation.cli(
        "user", "add", name, "--key-file", public, "--password-stdin", stdin=ALICE_PASSWORD
    )
    browser = Curl(peers.server.web_url, peers.installation.directory / "taker-cookies")
    status, _ = browser.post("/login", "/login", name=name, password=ALICE_PASSWORD)
    assert status == HTTPStatus.SEE_OTHER
    download = ["curl", "-s", "--cookie", str(browser.jar), f"{browser.url}/export/home."]
    client = replace(peers.rootblood, name=name)
    with client.open("cat"):  # the environment runs for as long as somebody is connected
        made = client.run(_HOME, timeout_s=120)
        assert (made.returncode, made.stderr) == (0, b"")
        (container,) = set(peers.installation.containers()) - before
        yield _Taker(client, container, client.output("printf %s $HOME"), download)
    peers.installation.cli("env", "remove", name)
