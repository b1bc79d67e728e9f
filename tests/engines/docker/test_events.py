"""What Docker's events say together, in the orders in which Docker tells them."""

from typing import Any

import pytest

from rootblood.domain.environments import RestartReason
from rootblood.domain.events import EngineEvent, EventKind
from rootblood.engines.docker.events import Translation

STARTED_AT = 1_795_633_220
EXITED = {"Status": "exited", "StartedAt": "2026-11-25T19:00:20.744636932Z"}


def told(action: str, at_s: int = STARTED_AT + 30, **attributes: str) -> dict[str, Any]:
    """An event of Docker's (Docker API, SystemEvents), as far as it is looked at."""
    return {
        "Action": action,
        "Actor": {"ID": "c" * 64, "Attributes": {"rootblood.userhash": "a" * 32, **attributes}},
        "timeNano": at_s * 10**9,
    }


def translated(*events: dict[str, Any], state: dict[str, Any] | None = EXITED) -> list[EngineEvent]:
    translation = Translation({"c" * 64: state}.get)
    return [event for event in map(translation.of, events) if event is not None]


KILL, TERM = told("kill", signal="9"), told("kill", signal="15")
KILLED, IN_ORDER, FAILED = (told("die", exitCode=status) for status in ("137", "0", "1"))


@pytest.mark.parametrize(
    ("events", "reason", "asked"),
    [
        ([TERM, IN_ORDER], RestartReason.STOPPED, True),
        ([TERM, KILL, KILLED], RestartReason.STOPPED, True),
        ([KILL, KILLED], RestartReason.KILLED, True),
        ([told("oom"), KILL, KILLED], RestartReason.KILLED, True),
        ([told("oom"), KILLED], RestartReason.OUT_OF_MEMORY, False),
        ([told("oom"), FAILED], RestartReason.ENDED, False),
        ([told("oom", STARTED_AT + 20), KILLED], RestartReason.KILLED, False),
        ([KILLED], RestartReason.KILLED, False),
        ([IN_ORDER], RestartReason.ENDED, False),
        ([told("kill", signal="1"), IN_ORDER], RestartReason.ENDED, False),
        ([TERM, told("oom"), told("start"), KILLED], RestartReason.KILLED, False),
    ],
)
def test_an_end_has_the_reason_that_came_first(
    events: list[dict[str, Any]], reason: RestartReason, *, asked: bool
) -> None:
    end = translated(*events)[-1]
    assert (EventKind.ENDED, reason, asked) == (end.kind, end.reason, end.asked)


@pytest.mark.parametrize("state", [None, {**EXITED, "Status": "removing"}, {**EXITED, "Status": "dead"}])
def test_what_is_being_removed_was_removed(state: dict[str, Any] | None) -> None:
    assert RestartReason.REMOVED is translated(KILL, KILLED, state=state)[-1].reason


def test_an_end_has_a_status_and_a_time() -> None:
    (end,) = translated(FAILED)
    assert (1, 30.0) == (end.exit_status, end.ran_s)
    again = {"Status": "running", "StartedAt": "2026-11-25T19:00:51.5Z"}
    assert None is translated(KILLED, state=again)[0].ran_s


def test_all_that_may_concern_somebody_is_told_and_other_signals_are_not() -> None:
    events = translated(told("start"), told("pause"), told("oom"), TERM, told("kill", signal="28"))
    events += translated(told("destroy"))
    assert [
        EngineEvent(kind, "a" * 32)
        for kind in (
            EventKind.STARTED,
            EventKind.PAUSED,
            EventKind.OUT_OF_MEMORY,
            EventKind.STOPPING,
            EventKind.REMOVED,
        )
    ] == events
