"""Finished tarballs on the server's own disk, until they are fetched or expire.

Each account has a directory, and in it each export two files: `<id>.json`, which says all that is known of
it, and beside it the tarball, `<id>.<server>.part` while it grows. All names are servers' own; an environment
has a say in nothing but the bytes of its tarball. A record is replaced by renaming, so that it is whole at
any time, and a server that was killed finds at its next start what it had been at. Another one may live on
the same directory and end its work, most of all the one before it: a record says which server writes the
tarball, and so do the names of files that are not finished.

All of it blocks; `rootblood.services.exports` calls it in a thread.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from rootblood.domain.complaints import Complaints
from rootblood.domain.exports import (
    ArchiveFormat,
    Export,
    ExportContent,
    ExportState,
    Progress,
    is_export_id,
)
from rootblood.errors import LimitReachedError, StoreUnavailableError

_ATTEMPTS = 5
"""To delete a directory that another process may still be writing to."""

_INTERRUPTED = "the server was stopped meanwhile; make another one"


class SpoolFile:
    """A tarball that is being written. Made by `Spool.begin`."""

    def __init__(self, spool: "Spool", export: Export, path: Path) -> None:
        self._spool = spool
        self._export = export
        self._path = path
        self._file = path.open("xb", buffering=0)
        self._digest = hashlib.sha256()
        self._turn = Lock()  # a thread whose task was cancelled may still be writing

    def write(self, data: bytes) -> None:
        """Add to it. Raises as `GrowingExport.write`."""
        with self._turn, _translated():
            self._spool.reserve(len(data))
            self._digest.update(data)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]

    def finish(self, progress: Progress, warnings: Complaints) -> Export:
        """Let it be fetched. Raises `StoreUnavailableError` when the disk fails."""
        export = replace(
            self._export,
            state=ExportState.READY,
            progress=progress,
            sha256=self._digest.hexdigest(),
            warnings=warnings,
        )
        with self._turn, _translated():
            os.fsync(self._file.fileno())
            self._file.close()
            self._spool.keep(export, self._path)
            self._spool.record(export)
        return export

    def fail(self, cause: str) -> Export:
        """Delete what there is of it, and remember why. Raises as `finish`."""
        export = replace(self._export, state=ExportState.FAILED, error=cause)
        with self._turn, _translated():
            self._file.close()
            self._spool.drop(self._path, self._spool.path(export))
            try:
                self._spool.record(export)
            except OSError:
                self._spool.forget(export)  # rather than a tarball that is on its way for ever
                raise
        return export

    def abandon(self) -> None:
        """Delete it, and remember nothing."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class Spool:
    """The tarballs of all accounts.

    Args:
        directory: this server's own, made where it is missing.
        max_bytes: of all tarballs together.
        min_free_bytes: what is to stay free on the disk.
        server: what this process is called; see `rootblood.stores.servers`.
    """

    def __init__(self, directory: Path, *, max_bytes: int, min_free_bytes: int, server: str = "this") -> None:
        self._directory = directory
        self._server = server
        self._used_bytes = 0
        self._counting = Lock()
        self.bound(max_bytes=max_bytes, min_free_bytes=min_free_bytes)

    def bound(self, *, max_bytes: int, min_free_bytes: int) -> None:
        """Set both bounds anew; what is there already stays."""
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes

    def recover(self, living: Collection[str] = ()) -> None:
        """Clean up what servers left behind that are not among the `living`; once, before anything else."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for litter in [*self._directory.glob("*/*.part"), *self._directory.glob("*/*.new")]:
            if _writer(litter) not in living:
                litter.unlink()
        for account in self._directory.iterdir():
            for export in self.list(account.name):
                if export.server in living:
                    continue
                whole = export.state is ExportState.READY and self.path(export).exists()
                if export.state is not ExportState.FAILED and not whole:
                    self.path(export).unlink(missing_ok=True)
                    self.record(replace(export, state=ExportState.FAILED, error=_INTERRUPTED))
            files = list(account.iterdir())
            known = {export.id for export in self.list(account.name)}
            for path in files:
                if path.name.partition(".")[0] not in known and _writer(path) not in living:
                    path.unlink(missing_ok=True)

    def begin(self, export: Export) -> SpoolFile:
        """Begin a tarball. Raises as `SpoolFile.write`."""
        with _translated():
            self._count()  # another process may have deleted some
            self.reserve(0)
            (self._directory / export.userhash).mkdir(mode=0o700, exist_ok=True)
            mine = replace(export, server=self._server)
            growing = SpoolFile(self, mine, self._stem(mine).with_suffix(f".{self._server}.part"))
            try:
                self.record(mine)
            except OSError:
                growing.abandon()
                raise
            return growing

    def list(self, userhash: str) -> Sequence[Export]:
        """The account's exports, the newest first."""
        found = [_read(path) for path in (self._directory / userhash).glob("*.json")]
        return sorted((export for export in found if export is not None), key=_created, reverse=True)

    def find(self, userhash: str, export_id: str) -> Export | None:
        """The account's export of that id, which may be any text."""
        if not is_export_id(export_id):
            return None
        return _read(self._directory / userhash / f"{export_id}.json")

    def path(self, export: Export) -> Path:
        """Where the tarball is, once it is ready."""
        return self._stem(export).with_suffix(f".{export.format.value}")

    def delete(self, export: Export) -> bool:
        """Delete an export that is not being written; False when it was not there."""
        tarball, record = self.path(export), self._stem(export).with_suffix(".json")
        self.drop(tarball)
        try:
            record.unlink()
        except FileNotFoundError:
            return False
        return True

    def delete_all(self, userhash: str) -> None:
        """Delete all exports of an account, of which this process writes none."""
        for export in self.list(userhash):
            self.delete(export)
        # What is left is of a server that was killed, or of one that fails at it from now on.
        directory = self._directory / userhash
        for _ in range(_ATTEMPTS):
            shutil.rmtree(directory, ignore_errors=True)
            if not directory.exists():
                return
        raise StoreUnavailableError("the server's disk does not delete the tarballs; try again")

    def delete_expired(self, now: datetime) -> None:
        """Delete the exports of all accounts that have expired. Raises `StoreUnavailableError`."""
        with _translated():
            for account in self._directory.iterdir():
                for export in self.list(account.name):
                    if export.state is not ExportState.RUNNING and export.expires_at <= now:
                        self.delete(export)

    def reserve(self, size_bytes: int) -> None:
        """Take room for so much more. Raises `LimitReachedError` when there is none."""
        if shutil.disk_usage(self._directory).free - size_bytes < self._min_free_bytes:
            raise LimitReachedError("the server's disk is too full for a tarball; tell your administrator")
        with self._counting:
            if self._used_bytes + size_bytes > self._max_bytes:
                raise LimitReachedError("the server has no room for more tarballs now; delete one, or wait")
            self._used_bytes += size_bytes

    def keep(self, export: Export, part: Path) -> None:
        """Give a tarball that is written its name."""
        with self._counting:  # who counts finds it under one of its names
            part.rename(self.path(export))

    def drop(self, *paths: Path) -> None:
        """Delete what there is of a tarball, and give its room back."""
        with self._counting:
            for path in paths:
                self._used_bytes -= _size(path)
                path.unlink(missing_ok=True)

    def record(self, export: Export) -> None:
        """Write down what is known of an export."""
        path = self._stem(export).with_suffix(".json")
        new = path.with_suffix(f".{self._server}.new")
        try:
            new.write_text(json.dumps(asdict(export), default=datetime.isoformat))
            new.rename(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise

    def forget(self, export: Export) -> None:
        """Delete what was written down of an export."""
        self._stem(export).with_suffix(".json").unlink(missing_ok=True)

    def _count(self) -> None:
        with self._counting:
            self._used_bytes = sum(map(_size, self._directory.glob("*/*.[pt]ar*")))

    def _stem(self, export: Export) -> Path:
        return self._directory / export.userhash / export.id


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailableError("the server's disk takes no tarball now; try again later") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another process has just deleted it, or given it its name
        return 0


def _writer(path: Path) -> str:
    """Which server writes a file that is not finished."""
    return path.name.split(".")[1]


def _created(export: Export) -> datetime:
    return export.created_at


def _read(path: Path) -> Export | None:
    try:
        told = json.loads(path.read_text())
    except FileNotFoundError:  # deleted meanwhile
        return None
    except ValueError:  # empty, say: the machine went down before it was on the disk
        return None
    return Export(
        id=told["id"],
        userhash=told["userhash"],
        format=ArchiveFormat(told["format"]),
        state=ExportState(told["state"]),
        created_at=datetime.fromisoformat(told["created_at"]),
        expires_at=datetime.fromisoformat(told["expires_at"]),
        progress=Progress(**told["progress"]),
        sha256=told["sha256"],
        warnings=_complaints(told["warnings"]),
        error=told["error"],
        content=ExportContent(told.get("content", ExportContent.HOME)),  # older ones do not say
        server=told.get("server", ""),
    )


def _complaints(told: Any) -> Complaints:
    if isinstance(told, list):  # older ones do not say how many more there were
        return Complaints(tuple(told))
    return Complaints(tuple(told["listed"]), told["unlisted"])
