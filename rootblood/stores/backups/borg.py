"""The parts of a backup in a borg repository: encrypted, and what two of them share is kept once."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from rootblood.domain.backups import Part
from rootblood.stores.backups.directory import BackupDirectory
from rootblood.stores.backups.keys import create_backup_key, read_backup_key
from rootblood.stores.backups.programs import Program, run, running

_LOCK_WAIT = "--lock-wait=60"
"""In seconds: the borg of a backup that was killed ends soon after it, and may not be cut short."""

_GOOD = (0, 1)
"""1 is a warning, such as that the repository was moved; whether bytes are right, the digests say."""


class BorgParts:
    """Implements `BackupParts` on the repository `borg` in the directory of the backups.

    Args:
        directory: of the backups.
        key_file: holds the repository's passphrase; made by `prepare`.
    """

    compressed = False

    def __init__(self, directory: BackupDirectory, key_file: Path) -> None:
        self._repository = directory.path / "borg"
        self._base = directory.path / "borg-base"
        self._key_file = key_file

    async def prepare(self) -> None:
        """Make key and repository. Locks whose holders are dead borg takes off by itself."""
        if not await asyncio.to_thread((self._repository / "config").exists):
            await asyncio.to_thread(create_backup_key, self._key_file)
            await run(["borg", "init", "--encryption=repokey-blake2"], await self._variables())

    @asynccontextmanager
    async def write(self, backup_id: str, name: str) -> AsyncIterator["_GrowingArchive"]:
        """An archive of one file."""
        part = _GrowingArchive(f"{backup_id}-{name}")
        argv = ["borg", "create", _LOCK_WAIT, "--compression=zstd,3", f"--stdin-name={name}"]
        argv += [f"::{part.reference}", "-"]
        async with running(argv, await self._variables()) as program:
            part.program = program
            yield part  # an error ends borg before it has made an archive
            await program.finish(_GOOD)

    async def read(self, backup_id: str, part: Part) -> AsyncIterator[bytes]:
        """The one file of an archive."""
        del backup_id
        argv = ["borg", "extract", _LOCK_WAIT, "--stdout", f"::{part.reference}", part.name]
        async with running(argv, await self._variables()) as program:
            while data := await program.read():
                yield data
            await program.finish(_GOOD)

    async def _variables(self) -> Mapping[str, str]:
        return {
            "BORG_REPO": str(self._repository),
            "BORG_PASSPHRASE": await asyncio.to_thread(read_backup_key, self._key_file),
            "BORG_BASE_DIR": str(self._base),  # its cache and what it knows of repositories
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }


class _GrowingArchive:
    program: Program

    def __init__(self, reference: str) -> None:
        self.reference = reference

    async def write(self, data: bytes) -> None:
        """Give it to borg."""
        await self.program.write(data)
