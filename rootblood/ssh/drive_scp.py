"""The old protocol of scp on the export drive: `scp -f NAME`, which `scp -O` and pscp ask for as a command.

It says how large a file is before its first byte, and what it said it has to send. So a tarball of the home
is made in the spool first, while stderr tells how far it is. There is no word for a failure in the middle of
a file: the channel ends there, and the client with an error.
"""

import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from rootblood.domain.exports import ArchiveFormat, Export, ExportState, Progress
from rootblood.domain.rendering import moment, shown
from rootblood.errors import EnvironmentFailedError, InvalidInputError, NotFoundError, RootBloodError
from rootblood.ssh.bytestream import ByteStream
from rootblood.ssh.drive import Drive, Entry, kept_entry
from rootblood.ssh.drive_files import OpenFile
from rootblood.ssh.failures import explanation

_MAX_COMMAND_BYTES = 4096
_COMMAND = re.compile(r"scp((?: -[A-Za-z]+)*)(?: --)? (.*)", re.DOTALL)
_PIECE_BYTES = 256 * 1024
_TOLD_EVERY_S = 1.0
_MIB = 1024 * 1024
_OK = b"\0"
_FAILED = 1
_READ_ONLY = "the export drive is read-only"


@dataclass(frozen=True, slots=True)
class Request:
    """What the `scp` at the other end asks of the one it takes us for."""

    sends: bool
    """Whether it wants to send, not to fetch."""

    times: bool
    """Whether it wants to know when files were last changed."""

    patterns: tuple[str, ...]
    """What it would have a shell expand."""


def parse_command(command: bytes) -> Request | None:
    """Take the command of an `scp` apart; None where it is none. Cheap, and safe on hostile input."""
    found = _COMMAND.fullmatch(command[: _MAX_COMMAND_BYTES + 1].decode(errors="replace"))
    if found is None or len(command) > _MAX_COMMAND_BYTES:
        return None
    options, rest = found.groups()
    if ("f" in options) == ("t" in options):
        return None
    try:
        patterns = tuple(shlex.split(rest))
    except ValueError:  # a quotation without an end
        return None
    return Request("t" in options, "p" in options, patterns)


class SCPSource:
    """Serves one client.

    Args:
        drive: what there is.
        account_name: who asks.
        stream: the client's channel.
    """

    def __init__(self, drive: Drive, account_name: str, stream: ByteStream) -> None:
        self._drive = drive
        self._account_name = account_name
        self._stream = stream

    async def serve(self, request: Request) -> int:
        """Do what it asks; returns the exit status."""
        if request.sends:
            await self._complain(_READ_ONLY)
            return _FAILED
        status = 0
        if not await self._agreed():  # the other end begins
            return _FAILED
        for pattern in request.patterns:
            try:
                for entry in await self._match(pattern):
                    if not await self._send(entry, times=request.times):
                        return _FAILED
            except RootBloodError as error:
                await self._complain(f"{shown(pattern)}: {explanation(error, self._account_name)}")
                status = _FAILED
        return status

    async def _match(self, pattern: str) -> Sequence[Entry]:
        name = pattern.removeprefix("/").removeprefix("./")
        if name in {"", "."}:
            raise InvalidInputError("that is a directory; name a file")
        entries = await self._drive.entries()
        found = [entry for entry in entries if entry.name == name or fnmatchcase(entry.name, name)]
        if not found:
            raise NotFoundError("there is no such file in the export drive")
        return found

    async def _send(self, entry: Entry, *, times: bool) -> bool:
        """Send a file; False when the other end does not go along.

        Raises:
            RootBloodError: there is nothing to send.
        """
        name = entry.name
        if isinstance(entry.content, ArchiveFormat):
            entry = replace(await self._spooled(entry.content), name=name)
        size_bytes = entry.size_bytes or 0
        file = await self._drive.open(entry)
        try:
            if times:
                at = int(entry.modified_at.timestamp())
                await self._stream.send(f"T{at} 0 {at} 0\n".encode())
                if not await self._agreed():
                    return False
            await self._stream.send(f"C0600 {size_bytes} {name}\n".encode())
            if not await self._agreed():
                return False
            return await self._send_content(file, size_bytes) and await self._agreed()
        finally:
            await file.close()

    async def _send_content(self, file: OpenFile, size_bytes: int) -> bool:
        """Send so many bytes as were announced; False when there are fewer."""
        sent = 0
        while sent < size_bytes:
            try:
                piece = await file.read(sent, min(_PIECE_BYTES, size_bytes - sent))
            except RootBloodError as error:
                self._stream.tell(str(error))
                return False
            if not piece:
                self._stream.tell("the file ends before its end")
                return False
            await self._stream.send(piece)
            sent += len(piece)
        await self._stream.send(_OK)
        return True

    async def _spooled(self, kind: ArchiveFormat) -> Entry:
        """A new tarball of the spool. Raises `RootBloodError` when none comes of it."""
        begun_at = time.monotonic()
        told_at = begun_at
        export: Export | None = None
        try:
            async for export in self._drive.spool(kind):
                now = time.monotonic()
                if now - told_at >= _TOLD_EVERY_S:
                    told_at = now
                    self._tell_progress(kind, export.progress, now - begun_at)
        finally:
            if told_at != begun_at:
                self._stream.show(b"\r\n")
        if export is None or export.state is not ExportState.READY:
            raise EnvironmentFailedError((export and export.error) or "no tarball came of it")
        self._drive.tell_warnings(export.warnings)
        entry = kept_entry(export)
        self._stream.tell(f"{entry.name} is kept until {moment(export.expires_at)}")
        return entry

    def _tell_progress(self, kind: ArchiveFormat, progress: Progress, for_s: float) -> None:
        """Tell how far it is, on a line that the next one replaces."""
        mib = progress.bytes / _MIB
        line = f"{kind.file_name}: {mib:.1f} MiB, {progress.files} files, {mib / for_s:.1f} MiB/s"
        self._stream.show(f"\rrootblood: making {line:<60}".encode())

    async def _agreed(self) -> bool:
        """Whether the other end says to go on."""
        answer = await self._stream.reader.read(1)
        return answer == _OK

    async def _complain(self, message: str) -> None:
        """Say in the protocol's own way what is wrong: the client shows it, and goes on."""
        await self._stream.send(b"\x01" + f"scp: {message}\n".encode())
