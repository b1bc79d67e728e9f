"""Leases and reaper under any sequence of events: no use is cut off, and all that is idle stops in time."""

import asyncio
import os
import shutil
import tempfile
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rootblood.domain.audit import Actor, Door
from rootblood.domain.leases import LeaseKind
from rootblood.services.reaper import Verdict
from tests.fakes.reaping import LEASES, REAPER, Ground, Server, made_ground

RB = Actor(Door.RB)
INTERVAL_S = int(REAPER.interval_s)
HEARTBEAT_S = int(LEASES.heartbeat_s)

EXAMPLES = int(os.environ.get("EXAMPLES", "25"))

SLACK_S = int(LEASES.ttl_s) + 3 * INTERVAL_S
"""How much later than the settings say a stop may come: lapsing, being seen, a clock that was set back."""


class Reaping(RuleBasedStateMachine):
    """Two servers, of which either may die and begin anew, and people who come and go."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.stack = AsyncExitStack()
        self.ground: Ground
        self.servers: list[Server] = []
        self.dead: list[Server] = []
        self.uses: list[tuple[Server, AbstractAsyncContextManager[None]]] = []
        self.lost: list[AbstractAsyncContextManager[None]] = []
        """Uses of servers that died."""

        self.busy = False

    @initialize()
    def begin(self) -> None:
        async def begin() -> None:
            self.ground = await self.stack.enter_async_context(made_ground(self.directory, self.template))
            await self.ground.start()
            self.servers = [self.ground.server(), self.ground.server()]

        self.runner.run(begin())

    @rule(number=st.integers(0, 1), kind=st.sampled_from([LeaseKind.SSH, LeaseKind.WEB, LeaseKind.EXPORT]))
    def come_in(self, number: int, kind: LeaseKind) -> None:
        async def come_in() -> None:
            server = self.servers[number]
            use = server.leases.hold(self.ground.alice, kind, "")
            await use.__aenter__()
            self.uses.append((server, use))
            await server.environments.start(self.ground.alice, by=RB)

        self.runner.run(come_in())
        assert self.ground.runs

    @precondition(lambda self: self.uses)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        _, use = self.uses.pop(data.draw(st.integers(0, len(self.uses) - 1)))
        self.runner.run(_left(use))

    @rule(number=st.integers(0, 1))
    def die_and_begin_anew(self, number: int) -> None:
        async def die() -> None:
            died = self.servers[number]
            self.servers[number] = self.ground.server()
            self.dead.append(died)
            self.lost += [use for server, use in self.uses if server is died]
            self.uses = [entry for entry in self.uses if entry[0] is not died]

        self.runner.run(die())

    @rule(for_s=st.sampled_from([60, 600, 1800]))
    def keep(self, for_s: int) -> None:
        self.runner.run(self.servers[0].outlooks.keep(self.ground.alice, for_s, by=RB))

    @rule()
    def end_keep(self) -> None:
        self.runner.run(self.servers[1].outlooks.end_keep(self.ground.alice, by=RB))

    @rule(busy=st.booleans())
    def work(self, busy: bool) -> None:  # noqa: FBT001 - hypothesis's way
        self.busy = busy

    @rule(seconds=st.sampled_from([-24 * 3600, -30, 30, 300, 24 * 3600]))
    def clock_jumps(self, seconds: int) -> None:
        self.ground.clocks.jump(seconds)

    @rule(number=st.integers(0, 1))
    def look(self, number: int) -> None:
        self.runner.run(self._look(number))

    @rule(number=st.integers(0, 1), minutes=st.integers(1, 12), looking=st.booleans())
    def time_passes(self, number: int, minutes: int, looking: bool) -> None:  # noqa: FBT001
        self.runner.run(self._pass(minutes * 60, number if looking else None))

    def teardown(self) -> None:
        async def end() -> None:
            try:
                if self.servers:
                    await self._wait_out()
            finally:
                for server in [*self.servers, *self.dead]:
                    await server.leases.close()
                for use in [*self.lost, *(use for _, use in self.uses)]:
                    await _left(use)
                for server in [*self.servers, *self.dead]:
                    await server.environments.close()
                await self.stack.aclose()

        self.runner.run(end())
        self.runner.close()
        shutil.rmtree(self.directory)

    async def _wait_out(self) -> None:
        """Once nobody uses it, it is stopped in time; one that works, in more time."""
        for _, use in self.uses:
            await _left(use)
        self.uses.clear()
        await self.servers[0].outlooks.end_keep(self.ground.alice, by=RB)
        bound_s = int(REAPER.max_unattended_s if self.busy else REAPER.idle_stop_s)
        await self._pass(bound_s + SLACK_S, 0)
        assert not self.ground.runs

    async def _pass(self, seconds: int, number: int | None) -> None:
        """Let time pass: living servers renew, and one may look, as often as they do by themselves."""
        for passed in range(HEARTBEAT_S, seconds + 1, HEARTBEAT_S):
            self.ground.clocks.sleep(HEARTBEAT_S)
            if self.busy and self.ground.runs:
                self.ground.work(HEARTBEAT_S)
            for server in self.servers:
                await server.leases.renew()
            if number is not None and passed % INTERVAL_S == 0:
                await self._look(number)
                if not self.ground.runs:
                    return

    async def _look(self, number: int) -> None:
        ran = self.ground.runs
        wanted = bool(self.uses) or await self._kept()
        findings = await self.servers[number].reaper.look()
        assert Verdict.FAILED not in {found.verdict for found in findings}
        if ran and wanted:
            assert self.ground.runs

    async def _kept(self) -> bool:
        outlook = await self.servers[0].outlooks.of(self.ground.alice, running=True)
        return outlook.kept_until is not None


async def _left(use: AbstractAsyncContextManager[None]) -> None:
    await use.__aexit__(None, None, None)


def test_no_sequence_stops_what_is_in_use_and_each_idle_one_is_stopped(template: Path) -> None:
    Reaping.template = template
    run_state_machine_as_test(
        Reaping, settings=settings(max_examples=EXAMPLES, stateful_step_count=25, deadline=None)
    )
