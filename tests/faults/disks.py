"""A small disk of the tests' own, to be filled."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_FILLER = "filler"


@contextmanager
def small_disk(mounted_on: Path, size_mib: int) -> Iterator[None]:
    """An ext4 of that size, mounted on a directory that is made, for the length of a block.

    Where there is no loop device, as in some containers, a tmpfs stands in for it.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    mounted_on.mkdir(parents=True, exist_ok=True)
    image = mounted_on.parent / f"{mounted_on.name}.ext4"
    with image.open("wb") as file:
        file.truncate(size_mib * 2**20)
    # Nothing is kept back for root.
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True, timeout=30)
    if subprocess.run(["mount", "-o", "loop", image, mounted_on], check=False, timeout=30).returncode:
        options = ["-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs"]
        subprocess.run(["mount", *options, mounted_on], check=True, timeout=30)
    mounted_on.chmod(0o700)
    try:
        yield
    finally:
        subprocess.run(["umount", mounted_on], check=True, timeout=30)
        image.unlink()


def fill(disk: Path) -> None:
    """Leave no block free on it."""
    with (disk / _FILLER).open("ab", buffering=0) as file:
        for piece in (2**20, 2**12):
            while _takes(file.fileno(), piece):
                pass


def make_room(disk: Path) -> None:
    """Free all of that again."""
    (disk / _FILLER).unlink()


def _takes(descriptor: int, count: int) -> bool:
    try:
        return os.write(descriptor, bytes(count)) == count
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
