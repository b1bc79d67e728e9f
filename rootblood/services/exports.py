"""Homes as tarballs, for every door: read while they are made, or from the spool.

A tarball is made in the account's environment, with that environment's share of the machine. One that does
not run is started for it and stopped again. What a door does with the bytes is its own; who stops reading
stops what makes them.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.audit import OPERATOR, Action, Actor
from rootblood.domain.exports import ArchiveFormat, Export, ExportContent, ExportState, Progress
from rootblood.domain.leases import LeaseKind
from rootblood.domain.logins import new_id
from rootblood.errors import (
    ConflictError,
    LimitReachedError,
    NotFoundError,
    RootBloodError,
    StoreUnavailableError,
)
from rootblood.link.pool import StepListener
from rootblood.services.archives import Archive, export_command
from rootblood.services.audit import Record, unrecorded
from rootblood.services.environments import Environments
from rootblood.settings import ExportSettings
from rootblood.stores.base import ExportStore, GrowingExport

_log = structlog.stdlib.get_logger(__name__)

_START_TIMEOUT_S = 15.0
_STOPPED = "the server is being stopped; make another one"
_CRASHED = "internal error; your administrator finds it in the log"


def _now() -> datetime:
    return datetime.now(UTC)


def _told(content: ExportContent, kind: ArchiveFormat, home: Progress) -> str:
    return f"{content.value}.{kind.value}, {home.bytes} bytes of home"


class _Spooling:
    """An export on its way into the spool, and who watches it."""

    def __init__(self, export: Export, task: "asyncio.Task[None]", preface_bytes: int) -> None:
        self.export = export
        self.task = task
        self.archive: Archive | None = None
        self.is_kept = False
        """Whether the tarball is ready; what it was made in may still be on its way to a stop."""

        self._preface_bytes = preface_bytes

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        if self.archive is None:
            return Progress()
        done = self.archive.progress
        return Progress(done.bytes + self._preface_bytes, done.files)


class Exports:
    """The use cases around tarballs of homes. `by` is who asks, for the account's trail.

    Args:
        environments: where they are made.
        spool: where they may be kept.
        settings: how large, how many, how long.
        record: keeps the accounts' trails.
    """

    def __init__(
        self,
        environments: Environments,
        spool: ExportStore,
        settings: ExportSettings,
        record: Record = unrecorded,
    ) -> None:
        self._environments = environments
        self._record = record
        self._spool = spool
        self._settings = settings
        self._running: Counter[str] = Counter()
        self._beginning: dict[str, asyncio.Task[Export]] = {}
        """By userhash."""

        self._spooling: dict[str, _Spooling] = {}

    def apply(self, settings: ExportSettings) -> None:
        """Go by these settings from the next tarball on."""
        self._settings = settings
        self._spool.bound(max_bytes=settings.spool_max_bytes, min_free_bytes=settings.spool_min_free_bytes)

    async def recover(self, living: Collection[str] = ()) -> None:
        """Clean up what a server that was killed left in the spool; once, before the doors open.

        Args:
            living: servers of this state directory; what those write is left alone.
        """
        await asyncio.to_thread(self._spool.recover, living)

    async def expire(self, stop: asyncio.Event) -> None:
        """Delete from the spool what has expired, at intervals, until `stop`."""
        while not stop.is_set():
            try:
                await asyncio.to_thread(self._spool.delete_expired, _now())
            except StoreUnavailableError as error:  # the next time, then
                _log.warning("exports_not_expired", cause=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.spool_sweep_interval_s):
                    await stop.wait()

    @asynccontextmanager
    async def stream(
        self,
        account: Account,
        kind: ArchiveFormat,
        *,
        on_step: StepListener | None = None,
        by: Actor = OPERATOR,
        content: ExportContent = ExportContent.HOME,
    ) -> AsyncIterator[Archive]:
        """Make a tarball of the account's home, to be read as it comes.

        What was read of it is in the account's trail, also where that is not the whole.

        Args:
            account: whose home.
            kind: how it is compressed.
            on_step: called before each step that takes time, should the environment have to be started.
            by: who asks.
            content: what the tarball will be a part of, for the account's trail.

        Raises:
            LimitReachedError: too many are being made now; or, in the block, it took too long.
            EngineUnavailableError, ImageMissingError, EnvironmentFailedError, StoreUnavailableError: as
                `Environments.link`.
        """
        async with self._making(account, kind, on_step) as archive:
            try:
                yield archive
            finally:
                if archive.progress.bytes:
                    broken_off = "" if archive.is_whole else ", broken off"
                    told = _told(content, kind, archive.progress)
                    self._record(account, Action.EXPORT_MADE, by, told + broken_off)

    @asynccontextmanager
    async def _making(
        self, account: Account, kind: ArchiveFormat, on_step: StepListener | None = None
    ) -> AsyncIterator[Archive]:
        with self._counted(account):
            async with self._environments.lent(account, LeaseKind.EXPORT, kind.value, on_step=on_step):
                _, archive = await self._environments.programs.open(
                    account,
                    export_command(kind, self._level(kind)),
                    lambda: Archive(self._settings.max_bytes),
                    timeout_s=_START_TIMEOUT_S,
                )
                try:
                    async with asyncio.timeout(self._settings.max_s):
                        yield archive
                except TimeoutError as error:
                    raise LimitReachedError("the tarball takes too long; use rsync") from error
                finally:
                    archive.close()

    async def spool(
        self,
        account: Account,
        kind: ArchiveFormat,
        *,
        by: Actor = OPERATOR,
        content: ExportContent = ExportContent.HOME,
        preface: bytes = b"",
    ) -> Export:
        """Begin a tarball of the account's home in the spool, where it is kept for a while.

        Args:
            account: whose home.
            kind: how it is compressed.
            by: who asks.
            content: what the tarball is, together with its preface.
            preface: what comes before the home; see `rootblood.services.preface`.

        Returns:
            The export, which is running. Ask `find` how it goes, or `follow` it.

        Raises:
            LimitReachedError: the spool is full, or too many are being made now.
            ConflictError: one of this account is on its way there already.
            StoreUnavailableError: the disk fails.
        """
        mine = [each for each in self._spooling.values() if each.export.userhash == account.userhash]
        if account.userhash in self._beginning or not all(spooling.is_kept for spooling in mine):
            raise ConflictError("a tarball of yours is on its way already; wait for it, or delete it")
        now = _now()
        export = Export(
            id=new_id(),
            userhash=account.userhash,
            format=kind,
            state=ExportState.RUNNING,
            created_at=now,
            expires_at=now + timedelta(seconds=self._settings.spool_expiry_s),
            content=content,
        )
        beginning = asyncio.get_running_loop().create_task(self._begin(account, export, preface, by))
        self._beginning[account.userhash] = beginning
        beginning.add_done_callback(lambda _: self._beginning.pop(account.userhash))
        # It goes on though who asked leaves: a tarball that is begun and that nobody makes would be for ever.
        return await asyncio.shield(beginning)

    async def _begin(self, account: Account, export: Export, preface: bytes, by: Actor) -> Export:
        await asyncio.to_thread(self._spool.delete_expired, export.created_at)
        await self._make_room(account)
        growing = await asyncio.to_thread(self._spool.begin, export)
        task = asyncio.get_running_loop().create_task(self._fill(account, export, growing, preface, by))
        self._spooling[export.id] = _Spooling(export, task, len(preface))
        task.add_done_callback(lambda _: self._spooling.pop(export.id, None))
        await asyncio.sleep(0)  # a task that is cancelled before it begins cleans nothing up
        return export

    async def follow(
        self, account: Account, export_id: str, *, interval_s: float
    ) -> AsyncGenerator[Export, None]:
        """Tell how an export goes, now and then until it is ready or has failed, which is told last.

        Raises:
            NotFoundError: the account has none of that id, or it was deleted meanwhile.
        """
        while True:
            spooling = self._spooling.get(export_id)
            export = await self.find(account, export_id)
            yield export
            if export.state is not ExportState.RUNNING:
                return
            if spooling is not None:
                await asyncio.wait([spooling.task], timeout=interval_s)
            else:  # it is just being begun; or the disk failed when it ended, and it expires as it is
                await asyncio.sleep(interval_s)

    async def list(self, account: Account) -> Sequence[Export]:
        """The account's exports, the newest first."""
        now = _now()
        found = await asyncio.to_thread(self._spool.list, account.userhash)
        return [self._as_it_goes(export) for export in found if export.expires_at > now]

    async def find(self, account: Account, export_id: str) -> Export:
        """The account's export of that id. Raises `NotFoundError` when it has none."""
        export = await asyncio.to_thread(self._spool.find, account.userhash, export_id)
        if export is None or export.expires_at <= _now():
            raise NotFoundError("you have no such tarball; it may have expired")
        return self._as_it_goes(export)

    async def path(self, account: Account, export_id: str) -> tuple[Export, Path]:
        """A tarball that is ready, and where it is on this server's disk.

        Raises:
            NotFoundError: the account has none of that id.
            ConflictError: it is not ready.
        """
        export = await self.find(account, export_id)
        if export.state is not ExportState.READY:
            raise ConflictError(export.error or "this tarball is still on its way")
        return export, self._spool.path(export)

    async def delete(self, account: Account, export_id: str) -> None:
        """Delete an export; one that is on its way is broken off. Raises `NotFoundError`."""
        export = await self.find(account, export_id)
        await self._break_off(self._spooling.get(export.id))
        await asyncio.to_thread(self._spool.delete, export)

    async def delete_all(self, account: Account) -> None:
        """Delete all exports of an account."""
        await self._begun(account.userhash)
        for spooling in [*self._spooling.values()]:
            if spooling.export.userhash == account.userhash:
                await self._break_off(spooling)
        await asyncio.to_thread(self._spool.delete_all, account.userhash)

    async def settled(self) -> None:
        """Wait until nothing is on its way into the spool."""
        while self._spooling or self._beginning:
            spooling = [spooling.task for spooling in self._spooling.values()]
            await asyncio.wait([*self._beginning.values(), *spooling])

    async def close(self) -> None:
        """Break off what is on its way into the spool."""
        await self._begun(*self._beginning)
        for spooling in [*self._spooling.values()]:
            await self._break_off(spooling)

    async def _fill(
        self, account: Account, export: Export, growing: GrowingExport, preface: bytes, by: Actor
    ) -> None:
        log = _log.bind(userhash=account.userhash, export=export.id)
        spooling = self._spooling[export.id]
        try:
            async with self._making(account, export.format) as archive:
                spooling.archive = archive
                while data := await archive.read():
                    await asyncio.to_thread(growing.write, preface + data)
                    preface = b""
                await asyncio.to_thread(growing.finish, spooling.progress, archive.warnings)
                spooling.is_kept = True
                made = _told(export.content, export.format, archive.progress)
                self._record(account, Action.EXPORT_MADE, by, f"{made}, kept here for a while")
                log.info("export_ready", bytes=spooling.progress.bytes)
        except RootBloodError as error:
            log.warning("export_failed", cause=str(error), kept=spooling.is_kept)
            await self._fail(spooling, growing, str(error))
        except asyncio.CancelledError:
            await self._fail(spooling, growing, _STOPPED)
            raise
        except Exception:
            log.exception("export_crashed")
            await self._fail(spooling, growing, _CRASHED)

    @staticmethod
    async def _fail(spooling: _Spooling, growing: GrowingExport, cause: str) -> None:
        if spooling.is_kept:  # what failed is to stop the environment again
            return
        try:
            await asyncio.to_thread(growing.fail, cause)
        except StoreUnavailableError as error:  # the next start of the server cleans up
            _log.warning("export_not_deleted", cause=str(error))

    async def _begun(self, *userhashes: str) -> None:
        """Wait until none of those accounts is just beginning one."""
        beginning = [self._beginning[userhash] for userhash in userhashes if userhash in self._beginning]
        if beginning:
            await asyncio.wait(beginning)

    async def _make_room(self, account: Account) -> None:
        """Delete the account's oldest exports, so that with a new one it has no more than it may.

        Those that failed go first: there is nothing to lose with them.
        """
        mine = await asyncio.to_thread(self._spool.list, account.userhash)
        surplus = len(mine) - (self._settings.spool_max_of_account - 1)
        expendable = sorted(mine, key=lambda one: (one.state is not ExportState.FAILED, one.created_at))
        for export in expendable[: max(0, surplus)]:
            await asyncio.to_thread(self._spool.delete, export)

    def _as_it_goes(self, export: Export) -> Export:
        spooling = self._spooling.get(export.id)
        if export.state is not ExportState.RUNNING or spooling is None:
            return export
        return replace(export, progress=spooling.progress)

    @contextmanager
    def _counted(self, account: Account) -> Iterator[None]:
        if self._running[account.userhash] >= self._settings.max_of_account:
            raise LimitReachedError("you have tarballs on their way already; wait for one of them")
        if self._running.total() >= self._settings.max_concurrent:
            raise LimitReachedError("the server makes as many tarballs as it may now; try again in a while")
        self._running[account.userhash] += 1
        try:
            yield
        finally:
            self._running[account.userhash] -= 1
            if not self._running[account.userhash]:
                del self._running[account.userhash]

    def _level(self, kind: ArchiveFormat) -> int:
        return self._settings.gzip_level if kind is ArchiveFormat.GZIP else self._settings.zstd_level

    @staticmethod
    async def _break_off(spooling: _Spooling | None) -> None:
        if spooling is not None:
            spooling.task.cancel()
            await asyncio.wait([spooling.task])
