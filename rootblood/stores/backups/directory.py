"""The directory that backups are made into: one directory a backup, with its manifest.

A backup that was cut off, by a kill or a full disk, has no manifest and never passes for one. The next backup
deletes what is left of it. All of it blocks.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rootblood.domain.backups import BACKUP_ID, Manifest
from rootblood.errors import ConflictError, InvalidInputError, NotFoundError, StoreUnavailableError

_MANIFEST = "manifest.json"
_LOCK = ".lock"


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file, made where it is missing, for the length of a block; a killed process holds none.

    Raises:
        ConflictError: another process holds it; `what` says what it is about.
    """
    with translated(), path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"{what}; wait for its end") from error
        yield


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the disk into RootBlood's."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailableError("the disk of the backup failed") from error


def create_private(path: Path) -> BinaryIO:
    """Make a file for its owner alone, to write to."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


class BackupDirectory:
    """Backups in `path`, an absolute path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the directory, for its owner alone, where it is missing."""
        with translated():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def lock_file(self) -> Path:
        """For `locked`."""
        return self.path / _LOCK

    def list(self) -> Sequence[Manifest]:
        """The manifests of all whole backups, the newest first.

        Raises:
            NotFoundError: there is no such directory.
            InvalidInputError: a manifest is damaged, or of a newer RootBlood.
        """
        found = [self._read(name) for name in self._names() if (self.path / name / _MANIFEST).exists()]
        return sorted(found, key=lambda manifest: (manifest.started_at, manifest.id), reverse=True)

    def cut_off(self) -> Sequence[str]:
        """The ids of backups that were not made to their end, or are being made now."""
        return [name for name in self._names() if not (self.path / name / _MANIFEST).exists()]

    def find(self, backup_id: str | None) -> Manifest:
        """The backup of that id, or the newest.

        Raises:
            NotFoundError: there is none, or it was cut off.
            InvalidInputError: its manifest is damaged, or of a newer RootBlood.
        """
        if backup_id is not None and backup_id in self._names() and backup_id not in self.cut_off():
            return self._read(backup_id)
        if backup_id is None and (whole := self.list()):
            return whole[0]
        known = ", ".join(manifest.id for manifest in self.list()) or "none"
        lost = ", ".join(self.cut_off())
        cut_off = f"; cut off and of no use: {lost}" if lost else ""
        what = "such backup" if backup_id is not None else "whole backup"
        raise NotFoundError(f"there is no {what} in {self.path} (whole ones: {known}{cut_off})")

    def begin(self, backup_id: str) -> None:
        """Make room for a new backup, and delete those that were cut off."""
        with translated():
            for litter in self.cut_off():
                shutil.rmtree(self.path / litter)
            (self.path / backup_id).mkdir(mode=0o700)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest: from here on the backup is one."""
        directory = self.path / manifest.id
        with translated():
            unfinished = directory / f".{_MANIFEST}"
            with create_private(unfinished) as file:
                file.write(json.dumps(manifest.as_json(), indent=2).encode())
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(directory / _MANIFEST)
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(descriptor)
            os.close(descriptor)

    def abandon(self, backup_id: str) -> None:
        """Delete what there is of a backup that cannot be finished."""
        shutil.rmtree(self.path / backup_id, ignore_errors=True)

    def require_space(self, needed_bytes: int, min_free_bytes: int) -> None:
        """Raise `StoreUnavailableError` where that much more would not fit."""
        with translated():
            free = shutil.disk_usage(self.path).free
        if free - needed_bytes < min_free_bytes:
            raise StoreUnavailableError(
                f"{self.path} has {free >> 20} MiB free and needs {(needed_bytes + min_free_bytes) >> 20}: "
                f"delete old backups, or see backups.min_free_bytes"
            )

    def _names(self) -> Sequence[str]:
        try:
            return sorted(name.name for name in self.path.iterdir() if BACKUP_ID.fullmatch(name.name))
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no directory {self.path}") from error
        except OSError as error:
            raise StoreUnavailableError(f"cannot read {self.path}") from error

    def _read(self, backup_id: str) -> Manifest:
        path = self.path / backup_id / _MANIFEST
        with translated():
            text = path.read_bytes()
        try:
            manifest = Manifest.from_json(text)
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {error}") from error
        if manifest.id != backup_id:
            raise InvalidInputError(f"{path} is the manifest of another backup, {manifest.id}")
        return manifest
