"""What becomes of a backup, and of what it restores, when processes are killed and disks are full."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import Installation, docker_api, wait_until
from tests.e2e.test_backup import destroy
from tests.programs import running

pytestmark = pytest.mark.timeout(400)


def kill_in_the_middle(installation: Installation, *arguments: str, when: Callable[[], bool]) -> None:
    """Start a command, and kill it as soon as `when` is so. On a busy machine it may have ended before."""
    argv = [sys.executable, "-m", "rootblood", *arguments]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with running(argv, env=installation.env, cwd=installation.directory, **streams) as process:
        wait_until(
            lambda: when() or process.poll() is not None, what=f"the middle of rootblood {arguments[0]}"
        )


def helpers(installation: Installation) -> int:
    labels = [f"rootblood.instance={installation.instance}", "rootblood.volume-helper"]
    with docker_api() as api:
        return len(api.containers(all=True, filters={"label": labels}))


def test_kill_9_in_the_middle_of_a_backup_and_of_a_restore(own_installation: Installation) -> None:
    installation = own_installation
    backups = installation.directory / "backups"
    with installation.serving() as server:
        alice = client_of(installation, server, "alice")
        digest = alice.output("head -c 200000000 /dev/urandom | tee file | sha256sum")

    def is_half_read() -> bool:
        with suppress(FileNotFoundError):  # it has just been given its name
            return any(path.stat().st_size > 10_000_000 for path in backups.glob("*/home_*.part"))
        return False

    kill_in_the_middle(installation, "backup", "backups", "--with", "tar", when=is_half_read)
    while list(backups.glob("*/manifest.json")):  # it was faster
        shutil.rmtree(backups)
        kill_in_the_middle(installation, "backup", "backups", "--with", "tar", when=is_half_read)
    refused = installation.cli("restore", "backups", "--over", check=False)
    assert (1, True) == (refused.returncode, "no whole backup" in refused.stderr)
    installation.cli("backup", "backups")
    assert len(list(backups.glob("2*"))) == 1

    mark = installation.directory / "state" / "restoring"

    def is_half_done() -> bool:
        return mark.exists() and helpers(installation) > 0

    while not mark.exists():  # again, where it was faster
        destroy(installation)
        kill_in_the_middle(installation, "restore", "backups", when=is_half_done)
    refused = installation.cli("serve", check=False)
    assert (1, True) == (refused.returncode, "restore" in refused.stderr)

    installation.cli("restore", "backups")

    with installation.serving() as server:
        alice = client_of(installation, server, "alice")
        (installation.directory / "known_hosts").unlink(missing_ok=True)
        assert digest == alice.output("sha256sum < file")
    wait_until(lambda: helpers(installation) == 0, timeout_s=60, what="the end of all helpers")


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    path.mkdir()
    options = ["-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("a small disk takes root and the right to mount")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_leaves_no_backup_that_passes_for_one(own_installation: Installation) -> None:
    installation = own_installation
    installation.extra_env["ROOTBLOOD_BACKUPS__MIN_FREE_BYTES"] = "0"
    directory = installation.directory
    with small_disk(directory / "tar") as of_tar, small_disk(directory / "restic") as of_restic:
        whole = {}
        for disk in (of_tar, of_restic):
            installation.cli("backup", str(disk), "--with", disk.name)
            whole[disk] = sorted(path.name for path in disk.glob("2*"))
        with installation.serving() as server:
            client_of(installation, server, "alice").output("head -c 40000000 /dev/urandom > file")
        for disk, before in whole.items():
            failed = installation.cli("backup", str(disk), check=False)
            last = failed.stderr.splitlines()[-1]
            assert (1, True) == (failed.returncode, "space" in last or "MiB free" in last), last
            assert before == sorted(path.name for path in disk.glob("2*"))
            installation.cli("restore", str(disk), "--dry-run")
