"""What is a crash loop, how long a login waits, and what ends the wait."""

import re

import pytest

from rootblood.errors import EnvironmentBrokenError
from rootblood.services.crashes import CrashLoops
from rootblood.settings import CrashLoopSettings
from tests.fakes.clocks import Clocks

ALICE, BOB = "a" * 32, "b" * 32


@pytest.fixture
def clock() -> Clocks:
    return Clocks()


@pytest.fixture
def loops(clock: Clocks) -> CrashLoops:
    settings = CrashLoopSettings(ends=3, within_s=60, first_wait_s=10, max_wait_s=30)
    return CrashLoops(settings, clock.monotonic)


def wait(loops: CrashLoops, userhash: str = ALICE) -> str | None:
    """What a login is told to wait; None where it is let in."""
    try:
        loops.let_in(userhash)
    except EnvironmentBrokenError as error:
        found = re.search(r"in (\d+ s)$", str(error))
        assert found is not None
        return found[1]
    return None


def test_so_many_ends_in_a_row_are_a_loop_of_that_environment_alone(loops: CrashLoops) -> None:
    for _ in range(3):
        assert None is wait(loops)
        loops.ended(ALICE, 1.0)
    with pytest.raises(
        EnvironmentBrokenError,
        match=r"^your environment ended by itself 3 times, each time soon after its start; "
        r"a login starts it again in 11 s$",
    ):
        loops.let_in(ALICE)
    assert None is wait(loops, BOB)


def test_the_wait_ends_and_doubles_with_each_further_end_up_to_a_bound(
    loops: CrashLoops, clock: Clocks
) -> None:
    for _ in range(2):
        loops.ended(ALICE, 1.0)
    waits = []
    for _ in range(4):
        loops.ended(ALICE, 1.0)
        waits.append(wait(loops))
        clock.sleep(31)
        assert None is wait(loops)
        loops.started(ALICE)
    assert ["11 s", "21 s", "31 s", "31 s"] == waits


def test_one_that_ran_for_long_begins_anew(loops: CrashLoops) -> None:
    for ran_s in (1.0, 1.0, 61.0, 1.0, 1.0):
        loops.ended(ALICE, ran_s)
    assert None is wait(loops)


def test_one_of_which_nobody_knows_how_long_it_ran_changes_nothing(loops: CrashLoops) -> None:
    for ran_s in (1.0, None, 1.0, None, 1.0):
        loops.ended(ALICE, ran_s)
    assert wait(loops)


def test_whoever_may_begins_anew_here_or_at_another_server(loops: CrashLoops) -> None:
    for end in (loops.forget, loops.started):
        for _ in range(3):
            loops.ended(ALICE, 1.0)
        assert wait(loops)
        end(ALICE)
        assert None is wait(loops)


def test_a_login_let_in_just_before_word_of_an_end_came_does_not_end_the_wait(loops: CrashLoops) -> None:
    loops.ended(ALICE, 1.0)
    loops.ended(ALICE, 1.0)
    assert None is wait(loops)
    loops.ended(ALICE, 1.0)
    loops.started(ALICE)
    assert wait(loops)


def test_a_login_at_another_server_whose_wait_is_over_a_moment_sooner_does_not_end_it_either(
    loops: CrashLoops, clock: Clocks
) -> None:
    for _ in range(3):
        loops.ended(ALICE, 1.0)
    clock.sleep(9.5)
    loops.started(ALICE)
    loops.ended(ALICE, 1.0)
    assert "21 s" == wait(loops)
