"""The parts of a backup in a restic repository: encrypted, and what two of them share is kept once."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from rootblood.domain.backups import Part
from rootblood.errors import StoreUnavailableError
from rootblood.stores.backups.directory import BackupDirectory
from rootblood.stores.backups.keys import create_backup_key, read_backup_key
from rootblood.stores.backups.programs import Program, run, running

_HOST = "rootblood"


class ResticParts:
    """Implements `BackupParts` on the repository `restic` in the directory of the backups.

    Args:
        directory: of the backups.
        key_file: holds the repository's password; made by `prepare`.
    """

    compressed = False

    def __init__(self, directory: BackupDirectory, key_file: Path) -> None:
        self._repository = directory.path / "restic"
        self._key_file = key_file

    async def prepare(self) -> None:
        """Make key and repository, or take off locks whose holders are dead."""
        is_there = await asyncio.to_thread((self._repository / "config").exists)
        if not is_there:
            await asyncio.to_thread(create_backup_key, self._key_file)
        command = "unlock" if is_there else "init"
        await run(["restic", "--no-cache", "--quiet", command], await self._variables())

    @asynccontextmanager
    async def write(self, backup_id: str, name: str) -> AsyncIterator["_GrowingSnapshot"]:
        """A snapshot of one file."""
        argv = ["restic", "--no-cache", "--quiet", "--json", "backup", "--host", _HOST, "--tag", backup_id]
        argv += ["--stdin", "--stdin-filename", name]
        async with running(argv, await self._variables()) as program:
            part = _GrowingSnapshot(program)
            yield part  # an error ends restic before it has made a snapshot
            await part.finish()

    async def read(self, backup_id: str, part: Part) -> AsyncIterator[bytes]:
        """The one file of a snapshot."""
        del backup_id
        argv = ["restic", "--no-cache", "--no-lock", "dump", part.reference, f"/{part.name}"]
        async with running(argv, await self._variables()) as program:
            while data := await program.read():
                yield data
            await program.finish()

    async def _variables(self) -> Mapping[str, str]:
        password = await asyncio.to_thread(read_backup_key, self._key_file)
        return {"RESTIC_REPOSITORY": str(self._repository), "RESTIC_PASSWORD": password}


class _GrowingSnapshot:
    def __init__(self, program: Program) -> None:
        self._program = program
        self.reference = ""

    async def write(self, data: bytes) -> None:
        """Give it to restic."""
        await self._program.write(data)

    async def finish(self) -> None:
        """Take the snapshot's id from the last of restic's messages."""
        for line in (await self._program.finish()).splitlines():
            told = json.loads(line)
            if told.get("message_type") == "summary":
                self.reference = str(told["snapshot_id"])
        if not self.reference:
            raise StoreUnavailableError("restic did not say which snapshot it made")
