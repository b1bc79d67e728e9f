"""Which processes of this installation live on this machine: a locked file each.

Whoever opens the installation, as a server or for one command, has an ID, and holds flock(2) on a file of
that name for as long as it lives. The kernel lets go of it however the process ends, so a file that nobody
holds is of one that was killed: whatever bears its ID, a lease or a socket or a container, is left over. Who
ends in order deletes its file; one of the dead stays until all that bears its ID has been dealt with.

Files tell of one state directory. Of an ID without a file there nobody can tell: it may be another machine's.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rootblood.domain.logins import new_id
from rootblood.errors import StoreUnavailableError

_SUFFIX = ".lock"


class Servers:
    """The processes of one state directory, this one among them.

    All of it blocks, none of it waits. Where the disk fails, `StoreUnavailableError` is raised.

    Args:
        directory: of the files, made where it is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.own = new_id()
        """What this process is called."""

        self._file: int | None = None

    def enter(self) -> None:
        """Say that this process lives."""
        path = self._path(self.own)
        with self._translated():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(file, fcntl.LOCK_EX)  # somebody may be looking at it, for a moment
                if _is_at(file, path):
                    break
                os.close(file)  # it was taken for one of the dead, and deleted
        self._file = file

    def leave(self) -> None:
        """Say that this process leaves nothing behind; nothing happens where it did not `enter`."""
        file, self._file = self._file, None
        if file is not None:
            self._path(self.own).unlink(missing_ok=True)
            os.close(file)

    def look(self) -> tuple[frozenset[str], frozenset[str]]:
        """IDs of those that live, and of those that were killed and are not forgotten yet."""
        with self._translated():
            known = frozenset(path.name.removesuffix(_SUFFIX) for path in self._directory.glob(f"*{_SUFFIX}"))
            living = frozenset(filter(self._lives, known))
        return living, known - living

    def living(self) -> frozenset[str]:
        """IDs of those that live."""
        living, _ = self.look()
        return living

    def forget(self, server: str) -> bool:
        """Delete the file of a dead one, of which nothing is left; False where it was not there."""
        with self._translated():
            if not self._path(server).exists() or self._lives(server):
                return False
            self._path(server).unlink(missing_ok=True)
        return True

    def _lives(self, server: str) -> bool:
        try:
            with _opened(self._path(server)) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two may look at once
        except FileNotFoundError:
            return False
        except (BlockingIOError, PermissionError):  # held; or another user's, such as root's
            return True
        return False

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailableError(f"{self._directory} cannot be used: {error}") from error

    def _path(self, server: str) -> Path:
        return self._directory / f"{server}{_SUFFIX}"


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(file), there)
