"""Uploads that are unpacked while nobody waits for it, and what became of them.

Unpacking may take an hour, and who asked for it comes back by another request. What is remembered is a few
values in memory: a restart of the server forgets them, as it breaks off what runs; an upload that was not
unpacked is still there then, and one that is gone was.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.audit import OPERATOR, Actor
from rootblood.domain.imports import Destination, Imported, Unpacking, UnpackingState
from rootblood.errors import ConflictError, LimitReachedError, NotFoundError, RootBloodError
from rootblood.services.imports import Imports

_log = structlog.stdlib.get_logger(__name__)

_REMEMBERED_S = 3600.0
_MAX_REMEMBERED = 1000
"""Of all accounts; the oldest that has ended goes first. No account has more than one that runs."""

_CRASHED = "internal error; your administrator finds it in the log"


@dataclass(slots=True)
class _Record:
    unpacking: Unpacking
    task: "asyncio.Task[None] | None" = None
    ended_at: float | None = None


class Unpackings:
    """Unpacks uploads in the background.

    Args:
        imports: does it.
        clock: seconds that only ever grow; a test's own.
    """

    def __init__(self, imports: Imports, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._imports = imports
        self._clock = clock
        self._records: dict[tuple[str, str], _Record] = {}
        """By userhash and upload, the oldest first."""

    async def begin(
        self, account: Account, upload_id: str, destination: Destination, *, by: Actor = OPERATOR
    ) -> Unpacking:
        """Begin to unpack an upload. Ask `find` how it goes.

        Raises:
            ConflictError: one of the account's is being unpacked.
            NotFoundError: there is no such upload.
            LimitReachedError: too many are being unpacked.
            InvalidInputError, EngineUnavailableError, ImageMissingError, EnvironmentFailedError,
                StoreUnavailableError: as `Imports.size`.
        """
        self._require_turn(account)
        if not await self._imports.size(account, upload_id):
            raise NotFoundError("there is no such upload; send it first")
        self._require_turn(account)  # nothing is waited for from here on
        self._forget()
        record = _Record(Unpacking(upload_id, destination))
        key = account.userhash, upload_id
        self._records.pop(key, None)
        self._records[key] = record
        record.task = asyncio.get_running_loop().create_task(self._unpack(account, record, by))
        return record.unpacking

    def find(self, account: Account, upload_id: str) -> Unpacking | None:
        """What becomes of an upload, or became of it; None where nothing is known of it."""
        self._forget()
        record = self._records.get((account.userhash, upload_id))
        return record.unpacking if record is not None else None

    def forget(self, account: Account, upload_id: str) -> None:
        """Remember no more what became of an upload: another one of its id is there."""
        record = self._records.get((account.userhash, upload_id))
        if record is not None and record.ended_at is not None:
            del self._records[account.userhash, upload_id]

    async def settled(self) -> None:
        """Wait until nothing is being unpacked."""
        while tasks := self._running():
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Break off what is being unpacked."""
        tasks = self._running()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _running(self) -> "list[asyncio.Task[None]]":
        return [record.task for record in self._records.values() if record.task is not None]

    async def _unpack(self, account: Account, record: _Record, by: Actor) -> None:
        begun = record.unpacking
        try:
            async for told in self._imports.unpack(account, begun.upload_id, begun.destination, by=by):
                if isinstance(told, Imported):
                    record.unpacking = replace(record.unpacking, state=UnpackingState.DONE, imported=told)
                else:
                    record.unpacking = replace(record.unpacking, progress=told)
        except RootBloodError as error:
            _log.info("import_failed", userhash=account.userhash, cause=str(error))
            self._fail(record, str(error))
        except Exception:  # noqa: BLE001 - the edge
            _log.exception("import_crashed", userhash=account.userhash)
            self._fail(record, _CRASHED)
        finally:
            record.task = None
            record.ended_at = self._clock()

    @staticmethod
    def _fail(record: _Record, cause: str) -> None:
        record.unpacking = replace(record.unpacking, state=UnpackingState.FAILED, error=cause)

    def _require_turn(self, account: Account) -> None:
        running = [userhash for (userhash, _), record in self._records.items() if record.ended_at is None]
        if account.userhash in running:
            raise ConflictError("a tarball of yours is being unpacked; wait for its end")
        if len(running) >= _MAX_REMEMBERED:
            raise LimitReachedError("the server unpacks as many tarballs as it may now; try again in a while")

    def _forget(self) -> None:
        """Drop what ended long ago, and the oldest of what is too much."""
        now = self._clock()
        ended = [
            (key, record.ended_at) for key, record in self._records.items() if record.ended_at is not None
        ]
        surplus = len(self._records) - _MAX_REMEMBERED + 1
        for number, (key, ended_at) in enumerate(ended):
            if number < surplus or now - ended_at > _REMEMBERED_S:
                del self._records[key]
