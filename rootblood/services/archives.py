"""One tarball on its way out of an environment.

The program `export` of the image makes it, as the account, and frames it: pieces, progress, and at last the
outcome. Whatever comes is the account's own to forge, so it is taken apart strictly, and held to a size and
a time. An archive without a good outcome is an error to whoever reads it, never a short file.
"""

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from typing import cast

from typing_extensions import override

from rootblood.domain.complaints import Complaints
from rootblood.domain.exports import ArchiveFormat, Progress
from rootblood.errors import EnvironmentBrokenError, LimitReachedError

EXPORT_PROGRAM = "/usr/lib/rootblood/export"

_HEADER_BYTES = 5
_MAX_FRAME_BYTES = 1024 * 1024
_HELD_BYTES = 1024 * 1024
"""What may wait here to be read before the environment has to."""

_MAX_ERROR_CHARS = 500
_DATA, _PROGRESS, _END = b"d", b"p", b"e"


def export_command(kind: ArchiveFormat, level: int) -> Sequence[str]:
    """What to run in the environment for an `Archive`."""
    return [EXPORT_PROGRAM, "--frames", "--level", str(level), kind.value]


class Archive(asyncio.Protocol):
    """The reading end of an archive.

    Args:
        max_bytes: a larger one is broken off.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._transport: asyncio.Transport
        self._rest = bytearray()
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._arrived = asyncio.Event()
        self._outcome: EnvironmentBrokenError | LimitReachedError | None = None
        self._ended = False
        self.progress = Progress()
        self.warnings = Complaints()
        """What the archive lacks. Known at its end."""

    async def read(self) -> bytes:
        """All that has come since the last call, waiting for some; empty where the archive is whole.

        Raises:
            EnvironmentBrokenError: there is no whole archive, and the message says why.
            LimitReachedError: it is larger than it may be.
        """
        while not self._pieces and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        if data:
            if not self._ended:
                self._transport.resume_reading()
            return data
        if self._outcome is not None:
            raise self._outcome
        return b""

    @property
    def is_whole(self) -> bool:
        """Whether it has come to a good end, and all of it was read."""
        return self._ended and self._outcome is None and not self._pieces

    def close(self) -> None:
        """Read no more of it; what makes it ends."""
        self._transport.abort()

    # What the stream has to say.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # what every engine gives

    @override
    def data_received(self, data: bytes) -> None:
        self._rest += data
        at = 0
        while not self._ended and len(self._rest) - at >= _HEADER_BYTES:
            start = at + _HEADER_BYTES
            end = start + int.from_bytes(self._rest[at + 1 : start], "big")
            if end - start > _MAX_FRAME_BYTES:
                self._end(_broken("what it sends is no archive"))
                return
            if end > len(self._rest):
                break
            self._take(bytes(self._rest[at : at + 1]), bytes(memoryview(self._rest)[start:end]))
            at = end
        del self._rest[:at]

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._end(_broken("it was stopped, or the way into it broke off"))

    def _take(self, kind: bytes, content: bytes) -> None:
        if kind == _DATA:
            self._add(content)
            return
        try:
            told = json.loads(content)
            files = told["files"]
            if kind == _END:
                error = told["error"]
                # An environment of an older image does not say how many more there were.
                warnings = Complaints.told(told["warnings"], told.get("more_warnings", 0))
        except (ValueError, TypeError, KeyError, RecursionError):
            kind = b""
        if kind not in {_PROGRESS, _END} or type(files) is not int:
            self._end(_broken("what it sends is no archive"))
            return
        self.progress = Progress(self.progress.bytes, files)
        if kind == _END:
            self.warnings = warnings
            self._end(None if error is None else _broken(str(error)[:_MAX_ERROR_CHARS]))

    def _add(self, piece: bytes) -> None:
        self.progress = Progress(self.progress.bytes + len(piece), self.progress.files)
        if self.progress.bytes > self._max_bytes:
            self._end(
                LimitReachedError(
                    "the tarball is larger than it may be; make your home smaller, or use rsync"
                )
            )
            return
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held >= _HELD_BYTES:
            self._transport.pause_reading()
        self._arrived.set()

    def _end(self, outcome: EnvironmentBrokenError | LimitReachedError | None) -> None:
        if not self._ended:
            self._ended = True
            self._outcome = outcome
            self._arrived.set()
            self._transport.abort()


def _broken(cause: str) -> EnvironmentBrokenError:
    return EnvironmentBrokenError(f"your environment gave no whole tarball: {cause}")
