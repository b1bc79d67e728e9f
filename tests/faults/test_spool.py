"""Tarballs on their way when the server is killed, the disk is full, or their time is over."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rootblood.domain.environments import container_name
from tests.e2e.conftest import client_of, make_installation
from tests.e2e.holding import gzip_held
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, docker_api, wait_until
from tests.e2e.test_export_drive import scp

IMPORT = "/usr/lib/rootblood/import"
LARGE_BYTES = 80_000_000
"""That takes gzip some seconds."""

DIGEST = "find . -type f -print0 | sort -z | xargs -0 sha256sum"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose alice has something to take away."""
    with make_installation(tmp_path_factory.mktemp("spool")) as made:
        with made.serving() as server:
            client_of(made, server, "alice").output(
                f"echo hi >notes; head -c {LARGE_BYTES} /dev/urandom >large"
            )
        yield made


def spool_of(house: Installation) -> Path:
    """Where the server keeps tarballs."""
    return house.directory / "state" / "exports"


def spooled(house: Installation) -> list[str]:
    """The kinds of files that are there; an unfinished one has its server's name in its own."""
    kinds = [path.name.partition(".")[2] for path in spool_of(house).glob("*/*")]
    return sorted("part" if kind.endswith(".part") else kind for kind in kinds)


def outcome(house: Installation) -> tuple[str, str]:
    """State of the newest tarball, and what went wrong with it."""
    records = [json.loads(path.read_text()) for path in spool_of(house).glob("*/*.json")]
    newest = max(records, key=lambda record: str(record["created_at"]))
    return newest["state"], newest["error"]


def times_made(house: Installation) -> int:
    """How many tarballs of alice's have been kept, by her activity."""
    return house.cli("user", "activity", "alice", "--json").stdout.count("kept here for a while")


def processes(house: Installation, *programs: str) -> list[str]:
    """Command lines, in alice's environment, in which one of these programs runs."""
    with docker_api() as api:
        top: Any = api.top(container_name(house.userhash("alice")), ps_args="-eo pid,args")
    return [row[1] for row in top["Processes"] if any(program in row[1] for program in programs)]


def drive_of(client: Client) -> Client:
    return replace(client, name="alice+export")


def take(client: Client, archive: Path) -> tuple[int, str]:
    """Have a tarball spooled and take it; status, and what was said."""
    drive = drive_of(client)
    return scp(drive, f"{drive.target}:home.tar.gz", archive, options=["-O"])


@contextmanager
def spooling(client: Client, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An `scp` that waits for its tarball."""
    drive = drive_of(client)
    argv = ["scp", "-O", *drive.options, "-P", str(drive.port), f"{drive.target}:home.tar.gz", str(directory)]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def require_whole(archive: Path) -> None:
    subprocess.run(["gzip", "-tq", archive], check=True, timeout=60)


def test_a_server_killed_in_mid_spool(house: Installation, tmp_path: Path) -> None:
    with house.serving() as server:
        alice = client_of(house, server, "alice")
        before = alice.output(DIGEST)
        with gzip_held(alice), spooling(alice, tmp_path) as copy:
            wait_until(lambda: spooled(house) == ["json", "part"], what="a tarball on its way")
            wait_until(lambda: processes(house, "/usr/bin/gzip") != [], what="what compresses it")
            server.stop(signal.SIGKILL)
            assert copy.wait(60) != 0
    assert (spooled(house), list(tmp_path.iterdir())) == (["json", "part"], [])
    wait_until(
        lambda: processes(house, "rootblood/export", "/usr/bin/tar", "/usr/bin/gzip") == [],
        what="the end of tar",
    )
    with house.serving() as server:
        assert spooled(house) == ["json"]
        assert outcome(house) == ("failed", "the server was stopped meanwhile; make another one")
        alice = client_of(house, server, "alice")
        assert alice.output(DIGEST) == before
        status, said = take(alice, tmp_path / "home.tar.gz")
        assert status == 0, said
        assert spooled(house) == ["json", "json", "tar.gz"]
    require_whole(tmp_path / "home.tar.gz")


def test_a_server_killed_in_mid_import(house: Installation, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(8_000_000))
    archive = subprocess.run(
        ["tar", "-czf", "-", "-C", tmp_path, "big"], capture_output=True, check=True
    ).stdout
    with house.serving() as server:
        alice = client_of(house, server, "alice")
        before = alice.output(f"{DIGEST}; ls -A ..")
        with alice.open(f"{IMPORT} unpack --replace -") as client:
            assert client.stdin is not None
            client.stdin.write(archive[: len(archive) // 2])
            client.stdin.flush()
            unpacked = "test $(stat -c %s ../.rootblood-import-*/content/big) -gt 1000000"
            wait_until(lambda: alice.run(unpacked).returncode == 0)
            server.stop(signal.SIGKILL)
            assert client.wait(CLIENT_TIMEOUT_S) != 0
    wait_until(lambda: processes(house, IMPORT, "/usr/bin/tar") == [], what="the end of the import")
    with house.serving() as server:
        assert client_of(house, server, "alice").output(f"{DIGEST}; ls -A ..") == before


@contextmanager
def small_disk(house: Installation, *options: str) -> Iterator[None]:
    """A disk that is the spool's alone."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    spool = spool_of(house)
    spool.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(("mode=700", *options)), "tmpfs", spool], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", spool], check=True)


def test_a_disk_that_fills(house: Installation, tmp_path: Path) -> None:
    keep = {"ROOTBLOOD_EXPORTS__SPOOL_MIN_FREE_BYTES": "8000000"}
    with small_disk(house, "size=24m"), house.serving(**keep) as server:
        alice = client_of(house, server, "alice")
        status, told = take(alice, tmp_path / "home.tar.gz")
        said = "the server's disk is too full for a tarball; tell your administrator"
        assert (status, said in told) == (1, True), told
        assert (spooled(house), outcome(house)) == (["json"], ("failed", said))
        # What does not pass that disk goes on, and so does what there is room for.
        drive = drive_of(alice)
        assert scp(drive, f"{drive.target}:home.tar.gz", tmp_path / "live.tar.gz") == (0, "")
        alice.output("mv large ../large")
        status, told = take(alice, tmp_path / "small.tar.gz")
        alice.output("mv ../large large")
        assert status == 0, told
    require_whole(tmp_path / "live.tar.gz")
    require_whole(tmp_path / "small.tar.gz")


@pytest.mark.parametrize("inodes", [2, 3], ids=["no tarball", "no record"])
def test_a_disk_that_takes_no_more_files(house: Installation, tmp_path: Path, inodes: int) -> None:
    keep = {"ROOTBLOOD_EXPORTS__SPOOL_MIN_FREE_BYTES": "0"}
    with small_disk(house, "size=24m", f"nr_inodes={inodes}"), house.serving(**keep) as server:
        alice = client_of(house, server, "alice")
        status, told = take(alice, tmp_path / "home.tar.gz")
        assert (status, "the server's disk takes no tarball now; try again later" in told) == (1, True), told
        assert spooled(house) == []


def test_a_full_spool(house: Installation, tmp_path: Path) -> None:
    with house.serving(ROOTBLOOD_EXPORTS__SPOOL_MAX_BYTES=str(LARGE_BYTES * 3 // 2)) as server:
        alice = client_of(house, server, "alice")
        for path in spool_of(house).glob("*/*"):
            path.unlink()
        assert take(alice, tmp_path / "first.tar.gz")[0] == 0
        status, told = take(alice, tmp_path / "second.tar.gz")
        said = "the server has no room for more tarballs now; delete one, or wait"
        assert (status, said in told) == (1, True), told
        assert (spooled(house), outcome(house)) == (["json", "json", "tar.gz"], ("failed", said))


def test_what_has_expired_goes_by_itself(house: Installation, tmp_path: Path) -> None:
    settings = {"ROOTBLOOD_EXPORTS__SPOOL_EXPIRY_S": "1", "ROOTBLOOD_EXPORTS__SPOOL_SWEEP_INTERVAL_S": "0.2"}
    with house.serving() as server:
        alice = client_of(house, server, "alice")
        alice.output("mv large ../large")
        for path in spool_of(house).glob("*/*"):  # or the new one pushes out another
            path.unlink()
        assert take(alice, tmp_path / "kept.tar.gz")[0] == 0
        kept = spooled(house)
        assert ["json", "tar.gz"] == kept
    with house.serving(**settings) as server:
        alice = client_of(house, server, "alice")
        drive = drive_of(alice)
        assert "tar.gz" in drive.sftp("ls")
        before = times_made(house)
        with spooling(alice, tmp_path) as copy:
            copy.wait(60)  # in vain, if it takes longer than the tarball is kept
        wait_until(lambda: times_made(house) > before, what="a new one")
        wait_until(lambda: spooled(house) == kept, what="the new one having gone, and none else")
        alice.output("mv ../large large")
