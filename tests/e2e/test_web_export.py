"""Homes over HTTP on the real engine, by the programs people have: curl and wget, patient, slow and gone."""

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rootblood.domain.environments import container_name
from tests.e2e.conftest import client_of, make_installation
from tests.e2e.installation import Client, Installation, Server, wait_until
from tests.e2e.test_export_drive import content, programs
from tests.e2e.test_web_backpressure import Growth
from tests.e2e.test_web_login import Curl

FILES = {"notes": b"hello\n", "data": os.urandom(3_000_000)}
_SECRET = re.compile(r"<code>(rb_[\w-]{43})</code>")

CUT = 18
"""curl's word for a body that ended before its end."""

RESET = 56
MAX_FIRST_BYTE_S = 0.3
MAX_GROWTH_KIB = 8 * 1024


@dataclass(frozen=True)
class Downloader:
    """Programs that download with tokens of alice's."""

    url: str
    reader: str
    writer: str
    directory: Path

    def argv(self, path: str, *options: str, token: str = "") -> list[str]:
        secret = token or self.reader
        url = path if path.startswith("http") else self.url + path
        return ["curl", "-sS", "--max-time", "150", "-H", f"Authorization: Bearer {secret}", *options, url]

    def curl(self, path: str, *options: str, token: str = "") -> tuple[int, str]:
        """Exit status of a curl, and what it printed."""
        done = subprocess.run(
            self.argv(path, *options, token=token),
            cwd=self.directory,
            capture_output=True,
            timeout=180,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def begin(self, path: str, *options: str) -> "subprocess.Popen[bytes]":
        """A curl that goes on behind the test."""
        return subprocess.Popen(
            self.argv(path, *options),
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def wget(self, url: str, *options: str) -> tuple[int, str]:
        done = subprocess.run(
            [
                "wget", "-nv", "--no-proxy", "-T", "150", f"--header=Authorization: Bearer {self.reader}",
                *options, url,
            ],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    def api(self, method: str, path: str, body: object = None) -> Any:
        """What the API answers."""
        options = ["-X", method]
        if body is not None:
            options += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        status, said = self.curl(f"/api/v1{path}", *options, token=self.writer if method != "GET" else "")
        assert status == 0, said
        return json.loads(said) if said else None

    def when_over(self, export: dict[str, Any]) -> dict[str, Any]:
        """An export, once it is not being made any more."""
        found = export

        def is_over() -> bool:
            found.update(self.api("GET", f"/exports/{export['id']}"))
            return bool(found["state"] != "running")

        wait_until(is_over, timeout_s=60)
        return found

    def spool(self, kind: str = "tar.gz") -> dict[str, Any]:
        """A tarball in the spool."""
        return self.when_over(self.api("POST", "/exports", {"format": kind}))


def downloader(server: Server, directory: Path) -> Downloader:
    """With tokens made on the page for that."""
    curl = Curl(server.web_url, directory / "cookies")
    curl.log_in()
    secrets = []
    for scope in ("export:read", "export:write"):
        found = _SECRET.search(curl.post("/tokens", "/tokens", name=scope, days="1", scope=scope)[1])
        assert found is not None
        secrets.append(found[1])
    return Downloader(server.web_url, secrets[0], secrets[1], directory)


def fill(alice: Client) -> None:
    """Give alice's home the files of these tests."""
    for name, data in FILES.items():
        alice.output(f"cat >{name}", stdin=data)


def large(alice: Client, mib: int = 60) -> None:
    """A home that takes a while to send, and does not compress."""
    alice.output(f"head -c {mib}M /dev/urandom >large")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with make_installation(tmp_path_factory.mktemp("downloads")) as made:
        yield made


@pytest.fixture(scope="module")
def door(house: Installation) -> Iterator[Server]:
    with house.serving_program() as server:
        fill(client_of(house, server, "alice"))
        yield server


@pytest.fixture(scope="module")
def tokens(door: Server, tmp_path_factory: pytest.TempPathFactory) -> Downloader:
    return downloader(door, tmp_path_factory.mktemp("cookies"))


@pytest.fixture
def programs_of(tokens: Downloader, tmp_path: Path) -> Downloader:
    return Downloader(tokens.url, tokens.reader, tokens.writer, tmp_path)


@pytest.fixture
def kept(programs_of: Downloader) -> dict[str, Any]:
    return programs_of.spool()


@pytest.fixture
def alice(house: Installation, door: Server) -> Iterator[Client]:
    """Her home is as it was, afterwards."""
    made = client_of(house, door, "alice")
    yield made
    made.output("rm -f large")


# Made while they are sent.


@pytest.mark.parametrize("kind", ["tar.gz", "tar.zst"])
def test_curl_and_wget_take_the_home_away(programs_of: Downloader, tmp_path: Path, kind: str) -> None:
    archive = tmp_path / f"home.{kind}"
    assert (0, "") == programs_of.curl(f"/export/home.{kind}", "-OJ")
    assert FILES == content(archive)
    archive.unlink()
    status, said = programs_of.wget(f"{programs_of.url}/export/home.{kind}")
    assert (0, FILES) == (status, content(archive)), said


@pytest.mark.serial
def test_the_first_byte_comes_at_once(programs_of: Downloader, house: Installation, alice: Client) -> None:
    """In as much time as the target says, or what Docker takes three times for nothing at all."""
    container = container_name(house.userhash("alice"))
    took, execs = [], []
    with alice.open("sleep 60"):
        for _ in range(8):
            timing = ["-o", "/dev/null", "-w", "%{time_starttransfer}"]
            took.append(float(programs_of.curl("/export/home.tar.gz", *timing)[1]))
            begun = time.monotonic()
            subprocess.run(["docker", "exec", container, "true"], check=True, timeout=60)
            execs.append(time.monotonic() - begun)
    assert min(took) <= max(MAX_FIRST_BYTE_S, 3 * min(execs)), (took, execs)


@pytest.mark.parametrize(("version", "expected"), [("--http1.1", CUT), ("--http1.0", RESET)])
def test_what_breaks_in_the_middle_is_no_good_end(
    programs_of: Downloader, alice: Client, version: str, expected: int
) -> None:
    large(alice, 200)
    curl = programs_of.begin("/export/home.tar.gz", version, "-o", "part", "--limit-rate", "4M")
    wait_until((programs_of.directory / "part").exists, timeout_s=60)
    alice.output("pkill -KILL -x tar")
    _, said = curl.communicate(timeout=180)
    assert expected == curl.returncode, said


def test_who_leaves_stops_tar(programs_of: Downloader, house: Installation, alice: Client) -> None:
    large(alice)
    with alice.open("sleep 60"):  # or the environment is stopped, and tar with it
        curl = programs_of.begin("/export/home.tar.gz", "-o", "part", "--limit-rate", "1M")
        wait_until(lambda: programs(house) > 0, timeout_s=60)
        curl.kill()
        curl.communicate()
        wait_until(
            lambda: programs(house) == 0 and "tar" not in alice.output("ps -eo comm=").split(), timeout_s=60
        )


def test_who_reads_slowly_costs_the_server_nothing(
    programs_of: Downloader, door: Server, alice: Client
) -> None:
    large(alice, 200)
    with Growth(door) as growth:
        curl = programs_of.begin(
            "/export/home.tar.gz", "-o", "part", "--limit-rate", "200k", "--max-time", "15"
        )
        curl.communicate(timeout=180)
    assert 28 == curl.returncode  # it gave up, as told
    assert growth.kib < MAX_GROWTH_KIB


def test_a_lock_from_another_process_ends_it(own_installation: Installation, tmp_path: Path) -> None:
    with own_installation.serving() as server:
        mine = downloader(server, tmp_path)
        large(client_of(own_installation, server, "alice"))
        curl = mine.begin("/export/home.tar.gz", "-o", "part", "--limit-rate", "1M")
        wait_until((tmp_path / "part").exists, timeout_s=60)
        own_installation.cli("user", "lock", "alice")
        _, said = curl.communicate(timeout=120)
        assert CUT == curl.returncode, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_server_is_no_good_end(
    own_installation: Installation, tmp_path: Path, number: signal.Signals
) -> None:
    with own_installation.serving() as server:
        mine = downloader(server, tmp_path)
        large(client_of(own_installation, server, "alice"))
        curls = [
            mine.begin("/export/home.tar.gz", version, "-o", f"part{version}", "--limit-rate", "1M")
            for version in ("--http1.1", "--http1.0")
        ]
        for version in ("--http1.1", "--http1.0"):
            wait_until((tmp_path / f"part{version}").exists, timeout_s=60)
        assert (0 if number == signal.SIGTERM else -signal.SIGKILL) == server.stop(number)
        for curl in curls:
            curl.communicate(timeout=120)
        # A reset may overtake the end, and a killed server's kernel may send one for what was not read.
        assert curls[0].returncode in {CUT, RESET}
        assert RESET == curls[1].returncode


def test_one_larger_than_it_may_be(own_installation: Installation, tmp_path: Path) -> None:
    with own_installation.serving(ROOTBLOOD_EXPORTS__MAX_BYTES="10000000") as server:
        mine = downloader(server, tmp_path)
        large(client_of(own_installation, server, "alice"))
        assert CUT == mine.curl("/export/home.tar.gz", "-o", "part")[0]
        export = mine.spool()
        assert ("failed", "larger than it may be" in export["error"]) == ("failed", True)


# From the spool.


def test_one_that_is_kept_has_a_size_and_a_checksum(
    programs_of: Downloader, kept: dict[str, Any], tmp_path: Path
) -> None:
    assert (0, "") == programs_of.curl(kept["url"], "-OJ")
    data = (tmp_path / "home.tar.gz").read_bytes()
    assert (kept["size"], kept["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert FILES == content(tmp_path / "home.tar.gz")
    assert (0, "") == programs_of.curl(kept["url"], "--range", "1000-1999", "-o", "part")
    assert data[1000:2000] == (tmp_path / "part").read_bytes()
    head = programs_of.curl(kept["url"], "-I")[1]
    assert f"Content-Length: {len(data)}\r\n" in head
    assert f'ETag: "{kept["sha256"]}"\r\n' in head


@pytest.mark.parametrize("program", ["curl", "wget"])
def test_a_copy_that_broke_off_is_resumed(
    programs_of: Downloader, kept: dict[str, Any], tmp_path: Path, program: str
) -> None:
    programs_of.curl(kept["url"], "-o", "whole")
    whole = (tmp_path / "whole").read_bytes()
    partly = tmp_path / "home.tar.gz"
    curl = programs_of.begin(kept["url"], "-O", "--limit-rate", "20k")
    wait_until(lambda: partly.exists() and partly.stat().st_size > 0, timeout_s=60)
    curl.kill()
    curl.communicate()
    half = partly.stat().st_size
    assert 0 < half < len(whole)
    partly.write_bytes(b"#" * half)  # what is not sent again can be told from what is
    if program == "curl":
        assert (0, "") == programs_of.curl(kept["url"], "-C", "-", "-O")
    else:
        status, said = programs_of.wget(kept["url"], "-c")
        assert status == 0, said
    assert b"#" * half + whole[half:] == partly.read_bytes()


def test_a_full_spool(own_installation: Installation, tmp_path: Path) -> None:
    with own_installation.serving(ROOTBLOOD_EXPORTS__SPOOL_MAX_BYTES="1000000") as server:
        mine = downloader(server, tmp_path)
        fill(client_of(own_installation, server, "alice"))
        export = mine.spool()
        assert ("failed", True) == (export["state"], "no room for more tarballs" in export["error"])
        spool = own_installation.directory / "state" / "exports"
        assert [".json"] == [path.suffix for path in spool.glob("*/*")]


def test_a_server_that_is_killed_in_the_middle(own_installation: Installation, tmp_path: Path) -> None:
    spool = own_installation.directory / "state" / "exports"
    with own_installation.serving() as server:
        mine = downloader(server, tmp_path)
        large(client_of(own_installation, server, "alice"), 300)
        export = mine.api("POST", "/exports", {"format": "tar.gz"})
        wait_until(lambda: any(path.stat().st_size for path in spool.glob("*/*.part")), timeout_s=60)
        server.stop(signal.SIGKILL)
    assert {".json", ".part"} == {path.suffix for path in spool.glob("*/*")}

    with own_installation.serving() as server:
        after = Downloader(server.web_url, mine.reader, mine.writer, tmp_path)
        found = after.api("GET", f"/exports/{export['id']}")
        assert ("failed", "the server was stopped meanwhile; make another one") == (
            found["state"],
            found["error"],
        )
        assert [".json"] == [path.suffix for path in spool.glob("*/*")]
        wait_until(lambda: programs(own_installation) == 0, timeout_s=60, what="the end of the old one")
        assert "ready" == after.spool()["state"]
