"""Tarballs into homes: uploads, in pieces that may come over many connections, and what becomes of them.

The program `import` of the image does it all as the account, in its environment; an upload lies there too,
beside the home, so that nothing of it is ever on this server's own disk. What the program says is the
account's own to forge, and is taken apart strictly.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import structlog
from typing_extensions import override

from rootblood.domain.accounts import Account
from rootblood.domain.audit import OPERATOR, Action, Actor
from rootblood.domain.complaints import Complaints
from rootblood.domain.imports import (
    DIRECTORY_PATTERN,
    UPLOAD_ID_PATTERN,
    Destination,
    Imported,
    ImportProgress,
)
from rootblood.domain.leases import LeaseKind
from rootblood.errors import (
    ConflictError,
    EnvironmentBrokenError,
    InvalidInputError,
    LimitReachedError,
    TooLargeError,
)
from rootblood.link.pool import StepListener
from rootblood.services.audit import Record, unrecorded
from rootblood.services.environments import Environments
from rootblood.services.loans import Loans
from rootblood.settings import ImportSettings

_log = structlog.stdlib.get_logger(__name__)

IMPORT_PROGRAM = "/usr/lib/rootblood/import"

_START_TIMEOUT_S = 15.0
_ANSWER_TIMEOUT_S = 60.0
"""After the last byte of a piece, and for each to be taken: the disk may be slow."""

_MAX_ANSWER_BYTES = 256 * 1024
_MAX_TEXT_CHARS = 500


class _Program(asyncio.Protocol):
    """A run of `import`: what it is given, and the lines it answers with."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._said = bytearray()
        self._arrived = asyncio.Event()
        self._ended = False
        self._writable = asyncio.Event()
        self._writable.set()

    async def write(self, data: bytes) -> None:
        """Give it input, waiting while it takes none. Raises `EnvironmentBrokenError` if that is too long."""
        self.transport.write(data)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await self._writable.wait()
        except TimeoutError as error:
            raise _silent() from error

    @property
    def has_ended(self) -> bool:
        """Whether it takes no more input."""
        return self._ended

    async def line(self) -> dict[str, Any] | None:
        """Its next answer; None after the last. Raises `EnvironmentBrokenError` for what is none."""
        while b"\n" not in self._said and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        end = self._said.find(b"\n")
        if end < 0:
            return None
        line = bytes(self._said[:end])
        del self._said[: end + 1]
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _broken() from error
        if not isinstance(told, dict):
            raise _broken()
        return told

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # what every engine gives

    @override
    def data_received(self, data: bytes) -> None:
        self._said += data
        if len(self._said) > _MAX_ANSWER_BYTES:
            self.transport.abort()
        self._arrived.set()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._arrived.set()
        self._writable.set()

    @override
    def pause_writing(self) -> None:
        self._writable.clear()

    @override
    def resume_writing(self) -> None:
        self._writable.set()


class Imports:
    """The use cases around tarballs into homes.

    Args:
        environments: where they are unpacked.
        settings: how large, how long, how many.
        record: takes note of each that is done.
    """

    def __init__(
        self, environments: Environments, settings: ImportSettings, record: Record = unrecorded
    ) -> None:
        self._environments = environments
        self._settings = settings
        self._record = record
        self._loans = Loans(environments)
        self._receiving: Counter[str] = Counter()

    def apply(self, settings: ImportSettings) -> None:
        """Go by these settings from now on."""
        self._settings = settings

    async def size(self, account: Account, upload_id: str) -> int:
        """How many bytes of an upload are there: where its next piece begins; 0 where there is none yet.

        Raises:
            InvalidInputError: that is no id of an upload; see `rootblood.domain.imports`.
            EngineUnavailableError, ImageMissingError, EnvironmentFailedError, StoreUnavailableError: as
                `Environments.link`.
        """
        async with self._running(account, ["size", _checked(upload_id)]) as program:
            return _number(await _answer(program), "size")

    async def receive(
        self,
        account: Account,
        upload_id: str,
        offset: int,
        pieces: AsyncIterator[bytes],
        *,
        length: int | None = None,
    ) -> int:
        """Add to an upload, as it comes; what has come stays, should it break off.

        Args:
            account: whose home it is for.
            upload_id: chosen by whoever uploads.
            offset: how many bytes are there already.
            pieces: the next bytes.
            length: how many they are; None where that is not known ahead.

        Returns:
            How many bytes are there then.

        Raises:
            ConflictError: the upload is not that far, or further; ask `size`.
            TooLargeError: it is larger than it may be.
            LimitReachedError: too many are on their way now.
            InvalidInputError, EngineUnavailableError, ImageMissingError, EnvironmentFailedError,
                StoreUnavailableError: as `size`.
        """
        argv = ["receive", _checked(upload_id), str(offset)]
        self._require_size(offset + (length or 0))
        with self._counted(account):
            async with self._running(account, argv) as program:
                async for piece in pieces:
                    offset += len(piece)
                    self._require_size(offset)
                    if program.has_ended:  # it says why
                        return _number(await _answer(program), "size")
                    await program.write(piece)
                program.transport.write_eof()
                return _number(await _answer(program), "size")

    async def discard(self, account: Account, upload_id: str) -> None:
        """Forget an upload. Raises as `size`."""
        async with self._running(account, ["discard", _checked(upload_id)]) as program:
            await _answer(program)

    async def unpack(
        self,
        account: Account,
        upload_id: str,
        destination: Destination,
        *,
        on_step: StepListener | None = None,
        by: Actor = OPERATOR,
    ) -> AsyncIterator[ImportProgress | Imported]:
        """Unpack an upload, which is gone then, and tell how it goes; what is told last is what was done.

        Raises:
            ConflictError: nothing was changed, and the message says why; the upload stays.
            LimitReachedError: it took too long, and nothing was changed.
            InvalidInputError: the destination is none.
            EngineUnavailableError, ImageMissingError, EnvironmentFailedError, StoreUnavailableError: as
                `size`.
        """
        where = ["--replace"] if destination.replace else []
        if destination.directory is not None and not destination.replace:
            if DIRECTORY_PATTERN.fullmatch(destination.directory) is None:
                raise InvalidInputError("the name of the new directory is letters, digits and ._- only")
            where = ["--into", destination.directory]
        limit = ["--max-bytes", str(self._settings.max_unpacked_bytes)]
        argv = ["unpack", "--json", *limit, *where, "--upload", _checked(upload_id)]
        try:
            async with (
                asyncio.timeout(self._settings.max_s),
                self._running(account, argv, on_step=on_step) as program,
            ):
                while "error" not in (told := await _next(program)):
                    yield ImportProgress(_number(told, "bytes"), _number(told, "files"))
                _require_success(told)
                imported = _imported(told, "kept" if destination.replace else "into")
                _log.info("imported", userhash=account.userhash)
                detail = "in place of the home" if destination.replace else f"into ~/{imported.directory}"
                self._record(account, Action.IMPORT_DONE, by, detail)
                yield imported
        except TimeoutError as error:
            raise LimitReachedError("that takes too long, and nothing was changed; use rsync") from error

    async def close(self) -> None:
        """Leave the environments as they were found."""
        await self._loans.close()

    def _require_size(self, size: int) -> None:
        if size > self._settings.max_bytes:
            raise TooLargeError("the tarball is larger than it may be; use rsync")

    @contextmanager
    def _counted(self, account: Account) -> Iterator[None]:
        if self._receiving[account.userhash] >= self._settings.max_of_account:
            raise LimitReachedError("you send as many pieces at a time as you may; wait for one of them")
        if self._receiving.total() >= self._settings.max_concurrent:
            raise LimitReachedError("the server takes as many uploads as it may now; try again in a while")
        self._receiving[account.userhash] += 1
        try:
            yield
        finally:
            self._receiving[account.userhash] -= 1
            if not self._receiving[account.userhash]:
                del self._receiving[account.userhash]

    @asynccontextmanager
    async def _running(
        self, account: Account, arguments: Sequence[str], *, on_step: StepListener | None = None
    ) -> AsyncIterator[_Program]:
        async with self._loans.lent(account, LeaseKind.IMPORT, on_step=on_step):
            _, program = await self._environments.programs.open(
                account, [IMPORT_PROGRAM, *arguments], _Program, timeout_s=_START_TIMEOUT_S
            )
            try:
                yield program
            finally:
                program.transport.abort()


async def _next(program: _Program) -> dict[str, Any]:
    told = await program.line()
    if told is None:
        raise EnvironmentBrokenError("your environment was stopped, and nothing was changed; try again")
    return told


async def _answer(program: _Program) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            told = await _next(program)
    except TimeoutError as error:
        raise _silent() from error
    _require_success(told)
    return told


def _require_success(told: dict[str, Any]) -> None:
    if told.get("error") is not None:
        raise ConflictError(f"nothing was changed: {str(told['error'])[:_MAX_TEXT_CHARS]}")


def _imported(told: dict[str, Any], where: str) -> Imported:
    directory = told.get(where)
    try:
        # An environment of an older image does not say how many more there were.
        warnings = Complaints.told(told.get("warnings"), told.get("more_warnings", 0))
    except ValueError as error:
        raise _broken() from error
    if not isinstance(directory, str):
        raise _broken()
    return Imported(
        directory=directory[:_MAX_TEXT_CHARS],
        files=_number(told, "files"),
        warnings=warnings,
    )


def _number(told: dict[str, Any], name: str) -> int:
    value = told.get(name)
    if type(value) is not int or value < 0:
        raise _broken()
    return value


def _checked(upload_id: str) -> str:
    if UPLOAD_ID_PATTERN.fullmatch(upload_id) is None:
        raise InvalidInputError("the id of an upload is 32 hexadecimal digits, of your own choice")
    return upload_id


def _silent() -> EnvironmentBrokenError:
    return EnvironmentBrokenError("your environment does not answer; try again")


def _broken() -> EnvironmentBrokenError:
    return EnvironmentBrokenError("your environment gives no answer that makes sense")
