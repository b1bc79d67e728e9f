"""Backups: database, keys, settings, all homes and /global, into a directory.

Volumes are read by the engine while their environments run, or with those stopped for their turn. What cannot
be read is left out, and the manifest says so; what cannot be written ends the backup, which is none then.
"""

import asyncio
import hashlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from rootblood import __version__
from rootblood.domain.accounts import Account
from rootblood.domain.backups import INSTALLATION, Failure, Form, Manifest, Owner, Part
from rootblood.domain.complaints import Complaints
from rootblood.domain.environments import EnvironmentState, StopReason, Volume
from rootblood.engines.base import Engine
from rootblood.errors import EnvironmentFailedError, NotFoundError
from rootblood.services.environments import Environments
from rootblood.settings import Settings
from rootblood.stores.backups.directory import BackupDirectory, locked
from rootblood.stores.backups.forms import choose_form, open_parts
from rootblood.stores.backups.installation import pack
from rootblood.stores.base import AccountStore, BackupParts, DatabaseCopies

Tell = Callable[[str], None]
"""Takes a line about how it goes."""

Write = Callable[[bytes], Awaitable[None]]

_PROGRESS_S = 10.0
_READ_BYTES = 1024 * 1024
_LOCK = "backup.lock"
_TEMPORARY = "backup.tmp"


class Backups:
    """Makes backups of this installation."""

    def __init__(
        self,
        *,
        engine: Engine,
        environments: Environments,
        store: AccountStore,
        copies: DatabaseCopies,
        settings: Settings,
    ) -> None:
        self._engine = engine
        self._environments = environments
        self._store = store
        self._copies = copies
        self._settings = settings

    async def make(
        self,
        path: Path,
        *,
        form: Form | None = None,
        settings_file: Path,
        database: bool = True,
        stop: bool = False,
        tell: Tell,
    ) -> Manifest:
        """Make a backup.

        Args:
            path: absolute, of the directory that backups are made into; made where it is missing.
            form: how its parts are kept; None goes on as before, and begins with the best that is installed.
            settings_file: is put in where it is there.
            database: whether the database is put in.
            stop: whether each environment is stopped while its home is read.
            tell: told of each part.

        Returns:
            The manifest. It may have failures.

        Raises:
            ConflictError: another backup is being made, of this installation or into this directory.
            ConfigurationError: a program or a key is missing, or the database is none that can be copied.
            StoreUnavailableError: the directory or the program that keeps the parts does not take them.
            EngineUnavailableError, ImageMissingError: there is nobody to read volumes.
        """
        directory = BackupDirectory(path)
        await asyncio.to_thread(directory.create)
        async with self._alone(directory):
            chosen = form if form is not None else await asyncio.to_thread(choose_form, directory)
            parts = open_parts(chosen, directory, self._settings)
            await asyncio.to_thread(self._require_space, directory, parts)
            await parts.prepare()
            started = datetime.now(UTC)
            backup = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
            await asyncio.to_thread(directory.begin, backup)
            try:
                accounts = await self._store.list(include_deleted=True)
                made = _Making(backup, parts, tell)
                await self._keep_installation(made, settings_file, database=database)
                await self._keep_volumes(made, accounts, stop=stop)
                manifest = Manifest(
                    id=backup,
                    form=chosen,
                    rootblood=__version__,
                    instance=self._settings.engine.instance,
                    started_at=started,
                    finished_at=datetime.now(UTC),
                    accounts=[Owner(one.name, one.uid, one.userhash, one.state.value) for one in accounts],
                    parts=made.parts,
                    failures=made.failures,
                    database=database,
                )
                await asyncio.to_thread(directory.finish, manifest)
            except BaseException:
                await asyncio.shield(asyncio.to_thread(directory.abandon, backup))
                raise
        return manifest

    @asynccontextmanager
    async def _alone(self, directory: BackupDirectory) -> AsyncIterator[None]:
        with ExitStack() as held:
            for file, what in (
                (self._settings.state_dir / _LOCK, "another backup of this installation is being made"),
                (directory.lock_file, f"another backup is being made into {directory.path}"),
            ):
                await asyncio.to_thread(held.enter_context, locked(file, what))
            yield

    def _require_space(self, directory: BackupDirectory, parts: BackupParts) -> None:
        before = directory.list()
        # Plain files are about as many bytes as the last time; of what shares, nobody knows.
        expected = before[0].size_bytes if before and parts.compressed else 0
        directory.require_space(expected, self._settings.backups.min_free_bytes)

    async def _keep_installation(self, made: "_Making", settings_file: Path, *, database: bool) -> None:
        # Not in the directory of the backups, which may be for everybody's eyes when its parts are encrypted.
        temporary = self._settings.state_dir / _TEMPORARY
        await asyncio.to_thread(shutil.rmtree, temporary, ignore_errors=True)  # of one that was killed
        await asyncio.to_thread(temporary.mkdir, mode=0o700)
        try:
            copy = temporary / self._copies.file_name if database else None
            if copy is not None:
                await self._copies.save(copy)
            archive = temporary / INSTALLATION
            await asyncio.to_thread(
                pack, archive, database=copy, keys_dir=self._settings.keys_dir, settings=settings_file
            )

            async def read(write: Write) -> Complaints:
                with await asyncio.to_thread(archive.open, "rb") as file:
                    while data := await asyncio.to_thread(file.read, _READ_BYTES):
                        await write(data)
                return Complaints()

            await made.keep(INSTALLATION, None, "database, keys and settings", read)
        finally:
            await asyncio.to_thread(shutil.rmtree, temporary)

    async def _keep_volumes(self, made: "_Making", accounts: Sequence[Account], *, stop: bool) -> None:
        known = {account.userhash: account for account in accounts}
        volumes = await self._engine.volumes()
        for number, volume in enumerate(volumes, 1):
            account = known.get(volume.userhash or "")
            name = account.name if account is not None else volume.userhash
            whose = f"home of {name}" if volume.userhash else "/global"
            name = f"home_{volume.userhash}" if volume.userhash else "global"
            name += ".tar.zst" if made.store.compressed else ".tar"

            async def read(write: Write, volume: Volume = volume) -> Complaints:
                return await self._engine.read_volume(volume, write, compressed=made.store.compressed)

            try:
                async with self._stopped(account if stop else None):
                    await made.keep(name, volume, f"{whose} ({number} of {len(volumes)})", read)
            except (EnvironmentFailedError, NotFoundError) as error:
                made.failures.append(Failure(name, f"{whose}: {error}"))
                made.tell(f"{whose}: FAILED: {error}")

    @asynccontextmanager
    async def _stopped(self, account: Account | None) -> AsyncIterator[None]:
        """Have an environment that runs stopped for the length of a block; None is nobody's."""
        details = await self._environments.inspect(account) if account is not None else None
        if account is None or details is None or details.environment.state is not EnvironmentState.RUNNING:
            yield
            return
        await self._environments.stop(account, StopReason.ADMINISTRATOR)
        try:
            yield
        finally:
            await self._environments.start(account)


class _Making:
    """A backup that is being made, as far as it has come."""

    def __init__(self, backup_id: str, store: BackupParts, tell: Tell) -> None:
        self.store = store
        self.tell = tell
        self.parts: list[Part] = []
        self.failures: list[Failure] = []
        self._id = backup_id

    async def keep(
        self,
        name: str,
        volume: Volume | None,
        what: str,
        read: Callable[[Write], Awaitable[Complaints]],
    ) -> None:
        """Write one part; `read` is given what takes its bytes, and returns its warnings."""
        digest = hashlib.sha256()
        size = 0
        told = time.monotonic()
        async with self.store.write(self._id, name) as growing:

            async def take(data: bytes) -> None:
                nonlocal size, told
                digest.update(data)
                size += len(data)
                await growing.write(data)
                if time.monotonic() - told > _PROGRESS_S:
                    told = time.monotonic()
                    self.tell(f"{what}: {size >> 20} MiB so far")

            warnings = await read(take)
        self.parts.append(Part(name, volume, size, digest.hexdigest(), growing.reference, warnings))
        self.tell(f"{what}: {size / 2**20:.1f} MiB")
        for warning in warnings.lines():
            self.tell(f"{what}: warning: {warning}")
