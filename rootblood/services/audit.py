"""The trail of what was done to each account.

A service says what it has done, in the very method that did it, and goes on: a line of the trail is kept in
memory and written in the background, together with what else came up within a second. So no login waits for
it or fails with it. A database that is away is tried again until the server stops; what could not be written
by then is in the log, as everything is. Failed logins are counted, not listed: an attacker can have one row a
minute.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Action, Actor, Event, NewEvent, new_event
from rootblood.errors import StoreUnavailableError
from rootblood.settings import AuditSettings
from rootblood.stores.base import AuditStore

_log = structlog.stdlib.get_logger(__name__)

_GATHER_S = 1.0
_RETRY_S = 10.0
"""After the database could not be written to."""

_MAX_BATCH = 500
_MAX_PENDING = 20_000
"""In memory while the database is away, about 500 bytes each; the oldest go first."""


class Record(Protocol):
    """Takes note of something that was done."""

    def __call__(self, account: Account, action: Action, by: Actor, detail: str = "") -> None:
        """Return at once, and raise nothing."""


def unrecorded(account: Account, action: Action, by: Actor, detail: str = "") -> None:
    """Take no note: for services whose trail nobody reads."""


def _now() -> datetime:
    return datetime.now(UTC)


class Audit:
    """Keeps the trails.

    Args:
        store: where.
        settings: how much, and for how long.
        now: the time; a test's own, as days pass in none.
    """

    def __init__(
        self, store: AuditStore, settings: AuditSettings, *, now: Callable[[], datetime] = _now
    ) -> None:
        self._store = store
        self._settings = settings
        self._now = now
        self._pending: deque[NewEvent] = deque()
        self._failures: dict[tuple[int, datetime], NewEvent] = {}
        """Failed logins that are not written yet, by account and minute."""

        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def apply(self, settings: AuditSettings) -> None:
        """Go by these settings from now on."""
        self._settings = settings

    def record(self, account: Account, action: Action, by: Actor, detail: str = "") -> None:
        """Take note of something that was done. Returns at once, and raises nothing.

        Args:
            account: to whom it was done.
            action: what.
            by: who did it, through which door.
            detail: more about it; cut where it is long.
        """
        event = new_event(account.uid, action, at=self._now(), by=by, detail=detail, name=account.name)
        if action is Action.LOGIN_FAILED:
            key = event.account_uid, event.minute
            before = self._failures.get(key)
            self._failures[key] = event if before is None else before.with_more(event)
        else:
            self._pending.append(event)
        while len(self._pending) + len(self._failures) > _MAX_PENDING:
            self._lose_one()
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write_later())

    async def list(self, account: Account, *, limit: int, before: int | None = None) -> Sequence[Event]:
        """The account's trail, the newest first, up to this moment.

        Args:
            account: whose.
            limit: how many at most.
            before: only those that came before the one of that id; None begins with the newest.

        Raises:
            StoreUnavailableError: nobody can tell.
        """
        await self._write()
        return await self._store.list(account.uid, limit=limit, before=before)

    async def keep_small(self, stop: asyncio.Event) -> None:
        """Delete what is too old, at intervals, until `stop`."""
        while not stop.is_set():
            try:
                await self._store.delete_before(self._now() - timedelta(days=self._settings.retention_days))
            except StoreUnavailableError as error:  # the next time, then
                _log.warning("audit_not_pruned", cause=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.prune_interval_s):
                    await stop.wait()

    async def close(self) -> None:
        """Write what is not written yet."""
        self._closing.set()
        if self._writer is not None:
            await self._writer
        try:
            await self._write()
        except StoreUnavailableError as error:
            _log.error("audit_lost", events=len(self._pending) + len(self._failures), cause=str(error))

    async def _write_later(self) -> None:
        """Write all there is a moment later, and again until it is written or the server stops."""
        delay_s = _GATHER_S
        try:
            while (self._pending or self._failures) and not self._closing.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay_s):
                        await self._closing.wait()
                try:
                    await self._write()
                    delay_s = _GATHER_S
                except StoreUnavailableError as error:
                    _log.warning("audit_not_written", cause=str(error))
                    delay_s = _RETRY_S
        finally:
            self._writer = None

    async def _write(self) -> None:
        async with self._writing:
            while self._pending or self._failures:
                failures = list(self._failures.items())[:_MAX_BATCH]
                events = [self._pending[number] for number in range(min(len(self._pending), _MAX_BATCH))]
                batch = sorted([*events, *(event for _, event in failures)], key=lambda event: event.at)
                for key, _ in failures:  # what comes in meanwhile counts anew
                    del self._failures[key]
                for _ in events:
                    self._pending.popleft()
                try:
                    await self._store.add(batch, keep=self._settings.max_rows_of_account)
                except BaseException:
                    self._pending.extendleft(reversed(events))
                    for key, event in failures:
                        later = self._failures.get(key)
                        self._failures[key] = event if later is None else event.with_more(later)
                    raise

    def _lose_one(self) -> None:
        lost = self._pending.popleft() if self._pending else self._failures.pop(next(iter(self._failures)))
        _log.error("audit_lost", uid=lost.account_uid, action=lost.action.value, at=lost.at.isoformat())
