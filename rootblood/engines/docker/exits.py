"""Why a container does not run any more, read from what Docker keeps of its end."""

from datetime import datetime
from typing import Any

import docker
from docker.errors import APIError

from rootblood.domain.environments import RestartReason
from rootblood.engines.docker.reading import moment

_KILLED = 128 + 9
_TERMINATED = 128 + 15
_LOST = 255
"""What Docker notes of a container that it found dead when it started itself."""

_RAN_BEFORE = {"exited", "dead", "removing", "restarting"}


def restart_reason(state: dict[str, Any], engine_started: datetime | None) -> RestartReason | None:
    """Why a container with that `State` (Docker API, ContainerInspect) has to be started again.

    Args:
        state: of the container.
        engine_started: when Docker itself did, with nothing running. What was started before that could not
            go on in any case; after a crash Docker may only come to end it a moment later.

    Returns:
        None where it runs or is paused, or has never run.
    """
    if state["Status"] not in _RAN_BEFORE:
        return None
    if state["Status"] != "exited":
        return RestartReason.REMOVED
    code = state["ExitCode"]
    # Some versions set OOMKilled for good when any process of the container was ever killed for memory.
    if state["OOMKilled"] and code == _KILLED:
        return RestartReason.OUT_OF_MEMORY
    if code == _LOST or (engine_started is not None and moment(state["StartedAt"]) < engine_started):
        return RestartReason.HOST
    if code == _KILLED:
        return RestartReason.KILLED
    # The image's first process ends with 0 when it is told to stop, and only then.
    return RestartReason.STOPPED if code in {0, _TERMINATED} else RestartReason.ENDED


def engine_started_at(api: docker.APIClient) -> datetime | None:
    """When Docker was started; None where it does not show.

    The API does not tell, but Docker makes its default bridge anew at each start that finds no container
    running, and such a start is the one that matters here.
    """
    try:
        return moment(api.inspect_network("bridge")["Created"])
    except APIError:  # most often as it is configured to have none; not worth a start in any case
        return None
