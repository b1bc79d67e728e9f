"""Why a container does not run, from what Docker says of its end."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rootblood.domain.environments import RestartReason
from rootblood.engines.docker.exits import restart_reason
from rootblood.engines.docker.reading import moment

STARTED = datetime(2026, 11, 23, 12, tzinfo=UTC)
BEFORE, AFTER = "2026-11-23T11:59:59.5Z", "2026-11-23T12:00:01.123456789Z"


def state(
    code: int = 0, started: str = AFTER, *, oom: bool = False, status: str = "exited"
) -> dict[str, Any]:
    # Docker may have ended what a crash of its own left behind only after it had started anew.
    return {"Status": status, "ExitCode": code, "OOMKilled": oom, "StartedAt": started, "FinishedAt": AFTER}


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (state(137, oom=True), RestartReason.OUT_OF_MEMORY),
        (state(137, BEFORE, oom=True), RestartReason.OUT_OF_MEMORY),
        (state(0, oom=True), RestartReason.STOPPED),  # something in it was killed, long ago
        (state(137), RestartReason.KILLED),
        (state(0), RestartReason.STOPPED),
        (state(143), RestartReason.STOPPED),
        (state(1), RestartReason.ENDED),
        (state(139), RestartReason.ENDED),
        (state(255), RestartReason.HOST),
        (state(0, BEFORE), RestartReason.HOST),
        (state(137, BEFORE), RestartReason.HOST),
        (state(1, BEFORE), RestartReason.HOST),
        (state(status="dead"), RestartReason.REMOVED),
        (state(status="removing"), RestartReason.REMOVED),
        (state(status="created", started="0001-01-01T00:00:00Z"), None),
        (state(status="running"), None),
        (state(status="paused"), None),
    ],
)
def test_an_end_has_a_reason(found: dict[str, Any], reason: RestartReason | None) -> None:
    assert reason is restart_reason(found, STARTED)


def test_without_docker_s_own_start_the_exit_code_alone_counts() -> None:
    assert RestartReason.STOPPED is restart_reason(state(0, BEFORE), None)
    assert RestartReason.HOST is restart_reason(state(255, BEFORE), None)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T12:00:00Z",
        "2026-11-23T12:00:00.123456789Z",
        "2026-11-23T13:30:00.1+01:30",
        "2026-11-23T05:00:00-07:00",
    ],
)
def test_a_time_is_read_in_any_form_docker_writes(text: str) -> None:
    assert STARTED == moment(text)
