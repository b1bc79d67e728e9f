"""Restoring a backup: the same accounts, UIDs, homes and keys, into an installation that has nothing yet.

All parts are read and compared with the manifest before anything is touched. From then on until the end a
file in `state_dir` says that a restore is under way, so that nothing is served from half of one, and so that
one that was cut off can be run again over what it left.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from rootblood.domain.backups import INSTALLATION, POSTGRESQL_COPY, Manifest, Part
from rootblood.engines.base import Engine
from rootblood.errors import ConfigurationError, ConflictError, InvalidInputError
from rootblood.services.backups import Tell
from rootblood.services.restoring import MARK
from rootblood.settings import Settings
from rootblood.stores.backups.directory import BackupDirectory, locked
from rootblood.stores.backups.forms import open_parts
from rootblood.stores.backups.installation import Unpacked, put_keys, unpack
from rootblood.stores.backups.keys import FILE_NAME as BACKUP_KEY
from rootblood.stores.base import BackupParts, DatabaseCopies

_LOCK = "restore.lock"


class Restores:
    """Restores backups.

    Args:
        engine: of the installation to be.
        copies: of its database.
        settings: its settings.
    """

    def __init__(self, engine: Engine, copies: DatabaseCopies, settings: Settings) -> None:
        self._engine = engine
        self._copies = copies
        self._settings = settings

    async def settings_text(self, path: Path, backup_id: str | None = None) -> bytes | None:
        """The settings file of a backup; None where it has none. Arguments and errors as `restore`."""
        async with self._read(path, backup_id) as (manifest, parts, temporary):
            for part in manifest.parts:
                if part.name == INSTALLATION:
                    await _verify(manifest, parts, part, temporary / INSTALLATION)
            return (await self._unpack(temporary)).settings

    async def restore(
        self,
        path: Path,
        backup_id: str | None = None,
        *,
        over: bool = False,
        dry_run: bool = False,
        tell: Tell,
    ) -> Manifest:
        """Verify a backup, and restore it.

        Args:
            path: absolute, of the directory that it was made into.
            backup_id: which; None is the newest that is whole.
            over: whether what is there may be lost.
            dry_run: whether to stop before anything is touched.
            tell: told of each part.

        Returns:
            Its manifest. What that calls a failure is not there to be restored.

        Raises:
            NotFoundError: there is no such backup, or it was cut off.
            InvalidInputError: it is damaged, or of another installation. Nothing was touched.
            ConflictError: there is something that would be lost, or is in use. Nothing was touched.
            ConfigurationError: a program or a key is missing, or the backup is a newer RootBlood's.
            StoreUnavailableError, EnvironmentFailedError, EngineUnavailableError, ImageMissingError: it can
                be run again once that is mended.
        """
        async with self._read(path, backup_id) as (manifest, parts, temporary):
            if manifest.instance != self._settings.engine.instance:
                raise InvalidInputError(
                    f"the backup is of the installation {manifest.instance!r}, and this one is "
                    f"{self._settings.engine.instance!r}: set engine.instance"
                )
            for number, part in enumerate(manifest.parts, 1):
                tell(f"verifying {part.name} ({number} of {len(manifest.parts)})")
                await _verify(
                    manifest, parts, part, temporary / INSTALLATION if part.volume is None else None
                )
            unpacked = await self._unpack(temporary)
            if unpacked.database is not None:
                self._require_kind(unpacked.database)
                await self._copies.check(unpacked.database)
            if not dry_run:
                await self._put(manifest, parts, unpacked, over=over, tell=tell)
        return manifest

    async def _put(
        self, manifest: Manifest, parts: BackupParts, unpacked: Unpacked, *, over: bool, tell: Tell
    ) -> None:
        state_dir = self._settings.state_dir
        await asyncio.to_thread(state_dir.mkdir, mode=0o700, parents=True, exist_ok=True)
        mark = state_dir / MARK
        with ExitStack() as held:
            lock = locked(state_dir / _LOCK, "another restore is under way")
            await asyncio.to_thread(held.enter_context, lock)
            if not over and not await asyncio.to_thread(mark.exists):
                await self._require_nothing(manifest)
            if unpacked.database is not None and await self._copies.exists():
                await self._copies.require_unused()
            await asyncio.to_thread(mark.touch, mode=0o600)
            await self._engine.forget()
            for part in manifest.parts:
                if part.volume is not None:
                    tell(f"restoring {manifest.owner(part.volume)}")
                    await self._engine.write_volume(
                        part.volume, parts.read(manifest.id, part), compressed=parts.compressed
                    )
            tell("restoring keys and database")
            await asyncio.to_thread(put_keys, unpacked.keys, self._settings.keys_dir)
            if unpacked.database is not None:
                await self._copies.restore(unpacked.database)
            await asyncio.to_thread(mark.unlink)

    def _require_kind(self, copy: Path) -> None:
        if copy.name != self._copies.file_name:
            kind = "PostgreSQL" if copy.name == POSTGRESQL_COPY else "SQLite"
            raise ConfigurationError(
                f"the backup's database is of {kind}, and database.url names one of another kind: "
                f"restore it to {kind}, and move it with rootblood db copy"
            )

    async def _require_nothing(self, manifest: Manifest) -> None:
        there = []
        if manifest.database and await self._copies.exists():
            there.append("a database")
        if await asyncio.to_thread(_has_keys, self._settings.keys_dir):
            there.append(f"keys in {self._settings.keys_dir}")
        if volumes := await self._engine.volumes():
            there.append(f"{len(volumes)} volumes")
        if there:
            raise ConflictError(
                f"this installation is not empty: it has {', '.join(there)}, which --over would replace"
            )

    @asynccontextmanager
    async def _read(
        self, path: Path, backup_id: str | None
    ) -> AsyncIterator[tuple[Manifest, BackupParts, Path]]:
        directory = BackupDirectory(path)
        manifest = await asyncio.to_thread(directory.find, backup_id)
        # The installation's files, database included, pass through a directory of this process's alone.
        made = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="rootblood-restore-")
        try:
            yield manifest, open_parts(manifest.form, directory, self._settings), Path(made.name)
        finally:
            await asyncio.to_thread(made.cleanup)

    async def _unpack(self, temporary: Path) -> Unpacked:
        archive = temporary / INSTALLATION
        if not await asyncio.to_thread(archive.exists):
            raise InvalidInputError(f"the backup has no {INSTALLATION}")
        return await asyncio.to_thread(unpack, archive, temporary)


async def _verify(manifest: Manifest, parts: BackupParts, part: Part, keep: Path | None) -> None:
    """Read a part and compare it with the manifest; into a file, too, where `keep` names one."""
    digest = hashlib.sha256()
    size = 0
    with ExitStack() as files:
        file = None
        if keep is not None:
            file = files.enter_context(await asyncio.to_thread(keep.open, "wb"))
        async for data in parts.read(manifest.id, part):
            digest.update(data)
            size += len(data)
            if file is not None:
                await asyncio.to_thread(file.write, data)
    if (size, digest.hexdigest()) != (part.size_bytes, part.sha256):
        raise InvalidInputError(
            f"{part.name} of the backup {manifest.id} is not what it was when it was made: it is damaged; "
            "nothing was touched, and --at takes another backup"
        )


def _has_keys(directory: Path) -> bool:
    return any(path.name != BACKUP_KEY and "key" in path.name for path in directory.glob("*"))
