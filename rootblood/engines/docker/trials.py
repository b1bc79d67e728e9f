"""Containers that an image is tried in: as every environment, but that nothing in them is kept.

One whose process was killed half-way is found by reconciliation, as every container that serves but a moment.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import docker
import structlog
from docker.errors import APIError, ImageNotFound

from rootblood.domain.environments import Environment, EnvironmentState, Identity
from rootblood.engines.docker.client import DockerClient
from rootblood.engines.docker.container import Arguments, trial_arguments
from rootblood.engines.docker.removal import remove_container
from rootblood.errors import EnvironmentFailedError
from rootblood.settings import EnvironmentSettings, LimitsSettings

_log = structlog.stdlib.get_logger(__name__)

_WATCH_S = 1.0
"""From its start on; a first process that does not wait, as it should, has ended by then."""


class Trials:
    """Runs them.

    Args:
        client: of the Docker that has the images.
        instance: label of the installation.
        server: what this process is called.
    """

    def __init__(self, client: DockerClient, instance: str, server: str) -> None:
        self._docker = client
        self._instance = instance
        self._server = server

    @asynccontextmanager
    async def run(
        self, identity: Identity, image_id: str, settings: EnvironmentSettings, limits: LimitsSettings
    ) -> AsyncIterator[Environment]:
        """Run one as `Engine.trial` says, hardened and limited as every environment is."""
        arguments = partial(
            trial_arguments,
            identity=identity,
            image_id=image_id,
            instance=self._instance,
            server=self._server,
            settings=settings,
            limits=limits,
        )
        container = await self._docker.call(partial(_create, arguments=arguments))
        try:
            await self._docker.call(partial(_start, container=container))
            watched = asyncio.get_running_loop().time() + _WATCH_S
            yield Environment(
                userhash=identity.userhash,
                state=EnvironmentState.RUNNING,
                engine_id=container,
                image=settings.image,
                created_at=datetime.now(UTC),
                image_id=image_id,
            )
            await asyncio.sleep(max(0.0, watched - asyncio.get_running_loop().time()))
            await self._docker.call(partial(_require_running, container=container))
        except EnvironmentFailedError:
            # What went wrong inside says less than that there is no inside any more.
            await self._docker.call(partial(_require_running, container=container))
            raise
        finally:
            await asyncio.shield(self._docker.call(partial(remove_container, container=container)))


def _create(api: docker.APIClient, arguments: Callable[[docker.APIClient], Arguments]) -> str:
    return str(api.create_container(**arguments(api))["Id"])


def _start(api: docker.APIClient, container: str) -> None:
    try:
        api.start(container)
    except ImageNotFound:
        raise
    except APIError as error:
        _log.warning("trial_not_started", cause=str(error))
        raise EnvironmentFailedError(f"it does not start: {error.explanation}") from error


def _require_running(api: docker.APIClient, container: str) -> None:
    state = api.inspect_container(container)["State"]
    # One that never started has told why already.
    if not state["Running"] and state["Status"] != "created":
        raise EnvironmentFailedError(f"its first process ends by itself, with status {state['ExitCode']}")
