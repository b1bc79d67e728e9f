"""Why an environment has ended since somebody came in: known, waited for, or never told."""

import asyncio
import time

from rootblood.domain.environments import RestartReason
from rootblood.engines.base import STOP_GRACE_S
from rootblood.services.ends import Ends
from tests.fakes.clocks import Clocks

ALICE, BOB = "a" * 32, "b" * 32


async def test_what_is_known_is_told_at_once_to_those_who_were_there() -> None:
    ends, came_in = Ends(), time.monotonic()
    await ends.notice(ALICE, RestartReason.KILLED)
    assert RestartReason.KILLED is await ends.since(ALICE, came_in, patience_s=0)
    assert None is await ends.since(BOB, came_in, patience_s=0)
    assert None is await ends.since(ALICE, time.monotonic(), patience_s=0.01)


async def test_word_that_comes_later_is_waited_for() -> None:
    ends, came_in = Ends(), time.monotonic()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        asked = [group.create_task(ends.since(ALICE, came_in, patience_s=9)) for _ in range(3)]
        await asyncio.sleep(0)
        await ends.notice(BOB, RestartReason.KILLED)
        await ends.notice(ALICE, RestartReason.OUT_OF_MEMORY)
    assert [RestartReason.OUT_OF_MEMORY] * 3 == [task.result() for task in asked]


async def test_of_two_words_on_one_end_the_last_counts() -> None:
    ends, came_in = Ends(), time.monotonic()
    await ends.notice(ALICE, RestartReason.STOPPED)
    await ends.notice(ALICE, RestartReason.ADMINISTRATOR)
    assert RestartReason.ADMINISTRATOR is await ends.since(ALICE, came_in, patience_s=0)


async def test_nobody_waits_for_ever() -> None:
    assert None is await Ends().since(ALICE, time.monotonic(), patience_s=0.01)


async def test_what_breaks_off_much_later_does_so_of_itself() -> None:
    clocks = Clocks()
    ends, came_in = Ends(clocks.monotonic), clocks.own_s
    await ends.notice(ALICE, RestartReason.KILLED)
    clocks.sleep(STOP_GRACE_S)
    assert RestartReason.KILLED is await ends.since(ALICE, came_in, patience_s=0)
    clocks.sleep(5)
    assert None is await ends.since(ALICE, came_in, patience_s=0)
