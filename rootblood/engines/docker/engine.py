"""The Engine Protocol on Docker Engine.

A container's name is the account's, so Docker's own refusal of a second container of that name is what keeps
many tasks and servers at one container an account: whoever loses the race finds the winner's.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import docker
import structlog
from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import IPAMConfig, IPAMPool

from rootblood.domain.environments import (
    EnsureStep,
    Environment,
    EnvironmentDetails,
    EnvironmentState,
    Identity,
    Process,
    RestartReason,
    Usage,
    Volume,
    container_name,
    home_volume_name,
    network_name,
    shared_volume_name,
    system_volume_name,
)
from rootblood.domain.events import EngineEvent
from rootblood.domain.images import Images
from rootblood.domain.reconciliation import Holding, Lack
from rootblood.engines.base import STOP_GRACE_S, EngineInfo, StreamProtocol
from rootblood.engines.docker.client import IMAGE_MISSING, DockerClient
from rootblood.engines.docker.container import (
    IMAGE_LABEL,
    INSTANCE_LABEL,
    SPEC_LABEL,
    USERHASH_LABEL,
    Arguments,
    environment_arguments,
    install_arguments,
)
from rootblood.engines.docker.events import listen
from rootblood.engines.docker.exits import engine_started_at, restart_reason
from rootblood.engines.docker.frames import take_socket
from rootblood.engines.docker.holdings import Holdings
from rootblood.engines.docker.images import AcceptedImages
from rootblood.engines.docker.reading import (
    STATES,
    Sample,
    details_of,
    environment_of,
    processes_of,
    sample_of,
    usage_between,
)
from rootblood.engines.docker.removal import CONFLICT, remove_container
from rootblood.engines.docker.streams import Streams
from rootblood.engines.docker.trials import Trials
from rootblood.engines.docker.volumes import Volumes
from rootblood.errors import (
    ConfigurationError,
    EnvironmentBrokenError,
    EnvironmentFailedError,
    ImageMissingError,
)
from rootblood.settings import EngineSettings, EnvironmentSettings, LimitsSettings

_log = structlog.stdlib.get_logger(__name__)

_AMBIGUOUS = "is ambiguous"
_HALF_STARTED = re.compile(r"\btask \w+: already exists|\bid already in use")
"""Docker was killed while it started that container, which its containerd remembers and it does not: it could
never be started again."""

_NO_SUCH_SOURCE = "bind source path does not exist"
_ENSURE_ATTEMPTS = 8
_ENSURE_PAUSE_S = 0.1
_NETWORK_PATIENCE_S = 3.0

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
        self._server = server
        self._subnet = engine.subnet
        self._labels = [f"{INSTANCE_LABEL}={engine.instance}", USERHASH_LABEL]
        self._environment = environment
        self._limits = limits
        self._docker = DockerClient(engine)
        self._streams = Streams(self._docker, socket_directory, server)
        self._images = AcceptedImages(engine.instance, environment.image)
        self._volumes = Volumes(self._docker, engine.instance, server, self._images)
        self._holdings = Holdings(self._docker, self._streams, engine.instance)
        self._trials = Trials(self._docker, engine.instance, server)

    def apply(self, environment: EnvironmentSettings, limits: LimitsSettings) -> None:
        """Take both for the next container; the bridge stays as it was made."""
        self._environment = environment
        self._limits = limits
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
        document = {
            "files": dict(files),
            "accounts": [
                {
                    "name": identity.name,
                    "uid": identity.uid,
                    "gid": identity.gid,
                    "home": identity.home,
                    "shell": "/bin/bash",
                }
                for identity in identities
            ],
        }
        await self._docker.call(self._make_shared)
        await self._docker.call(partial(self._run_helper, document=json.dumps(document).encode()))

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
            found = await self._docker.call(partial(self._inspect, userhash=identity.userhash))
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
            found = self._inspect(api, userhash)
            if found is None or not found["State"]["Running"]:
                return False
            if found["State"]["Paused"]:
                self._unpause(api, userhash)
            api.stop(container_name(userhash), timeout=int(grace_s))
            return True

        return await self._docker.call(stop)

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
            found = self._inspect(api, userhash)
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
    ) -> Sequence[str]:
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

    async def _pause(self, attempt: int, *, needed: bool = True) -> None:
        """Give a removal under way the time to end; longer each time, nothing at first."""
        if needed:
            await asyncio.sleep(_ENSURE_PAUSE_S * attempt)

    def _make_shared(self, api: docker.APIClient) -> None:
        self._make_network(api)
        for volume in (shared_volume_name(self._instance), system_volume_name(self._instance)):
            api.create_volume(volume, labels={INSTANCE_LABEL: self._instance})

    def _make_network(self, api: docker.APIClient) -> None:
        """Make the network, once: Docker lets several of one name be made at the same time."""
        name = network_name(self._instance)
        names = [f"^{name}$"]
        pools = [IPAMPool(subnet=str(self._subnet))] if self._subnet is not None else []
        if not api.networks(names=names):
            try:
                api.create_network(
                    name,
                    driver="bridge",
                    check_duplicate=True,
                    ipam=IPAMConfig(pool_configs=pools),
                    options={
                        "com.docker.network.bridge.enable_icc": "true" if self._environment.icc else "false"
                    },
                    labels={INSTANCE_LABEL: self._instance},
                )
            except APIError as error:
                # Of two that are made with the same addresses at once, Docker refuses one for those.
                if error.status_code != CONFLICT and not self._comes_up(api, names):
                    raise
        # The oldest stays, by everybody's reckoning; no container is on another while there are several.
        for extra in sorted(api.networks(names=names), key=lambda row: (row["Created"], row["Id"]))[1:]:
            _log.info("network_made_twice", network=name, removed=extra["Id"])
            with suppress(NotFound):
                api.remove_network(extra["Id"])

    @staticmethod
    def _comes_up(api: docker.APIClient, names: Sequence[str]) -> bool:
        """Whether there is such a network, in a moment: one that is being made is not listed yet."""
        deadline = time.monotonic() + _NETWORK_PATIENCE_S
        while not (found := bool(api.networks(names=[*names]))) and time.monotonic() < deadline:
            time.sleep(_ENSURE_PAUSE_S)
        return found

    def _run_helper(self, api: docker.APIClient, document: bytes) -> None:
        created = api.create_container(
            **install_arguments(
                api,
                instance=self._instance,
                server=self._server,
                image=self._images.current_id(api),
            )
        )
        try:
            stream = api.attach_socket(created["Id"], params={"stdin": 1, "stream": 1})
            api.start(created["Id"])
            sock, _ = take_socket(stream)
            with sock:
                sock.settimeout(api.timeout)
                sock.sendall(document)
            status = api.wait(created["Id"])["StatusCode"]
            if status != 0:
                cause = api.logs(created["Id"]).decode(errors="replace").strip()
                _log.error("install_failed", status=status, cause=cause)
                raise EnvironmentFailedError(
                    "what environments share could not be set up; ask your administrator"
                ) from ConfigurationError(
                    f"{cause}; give this installation an engine.instance of its own, or remove the volumes "
                    f"of {self._instance!r}, if nobody needs them"
                )
        finally:
            api.remove_container(created["Id"], force=True)

    def _inspect(self, api: docker.APIClient, userhash: str) -> dict[str, Any] | None:
        try:
            details: dict[str, Any] = api.inspect_container(container_name(userhash))
        except NotFound:
            return None
        return details

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
            self._make_shared(api)
            remove_container(api, container_id)
            return False
        except APIError as error:
            if _AMBIGUOUS in str(error.explanation):  # somebody has just made another network of that name
                self._make_network(api)
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
