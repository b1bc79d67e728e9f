"""Tarballs into homes on the real engine, by curl: broken off, hostile, and with the server killed."""

import io
import json
import os
import re
import secrets
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation, Server, wait_until
from tests.e2e.test_web_login import Curl

pytestmark = pytest.mark.timeout(300)

MIB = 1024 * 1024
_SECRET = re.compile(r"rb_[A-Za-z0-9_-]{43}")
LOOK = "cd && find . -printf '%P %m %s %l\\n' | sort; find . -type f -exec sha256sum {} + | sort"
"""Tells all that is in the home."""

BESIDE = "ls -A /home"


@dataclass
class Uploader:
    """Alice's token, and curl that shows it."""

    url: str
    secret: str

    def argv(self, path: str, *options: str) -> list[str]:
        authorization = f"Authorization: Bearer {self.secret}"
        return [
            *("curl", "--silent", "--show-error", "--max-time", "120", "--write-out", "\n%{http_code}"),
            *("--header", authorization, *options, f"{self.url}/api/v1/imports/{path}"),
        ]

    def call(self, path: str, *options: str, stdin: bytes = b"") -> tuple[int, str]:
        """Status and what was answered."""
        done = subprocess.run(
            self.argv(path, *options), input=stdin, capture_output=True, timeout=150, check=False
        )
        assert done.returncode == 0, done.stderr
        body, _, status = done.stdout.decode().rpartition("\n")
        return int(status), body

    def append(self, upload: str, offset: int, data: bytes) -> tuple[int, str]:
        return self.call(
            f"{upload}/data", "-T", "-", "-X", "PATCH", "-H", f"Upload-Offset: {offset}", stdin=data
        )

    def offset(self, upload: str) -> int:
        status, headers = self.call(f"{upload}/data", "--head")
        assert status == 200, headers
        found = re.search(r"(?im)^upload-offset: (\d+)\s*$", headers)
        assert found is not None
        return int(found[1])

    def unpack(self, upload: str, **where: Any) -> dict[str, Any]:
        """Unpack it, and wait for the outcome."""
        self.begin(upload, **where)
        wait_until(lambda: self.state(upload)["state"] != "unpacking", timeout_s=60, what="the end of it")
        return self.state(upload)

    def begin(self, upload: str, **where: Any) -> None:
        options = ("--header", "Content-Type: application/json", "--data", json.dumps(where))
        status, said = self.call(f"{upload}/unpack", *options)
        assert status == 202, said

    def state(self, upload: str) -> dict[str, Any]:
        status, said = self.call(upload)
        found = json.loads(said)
        assert isinstance(found, dict)
        return found if status == 200 else {"state": "none"}


def uploader(server: Server, directory: Path) -> Uploader:
    """Log alice in, and make a token."""
    curl = Curl(server.web_url, directory / f"cookies-{secrets.token_hex(4)}")
    assert curl.log_in() == 303
    _, page = curl.post("/tokens", "/tokens", name="upload", days="1", scope="import:write")
    found = _SECRET.search(page)
    assert found is not None, page
    return Uploader(server.web_url, found.group())


def tarball(*members: tuple[str, bytes | None, dict[str, Any]], compressed: bool = True) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz" if compressed else "w") as tar:
        for name, content, changes in members:
            member = tarfile.TarInfo(name)
            member.size = len(content or b"")
            for attribute, value in changes.items():
                setattr(member, attribute, value)
            tar.addfile(member, io.BytesIO(content or b""))
    return made.getvalue()


@contextmanager
def stuck(uploader: Uploader, upload: str, data: bytes) -> Iterator[None]:
    """A curl that has sent so much, and waits for more to send."""
    options = ("-T", "-", "-X", "PATCH", "-H", "Upload-Offset: 0")
    with subprocess.Popen(
        uploader.argv(f"{upload}/data", *options), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(data)
            process.stdin.flush()
            wait_until(lambda: uploader.offset(upload) > MIB, timeout_s=60, what="a MiB")
            yield
        finally:
            process.kill()


def finish(uploader: Uploader, upload: str, data: bytes) -> None:
    """Send what is not there yet."""
    while (offset := uploader.offset(upload)) < len(data):
        # Of one that broke off a moment ago some may still be on its way: then it is 409, and asked again.
        assert uploader.append(upload, offset, data[offset:])[0] in {204, 409}


@pytest.fixture
def big(tmp_path: Path) -> tuple[Path, bytes]:
    """A tarball of random bytes, and them."""
    content = os.urandom(24 * MIB)
    file = tmp_path / "big.tar"
    file.write_bytes(tarball(("dir/random", content, {}), compressed=False))
    return file, content


def test_an_upload_that_breaks_off_goes_on_where_it_was(
    server: Server, alice: Client, big: tuple[Path, bytes], tmp_path: Path
) -> None:
    file, content = big
    upload, into = secrets.token_hex(16), f"back-{secrets.token_hex(4)}"
    curl = uploader(server, tmp_path)
    with stuck(curl, upload, file.read_bytes()[: 8 * MIB]):
        pass
    wait_until(lambda: curl.append(upload, 0, b"x")[0] == 409, timeout_s=60, what="a wrong offset refused")
    assert MIB < curl.offset(upload) < file.stat().st_size

    finish(curl, upload, file.read_bytes())
    told = curl.unpack(upload, into=into)

    assert (told["error"], told["state"], told["directory"], told["warnings"]) == (None, "done", into, [])
    (tmp_path / "random").write_bytes(content)
    expected = subprocess.check_output(["sha256sum", tmp_path / "random"]).split()[0].decode()
    assert alice.output(f"cd && sha256sum {into}/dir/random").split()[0] == expected
    assert ".rootblood" not in alice.output(BESIDE)
    alice.run(f"rm -r ~/{into}")


HOSTILE: dict[str, tuple[bytes, str]] = {
    "a name with ..": (tarball(("../evil", b"hi", {})), "Member name contains '..'"),
    "a link that leaves": (
        tarball(("l", None, {"type": tarfile.SYMTYPE, "linkname": "../.."}), ("l/evil", b"hi", {})),
        "l/evil",
    ),
    "a hard link to outside": (
        tarball(("evil", None, {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"})),
        "evil",
    ),
    "a device": (tarball(("evil", None, {"type": tarfile.BLKTYPE, "devmajor": 7})), "evil"),
    "a bomb": (tarball(("bomb", bytes(80 * MIB), {})), "what is in it takes more than"),
    "cut off": (tarball(("a", os.urandom(100_000), {}))[:50_000], "nexpected end of file"),
    "no tarball": (b"hello, world" * 1000, "does not look like a tar archive"),
}
DEFUSED: dict[str, tuple[bytes, str]] = {
    "an absolute name": (tarball(("/etc/evil", b"hi", {})), "leading `/'"),
    "setuid": (tarball(("etc/evil", b"hi", {"mode": 0o6755})), "took the setuid or setgid bit off 1 files"),
}


def test_a_hostile_tarball_changes_nothing_or_nothing_else(
    own_installation: Installation, tmp_path: Path
) -> None:
    with own_installation.serving(ROOTBLOOD_IMPORTS__MAX_UNPACKED_BYTES=str(64 * MIB)) as server:
        alice = client_of(own_installation, server, "alice")
        curl = uploader(server, tmp_path)
        alice.run("echo mine >~/mine; ln -s /etc ~/link")
        before, beside = alice.output(LOOK), alice.output(BESIDE)
        for what, (data, why) in HOSTILE.items():
            for where in ({"into": "new"}, {"replace": True}):
                upload = secrets.token_hex(16)
                curl.append(upload, 0, data)
                told = curl.unpack(upload, **where)
                assert told["state"] == "failed", (what, told)
                assert told["error"].startswith("nothing was changed: "), (what, told)
                assert why in told["error"], (what, told)
                assert curl.call(upload, "-X", "DELETE")[0] == 204
                assert (alice.output(LOOK), alice.output(BESIDE)) == (before, beside), what
        for number, (what, (data, why)) in enumerate(DEFUSED.items()):
            upload = secrets.token_hex(16)
            curl.append(upload, 0, data)
            told = curl.unpack(upload, into=f"new{number}")
            assert told["state"] == "done", (what, told)
            assert why in " ".join(told["warnings"]), (what, told)
            assert alice.output(f"stat -c %a ~/new{number}/etc/evil").strip() in {"644", "755"}
        assert alice.output(BESIDE) == beside


def test_kill_9_in_the_middle_of_an_upload(
    own_installation: Installation, big: tuple[Path, bytes], tmp_path: Path
) -> None:
    file, content = big
    upload = secrets.token_hex(16)
    with own_installation.serving() as server:
        curl = uploader(server, tmp_path)
        client_of(own_installation, server, "alice").run("echo mine >~/mine")
        with stuck(curl, upload, file.read_bytes()[: 8 * MIB]):
            server.stop(signal.SIGKILL)
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        curl.url = server.web_url
        assert MIB < curl.offset(upload) < file.stat().st_size
        assert curl.state(upload)["state"] == "receiving"

        finish(curl, upload, file.read_bytes())
        assert curl.unpack(upload, replace=True)["state"] == "done"

        assert alice.output("cat ~/home-before-*/mine") == "mine\n"
        assert alice.run("cat ~/dir/random").stdout == content
        assert ".rootblood" not in alice.output(BESIDE)


def test_kill_9_in_the_middle_of_unpacking(own_installation: Installation, tmp_path: Path) -> None:
    files = 40_000
    data = tarball(*((f"dir{number % 100}/{number}", b"x", {}) for number in range(files)))
    upload = secrets.token_hex(16)
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        curl = uploader(server, tmp_path)
        alice.run("echo mine >~/mine")
        before = alice.output(LOOK)
        curl.append(upload, 0, data)
        curl.begin(upload, into="back")
        wait_until(lambda: curl.state(upload)["files"] > 0, timeout_s=60, what="progress")
        server.stop(signal.SIGKILL)
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        curl.url = server.web_url

        def litter() -> list[str]:
            return [name for name in alice.output(BESIDE).split() if name.startswith(".rootblood-import")]

        wait_until(lambda: not litter(), timeout_s=60, what="nothing left of it")

        if alice.output("ls ~").split() == ["mine"]:
            assert alice.output(LOOK) == before
            assert curl.state(upload)["state"] == "receiving"
            assert curl.unpack(upload, into="back")["state"] == "done"
        assert int(alice.output("find ~/back -type f | wc -l")) == files
        # It is in its place a moment before the upload is gone.
        wait_until(lambda: curl.state(upload)["state"] in {"done", "none"}, what="the upload unpacked")
        assert ".rootblood" not in alice.output(BESIDE)


def peak_kib(server: Server, during: Callable[[], object]) -> int:
    """The largest resident memory while something is done."""
    largest = server.rss_kib
    done = threading.Event()

    def watch() -> None:
        nonlocal largest
        while not done.wait(0.05):
            largest = max(largest, server.rss_kib)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        during()
    finally:
        done.set()
        watcher.join()
    return largest


@pytest.mark.serial
def test_a_gigabyte_goes_by_without_staying(own_installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "zeros"
    with file.open("wb") as zeros:
        zeros.truncate(1024 * MIB)
    with own_installation.serving() as server:
        curl = uploader(server, tmp_path)
        upload = secrets.token_hex(16)
        curl.append(upload, 0, bytes(MIB))  # so that everything is loaded
        before = server.rss_kib
        began_at = time.monotonic()

        options = ("-T", str(file), "-X", "PATCH", "-H", f"Upload-Offset: {MIB}")
        peak = peak_kib(server, lambda: curl.call(f"{upload}/data", *options))

        print(f"1 GiB up in {time.monotonic() - began_at:.1f} s, RSS + {(peak - before) / 1024:.1f} MiB")  # noqa: T201
        assert curl.offset(upload) == 1025 * MIB
        assert peak - before < 32 * 1024
        assert curl.call(upload, "-X", "DELETE")[0] == 204
