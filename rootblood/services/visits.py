"""What an account is told when it comes back: its last login, and why its environment was restarted.

None of it is worth a login. It is written in the background, and a store that is away costs a line in the
log; one that hangs is waited for no longer than a login may take.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog

from rootblood.domain.accounts import Account, Login
from rootblood.domain.audit import Action, Actor
from rootblood.domain.environments import RestartReason, StopReason
from rootblood.errors import RootBloodError
from rootblood.services.audit import Record, unrecorded
from rootblood.stores.base import VisitStore

_log = structlog.stdlib.get_logger(__name__)

_PATIENCE_S = 5.0
"""For all that one terminal is told. The store answers in milliseconds, unless the machine is busy."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A login that was recorded."""

    before: Login | None
    """The one before it; None at the first."""


@dataclass(frozen=True, slots=True)
class News:
    """What there is to tell."""

    last_login: Login | None = None
    restart: RestartReason | None = None


class Visits:
    """What is remembered of accounts between their visits.

    Args:
        store: where it is kept.
        record: keeps the accounts' trails.
    """

    def __init__(self, store: VisitStore, record: Record = unrecorded) -> None:
        self._store = store
        self._record = record
        self._tasks: set[asyncio.Task[Any]] = set()
        self._recording: dict[str, asyncio.Task[None]] = {}

    def arrive(self, account: Account, *, by: Actor, method: str = "") -> "asyncio.Task[Arrival | None]":
        """Record a login, in the background; None comes of it where that failed.

        Args:
            account: whose.
            by: through which door, and from where.
            method: how the account has shown who it is, for its trail.
        """

        async def record() -> Arrival:
            login = Login(at=datetime.now(UTC), address=by.peer or "?")
            return Arrival(before=await self._store.record_login(account.userhash, login))

        self._record(account, Action.LOGGED_IN, by, method)
        return self._start(account.userhash, record())

    async def last_login(self, account: Account) -> Login | None:
        """The account's last login, if there was one. Raises `StoreUnavailableError`."""
        return await self._store.last_login(account.userhash)

    def restarted(self, account: Account, reason: RestartReason) -> None:
        """Remember, in the background, what the account has to be told of its environment."""
        task = self._start(account.userhash, self._store.record_restart(account.userhash, reason))
        self._recording[account.userhash] = task
        task.add_done_callback(
            lambda _: self._recording.get(account.userhash) is task and self._recording.pop(account.userhash)
        )

    async def news(self, account: Account, arrival: "asyncio.Task[Arrival | None]") -> News:
        """What to tell the account at the arrival that `arrive` gave. Never fails, and never takes long."""
        recording = self._recording.get(account.userhash)
        waiting = [arrival] if recording is None else [arrival, recording]
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        await asyncio.wait(waiting, timeout=_PATIENCE_S)
        asking = self._start(account.userhash, self._store.restart(account.userhash))
        await asyncio.wait([asking], timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        arrived = arrival.result() if arrival.done() else None
        restart = asking.result() if asking.done() else None
        if arrived is None:
            return News(restart=restart)
        if arrived.before is None:
            # Nothing can have happened since a visit before the first.
            self.told(account, News(restart=restart))
            return News()
        return News(last_login=arrived.before, restart=restart)

    def told(self, account: Account, news: News) -> None:
        """Forget, in the background, what the account has been told."""
        if news.restart is not None:
            self._start(account.userhash, self._store.forget_restart(account.userhash, news.restart))

    async def stopping(self, account: Account, reason: StopReason) -> StopReason | None:
        """Remember why the environment is about to be stopped; returns what to give `not_stopped`."""
        return await self._start(account.userhash, self._store.replace_stop(account.userhash, reason))

    async def not_stopped(self, account: Account, before: StopReason | None) -> None:
        """Take back what `stopping` remembered."""
        await self._start(account.userhash, self._store.replace_stop(account.userhash, before))

    async def stop_reason(self, userhash: str) -> StopReason | None:
        """Why RootBlood stops the environment, or has stopped it. As `news`, never fails or takes long."""
        asking = self._start(userhash, self._store.stop_reason(userhash))
        await asyncio.wait([asking], timeout=_PATIENCE_S)
        return asking.result() if asking.done() else None

    async def close(self) -> None:
        """Wait for what is being written."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self, userhash: str, work: Coroutine[Any, Any, _Result]) -> "asyncio.Task[_Result | None]":
        async def logged() -> _Result | None:
            try:
                return await work
            except RootBloodError as error:
                _log.warning("visit_not_recorded", userhash=userhash, cause=str(error))
                return None

        task = asyncio.get_running_loop().create_task(logged())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
