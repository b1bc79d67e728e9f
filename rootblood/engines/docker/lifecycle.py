"""The life of an account's container: made, started, resumed or replaced until it runs, and stopped.

A container's name is the account's, so Docker's own refusal of a second container of that name is what keeps
many tasks and servers at one container an account: whoever loses the race finds the winner's.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import docker
import structlog
from docker.errors import APIError, ImageNotFound, NotFound

from rootblood.domain.environments import (
    EnsureStep,
    Environment,
    EnvironmentState,
    Identity,
    RestartReason,
    container_name,
    home_volume_name,
)
from rootblood.engines.base import STOP_GRACE_S
from rootblood.engines.docker.client import IMAGE_MISSING, DockerClient
from rootblood.engines.docker.container import (
    INSTANCE_LABEL,
    SPEC_LABEL,
    USERHASH_LABEL,
    Arguments,
    environment_arguments,
)
from rootblood.engines.docker.exits import engine_started_at, restart_reason
from rootblood.engines.docker.images import AcceptedImages
from rootblood.engines.docker.reading import environment_of
from rootblood.engines.docker.removal import CONFLICT, remove_container
from rootblood.engines.docker.shared import Shared
from rootblood.engines.docker.streams import Streams
from rootblood.errors import EnvironmentBrokenError, ImageMissingError
from rootblood.settings import EnvironmentSettings, LimitsSettings

_log = structlog.stdlib.get_logger(__name__)

_AMBIGUOUS = "is ambiguous"
_HALF_STARTED = re.compile(r"\btask \w+: already exists|\bid already in use")
"""Docker was killed while it started that container, which its containerd remembers and it does not: it could
never be started again."""

_NO_SUCH_SOURCE = "bind source path does not exist"
_ENSURE_ATTEMPTS = 8
_ENSURE_PAUSE_S = 0.1


class Lifecycle:
    """Brings containers to run, and stops them.

    Args:
        client: of the Docker that has them.
        shared: what a container is attached to.
        streams: whose sockets are mounted in it.
        images: what it is made of.
        instance: label of the installation.
        environment: image and hardening of every environment.
        limits: what one environment may use.
    """

    def __init__(
        self,
        client: DockerClient,
        *,
        shared: Shared,
        streams: Streams,
        images: AcceptedImages,
        instance: str,
        environment: EnvironmentSettings,
        limits: LimitsSettings,
    ) -> None:
        self._docker = client
        self._shared = shared
        self._streams = streams
        self._images = images
        self._instance = instance
        self._environment = environment
        self._limits = limits

    def apply(self, environment: EnvironmentSettings, limits: LimitsSettings) -> None:
        """Take both for the next container."""
        self._environment = environment
        self._limits = limits

    async def ensure(
        self, identity: Identity, *, on_step: Callable[[EnsureStep], None] | None = None
    ) -> Environment:
        """Bring the account's container to run, from whatever state it is in."""

        def tell(step: EnsureStep) -> None:
            if on_step is not None:
                on_step(step)

        started = False
        reason: RestartReason | None = None
        for attempt in range(_ENSURE_ATTEMPTS):
            found = await self._docker.call(partial(inspect_container, userhash=identity.userhash))
            if attempt == 0 and (found is None or not found["State"]["Running"]):
                reason = await self._docker.call(
                    partial(self._why_not_running, identity=identity, found=found)
                )
            if found is None:
                tell(EnsureStep.CREATE)
                made = await self._docker.call(partial(self._create, identity=identity))
                started = made is not None and await self._docker.call(
                    partial(self._start, container_id=made)
                )
                await self._pause(attempt, needed=not started)
                continue
            environment = environment_of(found)
            match environment.state:
                case EnvironmentState.RUNNING:
                    return replace(environment, restarted=reason)
                case EnvironmentState.PAUSED:
                    tell(EnsureStep.RESUME)
                    await self._docker.call(partial(self._unpause, userhash=identity.userhash))
                case EnvironmentState.STOPPED if await self._docker.call(
                    partial(self._is_current, found=found, identity=identity)
                ):
                    if started:
                        _log.error(
                            "environment_stops_at_start", userhash=identity.userhash, state=found["State"]
                        )
                        raise EnvironmentBrokenError("your environment stops right after its start")
                    tell(EnsureStep.START)
                    started = await self._docker.call(partial(self._start, container_id=found["Id"]))
                    await self._pause(attempt, needed=not started)
                case _:
                    _log.info(
                        "environment_replaced", userhash=identity.userhash, state=found["State"]["Status"]
                    )
                    # By its ID: under its name there may be the next one already, of somebody faster.
                    await self._docker.call(partial(remove_container, container=found["Id"]))
                    started = False
                    await self._pause(attempt)
        _log.error("environment_unsettled", userhash=identity.userhash, attempts=_ENSURE_ATTEMPTS)
        raise EnvironmentBrokenError("your environment could not be started")

    async def stop(self, userhash: str, *, grace_s: float = STOP_GRACE_S) -> bool:
        """Stop the container: TERM to all that runs in it, then KILL (see the image's `idle`)."""

        def stop(api: docker.APIClient) -> bool:
            found = inspect_container(api, userhash)
            if found is None or not found["State"]["Running"]:
                return False
            if found["State"]["Paused"]:
                self._unpause(api, userhash)
            api.stop(container_name(userhash), timeout=int(grace_s))
            return True

        return await self._docker.call(stop)

    async def _pause(self, attempt: int, *, needed: bool = True) -> None:
        """Give a removal under way the time to end; longer each time, nothing at first."""
        if needed:
            await asyncio.sleep(_ENSURE_PAUSE_S * attempt)

    def _why_not_running(
        self, api: docker.APIClient, identity: Identity, found: dict[str, Any] | None
    ) -> RestartReason | None:
        """Why what had run before does not run now; None where it never did."""
        if found is not None:
            ended = restart_reason(found["State"], engine_started_at(api))
            return RestartReason.CHANGED if ended and not self._is_current(api, found, identity) else ended
        try:
            api.inspect_volume(home_volume_name(identity.userhash))
        except NotFound:
            return None
        return RestartReason.REMOVED

    def _create(self, api: docker.APIClient, identity: Identity) -> str | None:
        """Make the container and return its ID; None when somebody else made it meanwhile."""
        labels = {INSTANCE_LABEL: self._instance, USERHASH_LABEL: identity.userhash}
        api.create_volume(home_volume_name(identity.userhash), labels=labels)
        try:
            return str(api.create_container(**self._arguments(api, identity))["Id"])
        except APIError as error:
            if error.status_code == CONFLICT:
                return None
            if not self._streams.are_direct or _NO_SUCH_SOURCE not in str(error.explanation):
                raise
            self._streams.give_up_sockets(error)  # Docker sees other files than this server does
        return self._create(api, identity)

    def _start(self, api: docker.APIClient, container_id: str) -> bool:
        """Start this very container; False when that has to begin anew, as it is being or was removed."""
        try:
            api.start(container_id)
        except ImageNotFound as error:
            raise ImageMissingError(IMAGE_MISSING) from error
        except NotFound as error:  # the container, or what it is attached to
            _log.warning("environment_start_failed", container=container_id, cause=str(error))
            self._shared.make(api)
            remove_container(api, container_id)
            return False
        except APIError as error:
            if _AMBIGUOUS in str(error.explanation):  # somebody has just made another network of that name
                self._shared.make_network(api)
            elif _HALF_STARTED.search(str(error.explanation)):
                _log.warning("environment_start_failed", container=container_id, cause=str(error))
                remove_container(api, container_id)
            elif error.status_code != CONFLICT:  # marked for removal
                raise
            return False
        return True

    def _unpause(self, api: docker.APIClient, userhash: str) -> None:
        try:
            api.unpause(container_name(userhash))
        except APIError as error:
            _log.info("environment_resumed_already", userhash=userhash, cause=str(error))

    def _is_current(self, api: docker.APIClient, found: dict[str, Any], identity: Identity) -> bool:
        wanted = self._arguments(api, identity)
        return bool(found["Config"]["Labels"].get(SPEC_LABEL) == wanted["labels"][SPEC_LABEL])

    def _arguments(self, api: docker.APIClient, identity: Identity) -> Arguments:
        return environment_arguments(
            api,
            identity,
            image_id=self._images.current_id(api),
            instance=self._instance,
            settings=self._environment,
            limits=self._limits,
            sockets=self._streams.directory(identity.userhash),
        )


def inspect_container(api: docker.APIClient, userhash: str) -> dict[str, Any] | None:
    """What Docker says of the account's container; None when there is none."""
    try:
        details: dict[str, Any] = api.inspect_container(container_name(userhash))
    except NotFound:
        return None
    return details
