"""Notices what happens to environments: tells those who are in one, and drops the links of one that ended.

The engine tells every server of all that happens, whoever did it: the kernel, an operator past RootBlood,
another server, this one. Only RootBlood's own database knows who asked RootBlood for a stop. Nothing is
written here, so that of several servers none has to be the one that does: why an environment is started again
is found by whoever starts it, under the account's lock.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

import structlog

from rootblood.domain.environments import RestartReason
from rootblood.domain.events import EngineEvent, EventKind
from rootblood.engines.base import Engine
from rootblood.errors import RootBloodError
from rootblood.link.waiting import first_of
from rootblood.services.environments import Environments
from rootblood.services.visits import Visits

_log = structlog.stdlib.get_logger(__name__)

_NOTICE_INTERVAL_S = 10.0
"""Between two notices of one kind: the kernel may kill process after process."""

_NOTICES = {
    EventKind.OUT_OF_MEMORY: "rootblood: out of memory: a program in your environment was killed",
    EventKind.PAUSED: "rootblood: your environment was paused; it goes on with your next login",
}

Listener = Callable[[str, str], None]
"""Shows a line on the terminals of an account, given by its userhash."""


class Watch:
    """Watches one engine.

    Args:
        engine: tells what happens.
        environments: have links to drop, and remember ends.
        visits: know who asked RootBlood for a stop.
    """

    def __init__(self, engine: Engine, environments: Environments, visits: Visits) -> None:
        self._engine = engine
        self._environments = environments
        self._visits = visits
        self._ends = environments.ends
        self._crash_loops = environments.crash_loops
        self._listeners: list[Listener] = []
        self._noticed: dict[tuple[str, EventKind], float] = {}

    def subscribe(self, listener: Listener) -> None:
        """Have what concerns who is in an environment that lives on shown by `listener`."""
        self._listeners.append(listener)

    async def watch(self, stop: asyncio.Event) -> None:
        """Watch until `stop`."""
        await first_of(self._follow(), stop.wait())

    async def _follow(self) -> None:
        async with aclosing(self._engine.events()) as events:
            async for event in events:
                try:
                    await self._take(event)
                except RootBloodError as error:  # its links end by themselves, or fail at their next use
                    _log.warning("event_not_followed", userhash=event.userhash, cause=str(error))
                except Exception:  # noqa: BLE001 - the edge
                    # One event that brings a defect to light must not keep the others from being heard.
                    _log.exception("watch_crashed", userhash=event.userhash)

    async def _take(self, event: EngineEvent) -> None:
        match event.kind:
            case EventKind.LISTENING:
                await self._look_anew()
            case EventKind.STARTED:
                self._crash_loops.started(event.userhash)
                for kind in _NOTICES:
                    self._noticed.pop((event.userhash, kind), None)
            case EventKind.STOPPING:
                asked_for = await self._asked_for(event.userhash)
                await self._ends.notice(event.userhash, asked_for or RestartReason.STOPPED)
            case EventKind.ENDED:
                await self._end(event)
            case EventKind.REMOVED:
                self._crash_loops.forget(event.userhash)
            case EventKind.PAUSED:
                self._environments.links.renew(event.userhash)
                self._tell(event)
            case EventKind.OUT_OF_MEMORY:
                self._tell(event)

    async def _end(self, event: EngineEvent) -> None:
        reason = event.reason or RestartReason.ENDED
        _log.info(
            "environment_ended",
            userhash=event.userhash,
            reason=reason.value,
            exit_status=event.exit_status,
            ran_s=event.ran_s,
        )
        if event.asked:
            self._crash_loops.forget(event.userhash)
            reason = await self._asked_for(event.userhash) or reason
        else:
            self._crash_loops.ended(event.userhash, event.ran_s)
        await self._ends.notice(event.userhash, reason)
        await self._environments.links.drop(event.userhash)

    async def _look_anew(self) -> None:
        """Find out which of the environments with links do not run any more: nobody may have said so."""
        for userhash in self._environments.links.linked():
            details = await self._engine.inspect(userhash)
            if details is not None and details.environment.state.is_alive:
                continue
            ended = RestartReason.REMOVED if details is None else details.ended
            reason = await self._asked_for(userhash) or ended or RestartReason.ENDED
            await self._ends.notice(userhash, reason)
            await self._environments.links.drop(userhash)

    async def _asked_for(self, userhash: str) -> RestartReason | None:
        """Who asked RootBlood for the stop that is under way, or over; None where nobody did."""
        reason = await self._visits.stop_reason(userhash)
        return RestartReason(reason) if reason is not None else None

    def _tell(self, event: EngineEvent) -> None:
        now, key = time.monotonic(), (event.userhash, event.kind)
        if now - self._noticed.get(key, -_NOTICE_INTERVAL_S) < _NOTICE_INTERVAL_S:
            return
        self._noticed = {
            other: at for other, at in self._noticed.items() if now - at < _NOTICE_INTERVAL_S
        } | {key: now}
        for listener in self._listeners:
            listener(event.userhash, _NOTICES[event.kind])
