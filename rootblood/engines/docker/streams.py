"""Streams into containers: sockets of this machine where it can have them, Docker's own elsewhere."""

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import structlog
from docker.errors import APIError

from rootblood.domain.environments import Environment
from rootblood.engines.base import StreamProtocol
from rootblood.engines.docker.client import DockerClient
from rootblood.engines.docker.direct import (
    SOCKET_DIRECTORY,
    Execution,
    Listener,
    SocketDirectories,
    connecting,
)
from rootblood.engines.docker.frames import StderrLog, take_socket
from rootblood.errors import EnvironmentBrokenError, EnvironmentFailedError

_log = structlog.stdlib.get_logger(__name__)

_NOT_RUNNING = (404, 409)
"""What an exec is answered in a container that is gone, stopped or paused."""


class Streams:
    """Opens streams.

    Args:
        client: of the Docker that runs the containers.
        socket_directory: where sockets may be; None leaves all streams to Docker.
    """

    def __init__(self, client: DockerClient, socket_directory: Path | None) -> None:
        self._docker = client
        self._directories = SocketDirectories(socket_directory) if socket_directory is not None else None

    @property
    def are_direct(self) -> bool:
        """Whether sockets are tried."""
        return self._directories is not None

    def directory(self, userhash: str) -> Path | None:
        """What an account's container has to have mounted for its sockets, if anything. Blocks."""
        try:
            return None if self._directories is None else self._directories.of(userhash)
        except OSError as error:
            self.give_up_sockets(error)
            return None

    def strange(self, containers: Iterable[Mapping[str, Any]]) -> Sequence[str]:
        """What there is to say of containers that have sockets, but not of this server's: a line each.

        They are entered through Docker, and made anew by whichever server starts them next.

        Args:
            containers: as Docker lists them (Docker API, ContainerList).
        """
        own = None if self._directories is None else self._directories.root
        found = {
            Path(mount["Source"]).parent
            for container in containers
            for mount in container["Mounts"]
            if mount["Destination"] == SOCKET_DIRECTORY
        }
        return [
            f"environments run with sockets in {directory}, of another server or a former state_dir: where "
            "several servers share them, each needs engine.direct_streams = false; else stop them once"
            for directory in sorted(found - {own})
        ]

    def forget(self, userhash: str) -> None:
        """Delete what there is for an account that has no container any more. Blocks."""
        if self._directories is not None:
            try:
                self._directories.forget(userhash)
            except OSError as error:
                raise EnvironmentFailedError("the sockets of the environment are not deleted") from error

    def give_up_sockets(self, cause: Exception) -> None:
        """Leave all streams to Docker from now on."""
        _log.warning("direct_streams_given_up", cause=str(cause))
        self._directories = None

    async def open(
        self,
        environment: Environment,
        argv: Sequence[str],
        protocol_factory: Callable[[], StreamProtocol],
    ) -> tuple[asyncio.Transport, StreamProtocol]:
        """Run `argv` by a container exec, and connect a protocol to it. See `Engine.open_stream`."""
        on_stderr = StderrLog(_log.bind(userhash=environment.userhash))

        def run(api: docker.APIClient, argv: Sequence[str]) -> Execution:
            try:
                execution = api.exec_create(environment.engine_id, list(argv), stdin=True)
            except APIError as error:
                if error.status_code not in _NOT_RUNNING:
                    raise
                _log.warning("environment_not_running", userhash=environment.userhash, cause=str(error))
                raise EnvironmentBrokenError("your environment has just stopped; try again") from error
            return Execution(*take_socket(api.exec_start(execution["Id"], socket=True)), on_stderr)

        def start(api: docker.APIClient) -> tuple[Execution, socket.socket | None]:
            listener = self._listen(environment.userhash)
            if listener is None:
                return run(api, argv), None
            with closing(listener):
                execution = run(api, connecting(listener.name, argv))
                try:
                    return execution, listener.accept(execution, api.timeout)
                except TimeoutError as error:
                    execution.socket.close()
                    raise EnvironmentFailedError("your environment does not answer; try again") from error

        execution, connected = await self._docker.call(start)
        inner = protocol_factory()
        return await execution.connect(inner, connected), inner

    def _listen(self, userhash: str) -> Listener | None:
        try:
            return None if self._directories is None else self._directories.listen(userhash)
        except OSError as error:
            self.give_up_sockets(error)
            return None
