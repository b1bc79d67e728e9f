"""The export service as the drive sees it: what there is, and a stream that says what a test wants."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import asyncssh

from rootblood.domain.accounts import Account, AccountState
from rootblood.domain.audit import OPERATOR, Actor, Door
from rootblood.domain.complaints import Complaints
from rootblood.domain.exports import ArchiveFormat, Export, ExportState, Progress
from rootblood.errors import LimitReachedError, RootBloodError
from rootblood.services.archives import Archive
from rootblood.services.exports import Exports
from rootblood.ssh.bytestream import ByteStream
from rootblood.ssh.drive import Drive

VISITOR = Actor(Door.SSH, "192.0.2.7")
MADE_AT = datetime(2026, 11, 23, 18, 4, 5, tzinfo=UTC)


def make_account(name: str = "alice") -> Account:
    return Account(
        name=name,
        uid=20001,
        userhash="5a" * 16,
        state=AccountState.ACTIVE,
        admin=False,
        password_hash=None,
        published=True,
        created_at=MADE_AT,
    )


def ready(content: bytes, export_id: str = "3f0c" * 8, kind: ArchiveFormat = ArchiveFormat.GZIP) -> Export:
    """A tarball in the spool."""
    return Export(
        id=export_id,
        userhash="5a" * 16,
        format=kind,
        state=ExportState.READY,
        created_at=MADE_AT,
        expires_at=MADE_AT + timedelta(days=1),
        progress=Progress(len(content), 3),
        sha256=hashlib.sha256(content).hexdigest(),
    )


class FakeArchive:
    """A tarball that comes in the pieces it was given, and ends well or with an error."""

    def __init__(self, pieces: Sequence[bytes], error: RootBloodError | None = None) -> None:
        self._pieces = list(pieces)
        self._error = error
        self.warnings = Complaints(("./sock: socket ignored",))

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        if self._pieces:
            return self._pieces.pop(0)
        if self._error is not None:
            raise self._error
        return b""


class FakeExports:
    """Gives what a test put there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.archive = FakeArchive([])
        self.refusal: RootBloodError | None = None
        self.farewell: RootBloodError | None = None
        """How a stream ends."""

        self.running = 0
        self.actors: list[Actor] = []
        """Who asked for tarballs."""

        self.kept: list[Export] = []
        self.to_come: list[Export] = []
        """What `follow` tells of a tarball that is spooled."""

    def keep(self, content: bytes, export: Export | None = None) -> Export:
        """Have a tarball in the spool."""
        kept = export or ready(content)
        (self.directory / kept.id).write_bytes(content)
        self.kept.append(kept)
        return kept

    async def list(self, _account: Account) -> list[Export]:
        return self.kept

    async def path(self, _account: Account, export_id: str) -> tuple[Export, Path]:
        return next(export for export in self.kept if export.id == export_id), self.directory / export_id

    @asynccontextmanager
    async def stream(
        self, _account: Account, _kind: ArchiveFormat, *, by: Actor = OPERATOR
    ) -> AsyncIterator[Archive]:
        self.actors.append(by)
        if self.refusal is not None:
            raise self.refusal
        self.running += 1
        try:
            yield cast("Archive", self.archive)
        finally:
            self.running -= 1
        if self.farewell is not None:
            raise self.farewell

    async def spool(self, _account: Account, kind: ArchiveFormat, *, by: Actor = OPERATOR) -> Export:
        self.actors.append(by)
        if self.refusal is not None:
            raise self.refusal
        return replace(ready(b""), state=ExportState.RUNNING, format=kind)

    async def follow(self, _account: Account, _export_id: str, *, interval_s: float) -> AsyncIterator[Export]:
        del interval_s
        for export in self.to_come:
            yield export


class FakeChannel:
    """A client's channel: what was sent on it."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.told = bytearray()
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.sent += data

    def write_stderr(self, data: bytes) -> None:
        self.told += data

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def make_stream(channel: FakeChannel) -> ByteStream:
    return ByteStream(cast("asyncssh.SSHServerChannel[bytes]", channel), terminal=False)


def make_drive(exports: FakeExports, stream: ByteStream) -> Drive:
    async def account() -> Account:
        return make_account()

    loop = asyncio.get_running_loop()
    return Drive(cast("Exports", exports), account, loop.create_task, stream.tell, VISITOR)


TOO_MANY = LimitReachedError("you have tarballs on their way already; wait for one of them")
