"""The Engine Protocol on Docker Engine: one call of Docker's here and there, and for the rest the parts.

Each part is a module beside this one, and knows none of the others' business: `lifecycle` brings a container
to run, `shared` makes what all are attached to, `streams` enters them, and so on.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import docker
from docker.errors import APIError, NotFound

from rootblood.domain.complaints import Complaints
from rootblood.domain.environments import (
    EnsureStep,
    Environment,
    EnvironmentDetails,
    EnvironmentState,
    Identity,
    Process,
    Usage,
    Volume,
    container_name,
    home_volume_name,
    system_volume_name,
)
from rootblood.domain.events import EngineEvent
from rootblood.domain.images import Images
from rootblood.domain.reconciliation import Holding, Lack
from rootblood.engines.base import STOP_GRACE_S, EngineInfo, StreamProtocol
from rootblood.engines.docker.client import DockerClient
from rootblood.engines.docker.container import IMAGE_LABEL, INSTANCE_LABEL, USERHASH_LABEL
from rootblood.engines.docker.events import listen
from rootblood.engines.docker.exits import engine_started_at, restart_reason
from rootblood.engines.docker.holdings import Holdings
from rootblood.engines.docker.images import AcceptedImages
from rootblood.engines.docker.lifecycle import Lifecycle, inspect_container
from rootblood.engines.docker.reading import (
    STATES,
    Sample,
    details_of,
    processes_of,
    sample_of,
    usage_between,
)
from rootblood.engines.docker.removal import CONFLICT, remove_container
from rootblood.engines.docker.shared import Shared
from rootblood.engines.docker.streams import Streams
from rootblood.engines.docker.trials import Trials
from rootblood.engines.docker.volumes import Volumes
from rootblood.settings import EngineSettings, EnvironmentSettings, LimitsSettings

_SAMPLE_INTERVAL_S = 0.25
"""Between the two looks at a counter of CPU time that make a rate."""

_PS_ARGUMENTS = "-eo pid,pcpu,rss,cputimes,args --cols 256"
"""For the host's `ps`. A command line may have megabytes, so it is cut before it gets here."""


class DockerEngine:
    """Runs environments as containers of one Docker Engine.

    Args:
        engine: where Docker is, and the instance label that keeps installations apart.
        environment: image and hardening of every environment.
        limits: what one environment may use.
        socket_directory: where streams into environments may be sockets of this machine; None leaves them all
            to Docker.
        server: what this process is called: what it makes for the moment bears this, to be known as left over
            if it is killed. Empty, all that tells is age.
    """

    def __init__(
        self,
        engine: EngineSettings,
        environment: EnvironmentSettings,
        limits: LimitsSettings,
        socket_directory: Path | None = None,
        *,
        server: str = "",
    ) -> None:
        self._instance = engine.instance
        self._labels = [f"{INSTANCE_LABEL}={engine.instance}", USERHASH_LABEL]
        self._environment = environment
        self._limits = limits
        self._docker = DockerClient(engine)
        self._streams = Streams(self._docker, socket_directory, server)
        self._images = AcceptedImages(engine.instance, environment.image)
        self._shared = Shared(self._docker, engine, self._images, server, icc=environment.icc)
        self._lifecycle = Lifecycle(
            self._docker,
            shared=self._shared,
            streams=self._streams,
            images=self._images,
            instance=engine.instance,
            environment=environment,
            limits=limits,
        )
        self._volumes = Volumes(self._docker, engine.instance, server, self._images)
        self._holdings = Holdings(self._docker, self._streams, engine.instance)
        self._trials = Trials(self._docker, engine.instance, server)

    def apply(self, environment: EnvironmentSettings, limits: LimitsSettings) -> None:
        """Take both for the next container; the bridge stays as it was made."""
        self._environment = environment
        self._limits = limits
        self._lifecycle.apply(environment, limits)
        self._images.name = environment.image

    async def info(self) -> EngineInfo:
        """Ask Docker for its version and for the image."""

        def ask(api: docker.APIClient) -> EngineInfo:
            present = self._images.known(api).current is not None
            return EngineInfo(kind="docker", version=str(api.version()["Version"]), image_present=present)

        return await self._docker.call(ask)

    async def troubles(self) -> Sequence[str]:
        """Look for sockets of other servers: see `Streams.strange`."""

        def ask(api: docker.APIClient) -> Sequence[str]:
            return self._streams.strange(api.containers(filters={"label": self._labels}))

        return await self._docker.call(ask)

    async def install(self, files: Mapping[str, str], identities: Sequence[Identity]) -> None:
        """Make the network and the shared volumes, and hand files and names to the image's helper."""
        await self._shared.install(files, identities)

    async def ensure(
        self, identity: Identity, *, on_step: Callable[[EnsureStep], None] | None = None
    ) -> Environment:
        """Bring the account's container to run, from whatever state it is in."""
        return await self._lifecycle.ensure(identity, on_step=on_step)

    async def stop(self, userhash: str, *, grace_s: float = STOP_GRACE_S) -> bool:
        """Stop the container: TERM to all that runs in it, then KILL (see the image's `idle`)."""
        return await self._lifecycle.stop(userhash, grace_s=grace_s)

    async def remove(self, userhash: str) -> bool:
        """Remove the container, running or not."""
        return await self._docker.call(partial(remove_container, container=container_name(userhash)))

    async def purge_home(self, userhash: str) -> bool:
        """Delete the home volume, and the directory of the account's sockets."""

        def purge(api: docker.APIClient) -> bool:
            self._streams.forget(userhash)
            try:
                api.remove_volume(home_volume_name(userhash))
            except NotFound:
                return False
            return True

        return await self._docker.call(purge)

    async def list(self) -> list[Environment]:
        """All containers with this installation's label and a userhash."""

        def ask(api: docker.APIClient) -> list[Environment]:
            return [
                Environment(
                    userhash=row["Labels"][USERHASH_LABEL],
                    state=STATES.get(row["State"], EnvironmentState.BROKEN),
                    engine_id=row["Id"],
                    image=row["Labels"].get(IMAGE_LABEL, row["Image"]),
                    created_at=datetime.fromtimestamp(row["Created"], UTC),
                    image_id=row["ImageID"],
                )
                for row in api.containers(all=True, filters={"label": self._labels})
            ]

        return await self._docker.call(ask)

    async def inspect(self, userhash: str) -> EnvironmentDetails | None:
        """Inspect the container."""

        def ask(api: docker.APIClient) -> EnvironmentDetails | None:
            found = inspect_container(api, userhash)
            if found is None:
                return None
            details = details_of(found)
            if found["State"]["Running"]:
                return details
            return replace(details, ended=restart_reason(found["State"], engine_started_at(api)))

        return await self._docker.call(ask)

    async def stats(self, userhash: str) -> Usage | None:
        """Read the container's cgroup, twice, through Docker."""

        def read(api: docker.APIClient) -> Sample | None:
            try:
                return sample_of(api.stats(container_name(userhash), stream=False, one_shot=True))
            except NotFound:
                return None

        first = await self._docker.call(read)
        await asyncio.sleep(_SAMPLE_INTERVAL_S)
        second = await self._docker.call(read)
        return usage_between(first, second) if first is not None and second is not None else None

    async def processes(self, userhash: str) -> Sequence[Process]:
        """Run `ps` on Docker's host, through Docker."""

        def ask(api: docker.APIClient) -> Sequence[Process]:
            try:
                return processes_of(api.top(container_name(userhash), _PS_ARGUMENTS))
            except NotFound:
                return []
            except APIError as error:
                if error.status_code != CONFLICT:  # it does not run
                    raise
                return []

        return await self._docker.call(ask)

    async def open_stream(
        self,
        environment: Environment,
        argv: Sequence[str],
        protocol_factory: Callable[[], StreamProtocol],
    ) -> tuple[asyncio.Transport, StreamProtocol]:
        """Run `argv` by a container exec."""
        return await self._streams.open(environment, argv, protocol_factory)

    def events(self) -> AsyncGenerator[EngineEvent]:
        """Read Docker's stream of events, in a thread of its own."""
        return listen(self._docker.connect, self._instance)

    async def volumes(self) -> Sequence[Volume]:
        """The volumes with this installation's label."""
        return await self._volumes.list()

    async def read_volume(
        self, volume: Volume, write: Callable[[bytes], Awaitable[None]], *, compressed: bool
    ) -> Complaints:
        """Have a helper container run tar over the volume."""
        return await self._volumes.read(volume, write, compressed=compressed)

    async def write_volume(self, volume: Volume, pieces: AsyncIterable[bytes], *, compressed: bool) -> None:
        """Make the volume anew and have a helper container run tar in it."""
        await self._volumes.write(volume, pieces, compressed=compressed)

    async def images(self) -> Images:
        """What the name of the settings stands for, and what is tagged as accepted."""
        return await self._docker.call(self._images.known)

    def trial(self, identity: Identity, image_id: str) -> AbstractAsyncContextManager[Environment]:
        """Run a container with its home in memory."""
        return self._trials.run(identity, image_id, self._environment, self._limits)

    async def accept_image(self, image_id: str) -> None:
        """Tag the image, and the one before it."""
        await self._docker.call(partial(self._images.accept, image_id=image_id))

    async def forget(self) -> None:
        """Remove the containers, and the volume with their names and keys."""
        for environment in await self.list():
            await self.remove(environment.userhash)

        def remove(api: docker.APIClient) -> None:
            with suppress(NotFound):
                api.remove_volume(system_volume_name(self._instance))

        await self._docker.call(remove)

    async def holdings(self) -> Sequence[Holding]:
        """The containers with this installation's label, and the socket directories."""
        return await self._holdings.list()

    async def discard(self, holding: Holding) -> bool:
        """Stop and remove the container, or delete the socket or directory."""
        return await self._holdings.discard(holding)

    async def lacks(self) -> Sequence[Lack]:
        """Look for the network and the two volumes."""
        return await self._holdings.lacks()

    async def close(self) -> None:
        """End the thread pool."""
        self._docker.close()
