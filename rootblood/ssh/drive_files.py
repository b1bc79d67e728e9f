"""What a client of the export drive has open: a text, a tarball of the spool, or one that is being made.

The last kind is a stream behind the face of a file, so it is read from its beginning to its end. Clients ask
for many pieces ahead, and some a little out of order: what was read last is kept for those that come late,
and what comes early is waited for. What the stream cannot give is an error, and so is the end of a tarball
that is not whole: there is never a short file that looks like a good one.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from rootblood.domain.complaints import Complaints
from rootblood.errors import ConflictError, RootBloodError, StoreUnavailableError
from rootblood.services.archives import Archive

KEPT_BYTES = 4 * 1024 * 1024
"""Of a tarball in the making, what has been read and may be asked for again."""

AHEAD_BYTES = 4 * 1024 * 1024
"""How far beyond what has been made a client may ask."""

_LAST_OFFSET = 2**63 - 1
"""Of a file on Linux."""

Start = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""Runs work as a task of the client's connection."""


class OpenFile(Protocol):
    """A file that is open, for one reader at a time."""

    async def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on, or as many as there are; empty at the end.

        Raises:
            RootBloodError: they cannot be had.
        """

    async def close(self) -> None:
        """Let go of it; returns once that is done.

        Raises:
            RootBloodError: it is done, and the client has reason to take what it has read for incomplete.
        """


class TextFile:
    """A file whose content is known."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, offset: int, size: int) -> bytes:
        """As `OpenFile.read`."""
        return self._content[offset : offset + size]

    async def close(self) -> None:
        """As `OpenFile.close`."""


class SpooledFile:
    """A tarball on this server's disk; deleted meanwhile, it is still there for who has it open."""

    def __init__(self, path: Path) -> None:
        """Open it, which blocks. Raises `StoreUnavailableError` when the disk fails."""
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise StoreUnavailableError("the server's disk does not give this tarball") from error

    async def read(self, offset: int, size: int) -> bytes:
        """As `OpenFile.read`."""
        try:
            return await asyncio.to_thread(
                os.pread, self._file.fileno(), size, min(offset, _LAST_OFFSET - size)
            )
        except OSError as error:
            raise StoreUnavailableError("the server's disk does not give this tarball") from error

    async def close(self) -> None:
        """As `OpenFile.close`."""
        self._file.close()


class LiveFile:
    """A tarball that is made while it is read.

    Args:
        name: what the client knows it by.
        instead: what the client is told to do when it asks for what a stream cannot give.
        ended: called with what the whole tarball lacks, once.
    """

    def __init__(self, name: str, instead: str, ended: Callable[[Complaints], None]) -> None:
        self._name = name
        self._instead = instead
        self._ended = ended
        self._archive: Archive | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._closing = asyncio.Event()
        self._failure: RootBloodError | None = None
        self._complained = False
        self._whole = False
        self._kept = bytearray()
        self._kept_from = 0
        self._given = 0
        """Up to where anything has been given away."""

    async def open(self, stream: AbstractAsyncContextManager[Archive], start: Start) -> None:
        """Begin to make it. Raises as `Exports.stream`.

        The stream belongs to a task of its own: its time limit cancels the task that entered it, which must
        not be the one that serves the client.
        """
        self._task = start(self._hold(stream))
        try:
            await self._ready.wait()
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if self._failure is not None:
            raise self._failure

    async def read(self, offset: int, size: int) -> bytes:
        """As `OpenFile.read`; errors as `Archive.read`.

        Raises:
            ConflictError: it is a piece from too far back, or too far ahead.
        """
        if self._failure is not None:
            raise self._failure
        # Who begins elsewhere has the beginning of another tarball, and would go on with this one.
        fresh = self._given == 0 and offset > 0
        if fresh or offset < self._kept_from or (offset > self._made + AHEAD_BYTES and not self._whole):
            self._complained = True
            raise ConflictError(f"{self._name} is made as it is read, from its beginning; {self._instead}")
        while self._made < offset + size and not self._whole:
            await self._make_more()
        at = offset - self._kept_from
        piece = bytes(self._kept[at : at + size])
        self._given = max(self._given, offset + len(piece))
        surplus = min(len(self._kept) - KEPT_BYTES, self._given - self._kept_from)
        if surplus > 0:
            del self._kept[:surplus]
            self._kept_from += surplus
        return piece

    async def close(self) -> None:
        """As `OpenFile.close`; what makes the tarball ends.

        Raises:
            ConflictError: nothing was read. sshfs takes a file without a size for an empty one, and so would
                who reads it.
        """
        await self._end()
        if self._given == 0 and not (self._whole or self._complained):
            raise ConflictError(
                f"nothing was read of {self._name}, whose size is not known; "
                f"{self._instead} (with sshfs, -o direct_io)"
            )

    async def _end(self) -> None:
        self._closing.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    @property
    def _made(self) -> int:
        return self._kept_from + len(self._kept)

    async def _make_more(self) -> None:
        if self._archive is None:
            raise ConflictError(f"{self._name} is not open")
        try:
            data = await self._archive.read()
        except RootBloodError as error:
            await self._end()  # the reason of a stream that took too long is known at its end
            self._failure = self._failure or error
            self._complained = True
            raise self._failure from error
        self._kept += data
        if not data:
            self._whole = True
            self._ended(self._archive.warnings)

    async def _hold(self, stream: AbstractAsyncContextManager[Archive]) -> None:
        try:
            async with stream as self._archive:
                self._ready.set()
                await self._closing.wait()
        except RootBloodError as error:
            self._failure = error
        finally:
            self._ready.set()
