"""What happens to containers, read from Docker's stream of events while it happens.

The SDK blocks for as long as nothing happens, so the stream has a thread of its own, and a client of its own:
no call waits for it. When Docker goes away the thread tries again, less often each time, and asks for what
came since the last event it has seen. Docker keeps some of that, unless it was itself restarted.

Docker tells of one end in several events (Docker API, SystemEvents): `kill` with the signal it was asked to
send, `oom` once the kernel has killed a process, `die` with the exit status. What they mean together, and
with what Docker then knows of the container, is found here, at once: its next start wipes it out.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any

import docker
import requests
import structlog
from docker.errors import DockerException, NotFound
from docker.types.daemon import CancellableStream

from rootblood.domain.environments import RestartReason
from rootblood.domain.events import EngineEvent, EventKind
from rootblood.engines.docker.container import INSTANCE_LABEL, USERHASH_LABEL
from rootblood.engines.docker.reading import moment

_log = structlog.stdlib.get_logger(__name__)

_KINDS = {
    "start": EventKind.STARTED,
    "kill": EventKind.STOPPING,
    "oom": EventKind.OUT_OF_MEMORY,
    "die": EventKind.ENDED,
    "pause": EventKind.PAUSED,
    "destroy": EventKind.REMOVED,
}
"""By Docker's actions, and no others are asked for."""

_TERM, _KILL = 15, 9
_KILLED = 128 + _KILL
_GOING = {"removing", "dead"}

_OUT_OF_MEMORY_S = 2
"""From the kernel's kill of a first process to the end that it makes: more than Docker takes to tell."""

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_CLOSE_S = 2.0
"""For the thread to end: it may be waiting for a Docker that does not answer, and ends with that."""

_NS_PER_S = 10**9

_OVERLAP_S = 1.0
"""Asked for again after an interruption: Docker's events are not quite in the order of their times."""

_REMEMBERED = 1024
"""Events that are known again when they are told twice; Docker keeps 256."""


class Translation:
    """Makes our events of Docker's.

    Args:
        state_of: gives the `State` of a container by its ID (Docker API, ContainerInspect); None where there
            is no such container any more.
    """

    def __init__(self, state_of: Callable[[str], Mapping[str, Any] | None]) -> None:
        self._state_of = state_of
        self._signals: dict[str, int] = {}
        """By container: the first signal to end it that Docker was asked to send."""

        self._out_of_memory: dict[str, int] = {}
        """By container: when the kernel last killed a process in it for want of memory."""

    def of(self, told: Mapping[str, Any]) -> EngineEvent | None:
        """What one event of Docker's says; None where that is nothing to us."""
        container, attributes = told["Actor"]["ID"], told["Actor"]["Attributes"]
        userhash = attributes[USERHASH_LABEL]
        match told["Action"]:
            case "die":
                return self._end(container, userhash, int(attributes["exitCode"]), told["timeNano"])
            case "kill":
                signal = int(attributes["signal"])
                if signal in {_TERM, _KILL}:
                    self._signals.setdefault(container, signal)
                if signal != _TERM:  # KILL's end comes at once
                    return None
            case "oom":
                self._out_of_memory[container] = told["timeNano"]
            case "start" | "destroy":
                self._forget(container)
        return EngineEvent(_KINDS[told["Action"]], userhash)

    def _end(self, container: str, userhash: str, status: int, at_ns: int) -> EngineEvent:
        state = self._state_of(container)
        signal = self._signals.get(container)
        if state is None or state["Status"] in _GOING:
            reason = RestartReason.REMOVED
        elif signal is not None:
            reason = RestartReason.STOPPED if signal == _TERM else RestartReason.KILLED
        elif status == _KILLED:
            since_ns = at_ns - self._out_of_memory.get(container, 0)
            out_of_memory = since_ns <= _OUT_OF_MEMORY_S * _NS_PER_S
            reason = RestartReason.OUT_OF_MEMORY if out_of_memory else RestartReason.KILLED
        else:
            reason = RestartReason.ENDED
        self._forget(container)
        return EngineEvent(
            EventKind.ENDED,
            userhash,
            reason=reason,
            asked=signal is not None,
            exit_status=status,
            ran_s=None if state is None else _seconds_until(at_ns, moment(state["StartedAt"])),
        )

    def _forget(self, container: str) -> None:
        self._signals.pop(container, None)
        self._out_of_memory.pop(container, None)


class _Reader:
    """Reads the stream until it is told to end; all but `close` and the constructor is for its thread."""

    def __init__(
        self,
        connect: Callable[[], docker.APIClient],
        instance: str,
        tell: Callable[[EngineEvent], None],
    ) -> None:
        self._connect = connect
        self._instance = instance
        self._tell = tell
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._stream: CancellableStream[dict[str, Any]] | None = None
        self._since_s = datetime.now(UTC).timestamp()
        self._told: deque[tuple[int, str, str]] = deque(maxlen=_REMEMBERED)
        self._thread = threading.Thread(target=self._run, name="docker-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. Blocks, for two seconds at most."""
        self._ending.set()
        with self._lock:
            if self._stream is not None:
                with suppress(OSError):  # Docker has closed it meanwhile
                    self._stream.close()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._ending.is_set():
            try:
                with closing(self._connect()) as api:
                    if self._read(api):
                        pause_s = _FIRST_PAUSE_S
                cause = "the stream of events ended"
            except (requests.RequestException, DockerException, OSError, ValueError) as error:
                cause = str(error)
            except Exception as error:  # noqa: BLE001 - the edge
                # Without this thread nobody would ever hear of anything.
                _log.exception("events_crashed")
                cause = str(error)
            if not self._ending.is_set():
                _log.warning("events_interrupted", cause=cause, again_in_s=pause_s)
            self._ending.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _read(self, api: docker.APIClient) -> bool:
        """Read one stream to its end; whether there was one."""
        stream = api.events(
            since=int(self._since_s),
            filters={
                "type": ["container"],
                "label": [f"{INSTANCE_LABEL}={self._instance}", USERHASH_LABEL],
                "event": [*_KINDS],
            },
            decode=True,
        )
        with self._lock:
            self._stream = stream
        try:
            if self._ending.is_set():  # before there was a stream to close
                return False
            self._tell(EngineEvent(EventKind.LISTENING))
            translation = Translation(lambda container: _state(api, container))
            for told in stream:
                name = (told["timeNano"], told["Actor"]["ID"], told["Action"])
                if name in self._told:
                    continue  # before the interruption, too
                self._told.append(name)
                self._since_s = told["timeNano"] / _NS_PER_S - _OVERLAP_S
                event = translation.of(told)
                if event is not None:
                    self._tell(event)
        finally:
            with self._lock:
                self._stream = None
        return True


async def listen(connect: Callable[[], docker.APIClient], instance: str) -> AsyncGenerator[EngineEvent]:
    """Yield what happens to the containers of an installation; see `Engine.events`.

    Args:
        connect: makes a client, blocking.
        instance: label of the installation.
    """
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[EngineEvent] = asyncio.Queue()

    def tell(event: EngineEvent) -> None:
        loop.call_soon_threadsafe(events.put_nowait, event)

    reader = _Reader(connect, instance, tell)
    try:
        while True:
            yield await events.get()
    finally:
        await asyncio.to_thread(reader.close)


def _state(api: docker.APIClient, container: str) -> Mapping[str, Any] | None:
    try:
        state: Mapping[str, Any] = api.inspect_container(container)["State"]
    except NotFound:
        return None
    return state


def _seconds_until(at_ns: int, started_at: datetime) -> float | None:
    """From a container's start; None where it has been started again since."""
    seconds = at_ns / _NS_PER_S - started_at.timestamp()
    return seconds if seconds >= 0 else None
