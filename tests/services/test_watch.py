"""What happens to environments, noticed: links are dropped, reasons told, crash loops held up."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest
from structlog.testing import capture_logs

from rootblood.domain.environments import EnvironmentState, RestartReason, StopReason
from rootblood.domain.events import EngineEvent, EventKind
from rootblood.errors import EnvironmentBrokenError
from rootblood.services.environments import Environments
from rootblood.services.watch import Watch
from rootblood.settings import CrashLoopSettings, LinkSettings
from tests.fakes.reaping import Ground

TOLD_S = 60
ENDS = 3


@dataclass
class Server:
    """What one process has of its own, and what it has shown on terminals."""

    ground: Ground
    environments: Environments = field(init=False)
    watch: Watch = field(init=False)
    shown: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.environments = Environments(
            engine=self.ground.engine,
            store=self.ground.store,
            visits=self.ground.visits,
            keys=self.ground.keys,
            settings=LinkSettings(),
            crash_loop=CrashLoopSettings(ends=ENDS, first_wait_s=60),
        )
        self.watch = Watch(self.ground.engine, self.environments, self.ground.visits)
        self.watch.subscribe(lambda userhash, text: self.shown.append((userhash, text)))

    async def why_ended(self, since: float) -> RestartReason | None:
        return await self.environments.ends.since(self.ground.alice.userhash, since, patience_s=TOLD_S)

    async def hear_all(self) -> None:
        """Wait until all that was told so far is done with."""
        mark = secrets.token_hex(16)
        self.ground.engine.tell(EngineEvent(EventKind.PAUSED, mark))
        await until(lambda: self.shown and self.shown[-1][0] == mark)
        self.shown.pop()

    async def enter(self) -> None:
        """Come in, and leave at once."""
        async with self.environments.link(self.ground.alice):
            pass


@pytest.fixture
async def server(ground: Ground) -> AsyncIterator[Server]:
    made, stop = Server(ground), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(made.watch.watch(stop))
        await until(lambda: ground.engine.host.listeners)
        yield made
        stop.set()
    assert [] == ground.engine.host.listeners
    await made.environments.close()


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until `condition` holds."""
    async with asyncio.timeout(TOLD_S):
        while not condition():  # noqa: ASYNC110 - what it asks for has no event
            await asyncio.sleep(0.005)


async def test_the_link_of_what_ended_is_dropped_even_where_nothing_breaks_it(
    ground: Ground, server: Server
) -> None:
    alice, came_in = ground.alice.userhash, time.monotonic()
    async with server.environments.link(ground.alice) as link:
        # The far end of the link stays: as with an engine whose streams outlive the container for a while.
        found = ground.engine.host.containers[alice][1]
        ground.engine._set(replace(found, state=EnvironmentState.STOPPED))
        ground.engine.host.ends[alice] = RestartReason.KILLED
        ground.engine.tell(EngineEvent(EventKind.ENDED, alice, reason=RestartReason.KILLED, asked=True))
        async with asyncio.timeout(TOLD_S):
            await link.wait_lost()
    assert RestartReason.KILLED is await server.why_ended(came_in)


async def test_what_was_started_again_meanwhile_keeps_its_link(ground: Ground, server: Server) -> None:
    came_in = time.monotonic()
    async with server.environments.link(ground.alice) as link:
        event = EngineEvent(EventKind.ENDED, ground.alice.userhash, reason=RestartReason.KILLED, asked=True)
        ground.engine.tell(event)
        assert RestartReason.KILLED is await server.why_ended(came_in)
        await server.hear_all()
        assert link.is_open


@pytest.mark.parametrize("reason", StopReason)
@pytest.mark.parametrize("end", ["stop", "remove"])
async def test_who_asked_for_a_stop_is_told_in_place_of_what_the_engine_saw(
    ground: Ground, server: Server, end: str, reason: StopReason
) -> None:
    await server.enter()
    came_in = time.monotonic()
    other = Server(ground)  # the command line, say
    ends = {"stop": other.environments.stop, "remove": other.environments.remove}
    assert await ends[end](ground.alice, reason)
    assert reason.value == await server.why_ended(came_in)
    await other.environments.close()


async def test_an_end_that_nobody_asked_for_is_not_laid_to_who_asked_for_an_earlier_one(
    ground: Ground, server: Server
) -> None:
    await server.enter()
    await server.environments.stop(ground.alice, StopReason.ADMINISTRATOR)
    await server.hear_all()
    came_in = time.monotonic()
    event = EngineEvent(
        EventKind.ENDED, ground.alice.userhash, reason=RestartReason.OUT_OF_MEMORY, ran_s=1000.0
    )
    ground.engine.tell(event)
    assert RestartReason.OUT_OF_MEMORY is await server.why_ended(came_in)


@pytest.mark.parametrize("removed", [False, True])
async def test_what_ended_while_events_were_missed_is_found(
    ground: Ground, server: Server, *, removed: bool
) -> None:
    alice, came_in = ground.alice.userhash, time.monotonic()
    async with server.environments.link(ground.alice) as link:
        missed, ground.engine.host.listeners = ground.engine.host.listeners, []
        if removed:
            ground.engine.remove_by_hand(alice)
        else:
            ground.engine.end_by_hand(alice, RestartReason.HOST)
        ground.engine.host.listeners = missed
        ground.engine.tell(EngineEvent(EventKind.LISTENING))
        expected = RestartReason.REMOVED if removed else RestartReason.HOST
        assert expected is await server.why_ended(came_in)
        async with asyncio.timeout(TOLD_S):
            await link.wait_lost()


async def test_who_is_in_an_environment_that_lives_on_is_told_once_in_a_while(
    ground: Ground, server: Server
) -> None:
    for kind in (EventKind.OUT_OF_MEMORY, EventKind.OUT_OF_MEMORY, EventKind.PAUSED):
        ground.engine.tell(EngineEvent(kind, ground.alice.userhash))
    ground.engine.tell(EngineEvent(EventKind.OUT_OF_MEMORY, "b" * 32))
    await until(lambda: len(server.shown) >= 3)
    assert [
        (ground.alice.userhash, "rootblood: out of memory: a program in your environment was killed"),
        (ground.alice.userhash, "rootblood: your environment was paused; it goes on with your next login"),
        ("b" * 32, "rootblood: out of memory: a program in your environment was killed"),
    ] == server.shown


async def test_a_new_start_is_told_of_anew(ground: Ground, server: Server) -> None:
    for kind in (EventKind.OUT_OF_MEMORY, EventKind.STARTED, EventKind.OUT_OF_MEMORY):
        ground.engine.tell(EngineEvent(kind, ground.alice.userhash))
    await until(lambda: len(server.shown) == 2)


async def test_an_engine_or_a_listener_that_fails_does_not_end_the_watch(
    ground: Ground, server: Server
) -> None:
    def fail(_userhash: str, _text: str) -> None:
        raise ZeroDivisionError

    await server.enter()
    server.watch._listeners.insert(0, fail)
    with capture_logs() as logs:
        ground.engine.tell(EngineEvent(EventKind.OUT_OF_MEMORY, ground.alice.userhash))
        ground.engine.away = True
        ground.engine.tell(EngineEvent(EventKind.LISTENING))
        await until(lambda: len(logs) == 2)
    assert ["watch_crashed", "event_not_followed"] == [line["event"] for line in logs]
    came_in = time.monotonic()
    event = EngineEvent(EventKind.ENDED, ground.alice.userhash, reason=RestartReason.KILLED, ran_s=1.0)
    ground.engine.tell(event)
    assert RestartReason.KILLED is await server.why_ended(came_in)
    assert [] == server.shown


async def test_a_crash_loop_holds_up_logins_until_somebody_who_may_starts_it(
    ground: Ground, server: Server
) -> None:
    alice = ground.alice
    for restart in (server.environments.start, server.environments.restart):
        for _ in range(ENDS):
            await server.enter()
            came_in = time.monotonic()
            ground.engine.end_by_hand(alice.userhash, RestartReason.ENDED, asked=False)
            assert RestartReason.ENDED is await server.why_ended(came_in)
            await server.hear_all()
        with pytest.raises(EnvironmentBrokenError, match="ended by itself 3 times"):
            await server.enter()
        await restart(alice)
        await server.enter()


async def test_an_administrator_who_removes_it_ends_the_wait_at_every_server(
    ground: Ground, server: Server
) -> None:
    await server.enter()
    for _ in range(ENDS):
        event = EngineEvent(EventKind.ENDED, ground.alice.userhash, reason=RestartReason.ENDED, ran_s=1.0)
        ground.engine.tell(event)
    await server.hear_all()
    ground.engine.end_by_hand(ground.alice.userhash, asked=False)
    await server.hear_all()
    with pytest.raises(EnvironmentBrokenError):
        await server.enter()
    assert await ground.engine.remove(ground.alice.userhash)
    await server.hear_all()
    await server.enter()


async def test_a_paused_one_is_resumed_by_the_next_login_though_its_link_looks_good(
    ground: Ground, server: Server
) -> None:
    async with server.environments.link(ground.alice) as link:
        ground.engine.pause_by_hand(ground.alice.userhash)
        await until(lambda: server.shown)
        await server.enter()
        assert ground.runs
        assert link.is_open


async def test_what_somebody_ends_is_no_crash_loop(ground: Ground, server: Server) -> None:
    for _ in range(ENDS + 1):
        await server.enter()
        came_in = time.monotonic()
        ground.engine.end_by_hand(ground.alice.userhash)
        assert RestartReason.KILLED is await server.why_ended(came_in)
        await server.hear_all()
