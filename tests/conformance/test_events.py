"""What is told of environments while it happens, on every engine."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from rootblood.domain.environments import Identity, RestartReason
from rootblood.domain.events import EngineEvent, EventKind
from rootblood.engines.base import Engine
from rootblood.engines.docker.engine import DockerEngine
from rootblood.settings import EngineSettings, EnvironmentSettings, LimitsSettings
from tests.conformance.rigs import DockerRig, Rig
from tests.e2e.proxy import EngineProxy, engine_proxy

TOLD_S = 60
"""On a busy machine; what users are promised is measured elsewhere."""


@asynccontextmanager
async def listening(engine: Engine) -> AsyncIterator[AsyncGenerator[EngineEvent]]:
    async with aclosing(engine.events()) as events:
        async with asyncio.timeout(TOLD_S):
            assert EventKind.LISTENING is (await anext(events)).kind
        yield events


async def end_of(events: AsyncGenerator[EngineEvent], alice: Identity) -> tuple[list[EventKind], EngineEvent]:
    """The next end of alice's environment, and the kinds of what was told of it before."""
    kinds: list[EventKind] = []
    async with asyncio.timeout(TOLD_S):
        async for event in events:
            if event.userhash != alice.userhash:
                continue
            if event.kind is EventKind.ENDED:
                return kinds, event
            kinds.append(event.kind)
    raise AssertionError("the events ended")


async def test_each_end_is_told_with_its_reason(rig: Rig, alice: Identity) -> None:
    def by_hand(hand: Callable[[str], None]) -> Callable[[str], object]:
        return lambda userhash: asyncio.to_thread(hand, userhash)

    ends: list[tuple[Callable[[str], object], RestartReason]] = [
        (rig.engine.stop, RestartReason.STOPPED),
        (by_hand(rig.kill), RestartReason.KILLED),
        (by_hand(rig.remove), RestartReason.REMOVED),
        (rig.engine.remove, RestartReason.REMOVED),
    ]
    async with listening(rig.engine) as events:
        for end, reason in ends:
            await rig.engine.ensure(alice)
            await end(alice.userhash)  # type: ignore[misc] # an awaitable, whichever
            before, told = await end_of(events, alice)
            assert EventKind.STARTED in before
            assert (reason, True) == (told.reason, told.asked)
            assert told.exit_status in {0, 137}
            assert told.ran_s is None or 0 <= told.ran_s < TOLD_S


async def test_whoever_listens_is_told_and_another_installation_is_not(rig: Rig, alice: Identity) -> None:
    other = rig.sibling()
    async with listening(rig.engine) as one, listening(rig.engine) as two, listening(other) as foreign:
        await rig.engine.ensure(alice)
        await asyncio.to_thread(rig.pause, alice.userhash)
        await rig.engine.remove(alice.userhash)
        for events in (one, two):
            before, _ = await end_of(events, alice)
            assert EventKind.PAUSED in before
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await anext(foreign)
    await other.close()


async def test_after_docker_was_away_that_is_said_and_what_was_missed_is_told_late(
    instance: str, docker_rig: DockerRig, alice: Identity, tmp_path: Path
) -> None:
    with engine_proxy(tmp_path / "docker.sock") as proxy:
        far = DockerEngine(
            EngineSettings(instance=instance, url=proxy.url), EnvironmentSettings(), LimitsSettings()
        )
        await docker_rig.engine.ensure(alice)
        async with listening(far) as events:
            await asyncio.to_thread(proxy.cut)
            await asyncio.to_thread(docker_rig.kill, alice.userhash)
            await asyncio.to_thread(proxy.open)
            told: list[EngineEvent] = []
            async with asyncio.timeout(TOLD_S):
                while not told or told[-1].kind is not EventKind.ENDED:
                    event = await anext(events)
                    told += [event] * (event.userhash in {alice.userhash, ""})
            kinds = [event.kind for event in told]
            assert 1 == kinds.count(EventKind.LISTENING)
            assert kinds.count(EventKind.STARTED) <= 1  # of the last second before, but not twice
            assert (RestartReason.KILLED, True) == (told[-1].reason, told[-1].asked)
        await far.close()


async def test_an_engine_that_is_away_is_waited_for(tmp_path: Path) -> None:
    proxy = EngineProxy(tmp_path / "docker.sock")
    far = DockerEngine(EngineSettings(url=proxy.url), EnvironmentSettings(), LimitsSettings())
    async with aclosing(far.events()) as events, asyncio.timeout(TOLD_S):
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)  # it has tried in vain, or tries in a moment: both are to do
        await asyncio.to_thread(proxy.open)
        assert EventKind.LISTENING is (await first).kind
    await asyncio.to_thread(proxy.cut)
    await far.close()


async def test_who_stops_listening_while_it_is_away_does_not_wait_for_it(tmp_path: Path) -> None:
    far = DockerEngine(
        EngineSettings(url=f"unix://{tmp_path}/absent.sock"), EnvironmentSettings(), LimitsSettings()
    )
    async with aclosing(far.events()) as events:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await anext(events)
    assert [] == [thread for thread in threading.enumerate() if thread.name == "docker-events"]
    await far.close()
