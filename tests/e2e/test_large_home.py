"""Four gigabytes pass the server, out and in, and leave no trace in its memory."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import client_of, make_installation
from tests.e2e.installation import Client, Installation, Server

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]

ALLOWED_KIB = 32 * 1024
TIMEOUT_S = 600
HALF_BYTES = 2 * 2**30

MAKE = f"""
set -e
head -c 67108864 /dev/urandom >/tmp/random
seq 8000000 >/tmp/numbers
for what in random numbers; do
    {{ while cat /tmp/$what; do :; done; }} 2>/dev/null | head -c {HALF_BYTES} >$what
    rm /tmp/$what
done
"""
"""One half does not get smaller, the other one gets a lot smaller. That it repeats itself after 60 MB helps
no compressor: they look back some megabytes at most."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with make_installation(tmp_path_factory.mktemp("large")) as made:
        yield made


@pytest.fixture(scope="module")
def door(house: Installation) -> Iterator[Server]:
    with house.serving_program() as server:
        yield server


@pytest.fixture(scope="module")
def alice(house: Installation, door: Server) -> Client:
    client = client_of(house, door, "alice")
    made = client.run(MAKE, timeout_s=TIMEOUT_S)
    assert (made.returncode, made.stderr) == (0, b"")
    return client


def growth_kib(server: Server, work: Callable[[], object]) -> int:
    """By how much the server's memory grows while something is done, at the most."""
    before = server.rss_kib
    process = Path(f"/proc/{server.process.pid}")
    (process / "clear_refs").write_text("5")  # proc(5): the peak begins anew
    work()
    status = (process / "status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) - before


def test_a_stream(door: Server, alice: Client) -> None:
    drive = replace(alice, name="alice+export")

    def fetch() -> None:
        subprocess.run(
            ["sftp", "-q", "-b", "-", *drive.options, "-P", str(drive.port), drive.target],
            input=b"get home.tar.zst /dev/null",
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=TIMEOUT_S,
        )

    assert growth_kib(door, fetch) <= ALLOWED_KIB


def test_the_spool_and_back_in(house: Installation, door: Server, alice: Client) -> None:
    drive = replace(alice, name="alice+export")

    def fetch() -> None:
        subprocess.run(
            ["scp", "-O", *drive.options, "-P", str(drive.port), f"{drive.target}:home.tar.zst", "/dev/null"],
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=TIMEOUT_S,
        )

    assert growth_kib(door, fetch) <= ALLOWED_KIB
    (archive,) = (house.directory / "state" / "exports").glob("*/*.tar.zst")
    assert archive.stat().st_size > HALF_BYTES

    def bring_back() -> None:
        with archive.open("rb") as file:
            subprocess.run(
                alice.argv("/usr/lib/rootblood/import unpack --into back -"),
                stdin=file,
                stdout=subprocess.DEVNULL,
                check=True,
                timeout=TIMEOUT_S,
            )

    assert growth_kib(door, bring_back) <= ALLOWED_KIB
    same = alice.run("cmp random back/random && cmp numbers back/numbers", timeout_s=TIMEOUT_S)
    assert (same.returncode, same.stderr) == (0, b"")
