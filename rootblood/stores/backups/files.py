"""The parts of a backup as plain files beside its manifest, whole in every backup: for tar and zstd."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import FileIO

from rootblood.domain.backups import Part
from rootblood.stores.backups.directory import BackupDirectory, translated

_READ_BYTES = 1024 * 1024


class FileParts:
    """Implements `BackupParts` on a directory.

    Args:
        directory: of the backups.
        min_free_bytes: what stays free on its disk.
    """

    compressed = True

    def __init__(self, directory: BackupDirectory, min_free_bytes: int) -> None:
        self._directory = directory
        self._min_free_bytes = min_free_bytes

    async def prepare(self) -> None:
        """Nothing is missing."""

    @asynccontextmanager
    async def write(self, backup_id: str, name: str) -> AsyncIterator["_GrowingFile"]:
        """A file, under its name only once it is whole."""
        path = self._directory.path / backup_id / name
        unfinished = path.with_name(f"{name}.part")
        with translated():
            file = await asyncio.to_thread(_create, str(unfinished))
        part = _GrowingFile(file, self._directory, self._min_free_bytes)
        try:
            yield part
            with translated():
                await asyncio.to_thread(os.fsync, file.fileno())
                await asyncio.to_thread(unfinished.rename, path)
        finally:
            file.close()
            await asyncio.to_thread(unfinished.unlink, missing_ok=True)

    async def read(self, backup_id: str, part: Part) -> AsyncIterator[bytes]:
        """The file."""
        with translated():
            file = await asyncio.to_thread((self._directory.path / backup_id / part.name).open, "rb")
            with file:
                while data := await asyncio.to_thread(file.read, _READ_BYTES):
                    yield data


class _GrowingFile:
    reference = ""

    def __init__(self, file: FileIO, directory: BackupDirectory, min_free_bytes: int) -> None:
        self._file = file
        self._directory = directory
        self._min_free_bytes = min_free_bytes

    async def write(self, data: bytes) -> None:
        """Append."""
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        self._directory.require_space(len(data), self._min_free_bytes)
        view = memoryview(data)
        with translated():
            while view:
                view = view[self._file.write(view) :]


def _create(path: str) -> FileIO:
    return FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w")
