"""The home mounted by sshfs, and used as any other file system."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, wait_until
from tests.programs import running

MANY = 1000
MEGABYTE = 1_000_000


def cannot_mount() -> str | None:
    """Why sshfs cannot mount anything on this machine."""
    if not (shutil.which("sshfs") and shutil.which("fusermount3")):
        return "no sshfs: scripts/test-tools installs it"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"no FUSE: {error}"
    return None


@pytest.fixture
def mounted(alice: Client, tmp_path: Path) -> Iterator[Path]:
    """A directory of alice's home, mounted; whatever happens, it is unmounted and removed."""
    if reason := cannot_mount():
        pytest.skip(reason)
    alice.output("mkdir mounted")
    point = tmp_path / "mounted"
    point.mkdir()
    argv = ["sshfs", "-f", "-o", f"ssh_command={alice.remote_shell}", f"{alice.target}:mounted", str(point)]
    unmount = ["fusermount3", "-u", str(point)]
    try:
        with running(argv) as process:
            try:
                wait_until(lambda: point.is_mount() or process.poll() is not None, what="the mount")
                assert process.poll() is None
                yield point
                # Whoever looks at all that is mounted, as df does, keeps it busy for a moment.
                wait_until(lambda: subprocess.run(unmount, check=False).returncode == 0, what="the unmount")
                assert process.wait(CLIENT_TIMEOUT_S) == 0
            finally:
                if process.poll() is None:
                    subprocess.run([*unmount, "-z"], check=False, timeout=CLIENT_TIMEOUT_S)
    finally:
        alice.output("rm -r mounted")


def test_what_is_written_is_there_and_what_is_there_is_read(alice: Client, mounted: Path) -> None:
    data = os.urandom(5 * MEGABYTE)
    (mounted / "sent").write_bytes(data)
    assert alice.output("sha256sum <mounted/sent").split()[0] == hashlib.sha256(data).hexdigest()

    alice.output("head -c 3000000 /dev/urandom >mounted/made")
    made = hashlib.sha256((mounted / "made").read_bytes()).hexdigest()
    assert made == alice.output("sha256sum <mounted/made").split()[0]

    with (mounted / "sent").open("r+b") as file:
        file.seek(MEGABYTE)
        file.write(b"in the middle")
        file.seek(0, os.SEEK_END)
        file.write(b"and at the end")
    changed = data[:MEGABYTE] + b"in the middle" + data[MEGABYTE + 13 :] + b"and at the end"
    assert alice.output("sha256sum <mounted/sent").split()[0] == hashlib.sha256(changed).hexdigest()


def test_rename_truncate_link_and_remove(alice: Client, mounted: Path) -> None:
    (mounted / "one").write_text("0123456789")
    (mounted / "two").write_text("to be replaced")
    (mounted / "one").rename(mounted / "two")
    os.truncate(mounted / "two", 4)
    (mounted / "link").symlink_to("two")
    (mounted / "box").mkdir()
    (mounted / "box").chmod(0o755)
    (mounted / "box" / "script").touch(0o600)
    (mounted / "box" / "script").chmod(0o750)
    (mounted / "two").rename(mounted / "box" / "moved")
    (mounted / "link").unlink()
    (mounted / "link").symlink_to("box/moved")

    assert (mounted / "link").read_text() == "0123"
    assert (mounted / "link").readlink() == Path("box/moved")
    there = alice.output("cd mounted && find . -mindepth 1 -printf '%P %y %m %l\\n' | sort")
    assert there.splitlines() == [
        "box d 755 ",
        "box/moved f 644 ",
        "box/script f 750 ",
        "link l 777 box/moved",
    ]
    assert alice.output("cat mounted/link") == "0123"

    shutil.rmtree(mounted / "box")
    (mounted / "link").unlink()
    assert alice.output("ls -A mounted") == ""


def test_a_thousand_small_files(alice: Client, mounted: Path) -> None:
    for number in range(MANY):
        (mounted / f"{number:04}").write_text(f"{number}\n")

    assert sorted(entry.name for entry in mounted.iterdir()) == [f"{number:04}" for number in range(MANY)]
    assert sum(int(entry.read_text()) for entry in mounted.iterdir()) == sum(range(MANY))
    assert alice.output("cat mounted/* | sort -n | uniq | wc -l") == f"{MANY}\n"
