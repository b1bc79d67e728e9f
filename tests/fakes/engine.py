"""An engine in memory: environments are records, and what runs in them is a local process.

It keeps every promise of `rootblood.engines.base.Engine` (tests/conformance runs over it as over Docker), and
can be told to be away, to miss the image, and to fail.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from rootblood.domain.complaints import Complaints
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
)
from rootblood.domain.events import EngineEvent, EventKind
from rootblood.domain.images import Image, Images
from rootblood.domain.reconciliation import Holding, HoldingKind, Lack
from rootblood.engines.base import STOP_GRACE_S, EngineInfo, StreamProtocol
from rootblood.errors import (
    EngineUnavailableError,
    EnvironmentFailedError,
    ImageMissingError,
    NotFoundError,
)
from rootblood.settings import EnvironmentSettings, LimitsSettings

IMAGE = "fake:1"
PIDS_LIMIT = 64

_STEPS = {
    None: EnsureStep.CREATE,
    EnvironmentState.PAUSED: EnsureStep.RESUME,
    EnvironmentState.STOPPED: EnsureStep.START,
}


def new_image(name: str) -> Image:
    """An image that is made just now."""
    return Image(id=f"sha256:{hashlib.sha256(name.encode()).hexdigest()}", created_at=datetime.now(UTC))


@dataclass
class FakeHost:
    """What outlives an engine object: containers, homes and installed files, of all instances.

    Homes are directories below `directory`, so that what runs in an environment can write to them.
    """

    directory: Path
    containers: dict[str, tuple[str, Environment]] = field(default_factory=dict)
    """By userhash: the instance, and the environment as it is now."""

    ends: dict[str, RestartReason] = field(default_factory=dict)
    """By userhash: how what does not run any more came to its end."""

    identities: dict[tuple[str, str], Identity] = field(default_factory=dict)
    """What was installed, by instance and name."""

    listeners: list[tuple[str, asyncio.Queue[EngineEvent]]] = field(default_factory=list)
    """Who is told what happens, by instance."""

    built: Image = field(default_factory=lambda: new_image("first"))
    """What the name of the image stands for."""

    broken_images: set[str] = field(default_factory=set)
    """Ids of those that no environment of runs on with."""

    accepted: dict[str, list[Image]] = field(default_factory=dict)
    """By instance: the image in use, and the one before it, if any."""

    def build(self, name: str) -> Image:
        self.built = new_image(name)
        return self.built

    def home(self, userhash: str) -> Path:
        return self.directory / f"home_{userhash}"

    def shared(self, instance: str) -> Path:
        return self.directory / f"rb_{instance}_global"

    def system(self, instance: str) -> Path:
        return self.directory / f"rb_{instance}_system"


class _StderrCollector(asyncio.Protocol):
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def data_received(self, data: bytes) -> None:
        self._lines.extend(data.decode(errors="replace").splitlines())


class FakeEngine:
    """Implements the Engine Protocol on a `FakeHost`.

    Args:
        host: shared by engines that stand for several servers on one machine.
        instance: as `engine.instance` of the settings.
        programs: what to run in place of programs that only the image has, by their path.
    """

    def __init__(
        self, host: FakeHost, instance: str = "default", programs: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.host = host
        self.instance = instance
        self.away = False
        self.image_present = True
        self.fail_starts = False
        self.failing_streams = 0
        """How many of the next streams end in `EnvironmentFailedError`."""

        self.installs: list[list[str]] = []
        """Names handed to each `install`."""

        self.ensures = 0
        self.stop_graces: list[float] = []
        """What was given to each `stop`, in seconds."""

        self.usage = Usage(memory_bytes=1024 * 1024, cpus=0.5, pids=3)
        """Of every environment that runs."""

        self.more_processes: list[Process] = []
        """What runs in every environment, besides the processes of streams."""

        self.more_holdings: list[Holding] = []
        """What there is besides the containers of environments."""

        self.unreadable: set[Volume] = set()
        """Whose archives break off in the middle."""

        self.stderr: list[str] = []
        self._trials: dict[str, Environment] = {}
        """By engine id."""

        self._programs = dict(programs or {})
        self._processes: dict[str, list[tuple[subprocess.Popen[bytes], str]]] = {}
        self._stderr_transports: list[asyncio.ReadTransport] = []
        self.applied: tuple[EnvironmentSettings, LimitsSettings] | None = None

    def apply(self, environment: EnvironmentSettings, limits: LimitsSettings) -> None:
        self.applied = (environment, limits)

    async def info(self) -> EngineInfo:
        await self._answer()
        return EngineInfo(kind="fake", version="1", image_present=self.image_present)

    async def troubles(self) -> Sequence[str]:
        await self._answer()
        return []

    async def install(self, files: Mapping[str, str], identities: Sequence[Identity]) -> None:
        await self._answer()
        self._require_image()
        self._current()
        for identity in identities:
            if self.host.identities.setdefault((self.instance, identity.name), identity) != identity:
                raise EnvironmentFailedError("what environments share could not be set up")
        self.installs.append([identity.name for identity in identities])
        await asyncio.to_thread(self._write_files, dict(files))

    async def ensure(
        self, identity: Identity, *, on_step: Callable[[EnsureStep], None] | None = None
    ) -> Environment:
        self.ensures += 1
        await self._answer()
        found = self._find(identity.userhash)
        if found is not None and found.state is EnvironmentState.RUNNING:
            return found
        reason = await self._why_not_running(found, identity.userhash)
        image = self._current()
        if found is not None and found.state is EnvironmentState.STOPPED and found.image_id != image.id:
            self.remove_by_hand(identity.userhash)
            found, reason = None, RestartReason.CHANGED
        step = _STEPS[found.state if found is not None else None]
        if on_step is not None:
            on_step(step)
        if found is None:
            self._require_image()
        await asyncio.to_thread(self.host.home(identity.userhash).mkdir, mode=0o700, exist_ok=True)
        if self.fail_starts or image.id in self.host.broken_images:
            raise EnvironmentFailedError("your environment could not be started")
        # No await from here on: of many at once, one makes the container and the others find it.
        now = self._find(identity.userhash) or Environment(
            userhash=identity.userhash,
            state=EnvironmentState.STOPPED,
            engine_id=secrets.token_hex(8),
            image=IMAGE,
            created_at=datetime.now(UTC),
            image_id=image.id,
        )
        restarted = reason if now.state is EnvironmentState.STOPPED else None
        if now.state is EnvironmentState.STOPPED:
            self.tell(EngineEvent(EventKind.STARTED, identity.userhash))
        return replace(self._set(replace(now, state=EnvironmentState.RUNNING)), restarted=restarted)

    async def stop(self, userhash: str, *, grace_s: float = STOP_GRACE_S) -> bool:
        await self._answer()
        self.stop_graces.append(grace_s)
        found = self._find(userhash)
        if found is None or found.state is EnvironmentState.STOPPED:
            return False
        self.tell(EngineEvent(EventKind.STOPPING, userhash))
        self.end_by_hand(userhash, RestartReason.STOPPED)
        return True

    async def remove(self, userhash: str) -> bool:
        await self._answer()
        return self.remove_by_hand(userhash)

    async def purge_home(self, userhash: str) -> bool:
        await self._answer()
        if self._find(userhash) is not None:
            raise EnvironmentFailedError("the home is in use")
        home = self.host.home(userhash)
        there = await asyncio.to_thread(home.is_dir)
        if there:
            await asyncio.to_thread(shutil.rmtree, home)
        return there

    async def list(self) -> list[Environment]:
        await self._answer()
        return [found for instance, found in self.host.containers.values() if instance == self.instance]

    async def inspect(self, userhash: str) -> EnvironmentDetails | None:
        await self._answer()
        found = self._find(userhash)
        if found is None:
            return None
        return EnvironmentDetails(
            environment=found,
            started_at=found.created_at,
            stopped_at=found.created_at if found.state is EnvironmentState.STOPPED else None,
            exit_status=137 if found.state is EnvironmentState.STOPPED else 0,
            out_of_memory=False,
            memory_limit_bytes=1024 * 1024 * 1024,
            cpu_limit=1.0,
            pids_limit=PIDS_LIMIT,
            ended=self.host.ends[userhash] if found.state is EnvironmentState.STOPPED else None,
        )

    async def stats(self, userhash: str) -> Usage | None:
        await self._answer()
        return self.usage if self._runs(userhash) else None

    async def processes(self, userhash: str) -> Sequence[Process]:
        await self._answer()
        if not self._runs(userhash):
            return []
        return self.more_processes + [
            Process(
                pid=process.pid,
                cpu_percent=0.0,
                memory_bytes=1024,
                cpu_time_s=0,
                command=command,
            )
            for process, command in self._processes.get(userhash, [])
            if process.poll() is None
        ]

    async def open_stream(
        self,
        environment: Environment,
        argv: Sequence[str],
        protocol_factory: Callable[[], StreamProtocol],
    ) -> tuple[asyncio.Transport, StreamProtocol]:
        await self._answer()
        found = self._trials.get(environment.engine_id) or self._find(environment.userhash)
        if self.failing_streams:
            self.failing_streams -= 1
            raise EnvironmentFailedError("the stream failed, as it was told to")
        running = found is not None and found.state is EnvironmentState.RUNNING
        if found is None or not running or found.engine_id != environment.engine_id:
            raise EnvironmentFailedError("the environment does not run")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003 - the standard library's own
        stderr_read, stderr_write = os.pipe()
        starting = asyncio.ensure_future(
            asyncio.to_thread(self._start, environment.userhash, argv, theirs, stderr_write)
        )
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            process = await starting  # it is begun all the same, and nobody else would end it
            process.kill()
            await asyncio.to_thread(process.wait)
            ours.close()
            os.close(stderr_read)
            raise
        finally:
            theirs.close()
            os.close(stderr_write)
        self._processes.setdefault(environment.userhash, []).append((process, " ".join(argv)))
        loop = asyncio.get_running_loop()
        stderr, _ = await loop.connect_read_pipe(
            lambda: _StderrCollector(self.stderr), os.fdopen(stderr_read, "rb", buffering=0)
        )
        self._stderr_transports.append(stderr)
        transport, protocol = await loop.create_connection(protocol_factory, sock=ours)
        return transport, protocol

    async def events(self) -> AsyncGenerator[EngineEvent]:
        mine: tuple[str, asyncio.Queue[EngineEvent]] = (self.instance, asyncio.Queue())
        self.host.listeners.append(mine)
        try:
            yield EngineEvent(EventKind.LISTENING)
            while True:
                yield await mine[1].get()
        finally:
            self.host.listeners.remove(mine)

    async def volumes(self) -> Sequence[Volume]:
        await self._answer()
        return await asyncio.to_thread(self._volumes)

    async def read_volume(
        self, volume: Volume, write: Callable[[bytes], Awaitable[None]], *, compressed: bool
    ) -> Complaints:
        await self._answer()
        self._require_image()
        directory = self._volume(volume)
        if not await asyncio.to_thread(directory.is_dir):
            raise NotFoundError("there is no such volume")
        options = ["--sort=name", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"]
        argv = [
            "tar",
            "--create",
            "--format=posix",
            *options,
            *["--zstd"] * compressed,
            "-C",
            str(directory),
            ".",
        ]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, check=False)
        if volume in self.unreadable:
            await write(done.stdout[: len(done.stdout) // 2])
            raise EnvironmentFailedError("the volume could not be read, as it was told to")
        await write(done.stdout)
        return Complaints(tuple(done.stderr.decode().splitlines()))

    async def write_volume(self, volume: Volume, pieces: AsyncIterable[bytes], *, compressed: bool) -> None:
        await self._answer()
        self._require_image()
        used = any(instance == self.instance for instance, _ in self.host.containers.values())
        if used if volume.userhash is None else self._find(volume.userhash) is not None:
            raise EnvironmentFailedError("the volume is in use")
        directory = self._volume(volume)
        archive = b"".join([piece async for piece in pieces])
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        await asyncio.to_thread(directory.mkdir)
        argv = ["tar", "--extract", *["--zstd"] * compressed, "-C", str(directory)]
        done = await asyncio.to_thread(subprocess.run, argv, input=archive, capture_output=True, check=False)
        if done.returncode:
            raise EnvironmentFailedError(f"the volume could not be written: {done.stderr!r}")

    async def holdings(self) -> Sequence[Holding]:
        found = [
            Holding(
                kind=HoldingKind.CONTAINER,
                id=environment.engine_id,
                made_at=environment.created_at,
                userhash=environment.userhash,
            )
            for environment in await self.list()
        ]
        return found + self.more_holdings

    async def discard(self, holding: Holding) -> bool:
        await self._answer()
        if holding in self.more_holdings:
            self.more_holdings.remove(holding)
            return True
        return self.remove_by_hand(holding.userhash or "")

    async def lacks(self) -> Sequence[Lack]:
        await self._answer()
        directories = self.host.shared(self.instance), self.host.system(self.instance)
        return [
            Lack(path.name, taken=False) for path in directories if not await asyncio.to_thread(path.is_dir)
        ]

    async def images(self) -> Images:
        await self._answer()
        built = self.host.built if self.image_present else None
        accepted = self.host.accepted.get(self.instance, [])
        return Images(
            name=IMAGE,
            newest=built,
            current=accepted[0] if accepted else built,
            previous=accepted[1] if len(accepted) > 1 else None,
        )

    @asynccontextmanager
    async def trial(self, identity: Identity, image_id: str) -> AsyncIterator[Environment]:
        await self._answer()
        environment = Environment(
            userhash=identity.userhash,
            state=EnvironmentState.RUNNING,
            engine_id=secrets.token_hex(8),
            image=IMAGE,
            created_at=datetime.now(UTC),
            image_id=image_id,
        )
        if image_id in self.host.broken_images:
            raise EnvironmentFailedError("it does not start")
        self._trials[environment.engine_id] = environment
        try:
            yield environment
        finally:
            del self._trials[environment.engine_id]

    async def accept_image(self, image_id: str) -> None:
        await self._answer()
        images = await self.images()
        chosen = next(image for image in (images.newest, images.previous) if image and image.id == image_id)
        if chosen != images.current:
            before = images.current
            self.host.accepted[self.instance] = [chosen, *([before] if before is not None else [])]

    async def forget(self) -> None:
        for environment in await self.list():
            await self.remove(environment.userhash)
        for key in [key for key in self.host.identities if key[0] == self.instance]:
            del self.host.identities[key]

    async def close(self) -> None:
        for userhash in list(self._processes):
            await asyncio.to_thread(self._end_processes, userhash)
        for transport in self._stderr_transports:
            transport.close()

    # What an operator might do by hand, past every promise.

    def end_by_hand(
        self, userhash: str, reason: RestartReason = RestartReason.KILLED, *, asked: bool = True
    ) -> None:
        found = self.host.containers[userhash][1]
        self._end_processes(userhash)
        self.host.ends[userhash] = reason
        self._set(replace(found, state=EnvironmentState.STOPPED))
        self._tell_end(userhash, reason, asked=asked)

    def pause_by_hand(self, userhash: str) -> None:
        self._set(replace(self.host.containers[userhash][1], state=EnvironmentState.PAUSED))
        self.tell(EngineEvent(EventKind.PAUSED, userhash))

    def remove_by_hand(self, userhash: str) -> bool:
        self._end_processes(userhash)
        ran = self._runs(userhash)
        there = self.host.containers.pop(userhash, None) is not None
        if ran:
            self._tell_end(userhash, RestartReason.REMOVED, asked=True)
        if there:
            self.tell(EngineEvent(EventKind.REMOVED, userhash))
        return there

    def tell(self, event: EngineEvent) -> None:
        """Have it happen, as far as listeners know."""
        for instance, events in self.host.listeners:
            if instance == self.instance:
                events.put_nowait(event)

    def _tell_end(self, userhash: str, reason: RestartReason, *, asked: bool) -> None:
        status = 0 if reason is RestartReason.STOPPED else 137
        self.tell(
            EngineEvent(EventKind.ENDED, userhash, reason=reason, asked=asked, exit_status=status, ran_s=0.0)
        )

    async def _answer(self) -> None:
        await asyncio.sleep(0)  # as with any real engine, somebody else may run meanwhile
        if self.away:
            raise EngineUnavailableError("the container engine does not answer")

    def _require_image(self) -> None:
        if not self.image_present:
            raise ImageMissingError("the image of the environments is missing")

    async def _why_not_running(self, found: Environment | None, userhash: str) -> RestartReason | None:
        if found is None:
            had_home = await asyncio.to_thread(self.host.home(userhash).is_dir)
            return RestartReason.REMOVED if had_home else None
        return None if found.state is EnvironmentState.PAUSED else self.host.ends[userhash]

    def _current(self) -> Image:
        """What is needed is accepted, where nothing is."""
        return self.host.accepted.setdefault(self.instance, [self.host.built])[0]

    def _volumes(self) -> Sequence[Volume]:
        homes = [path.name.removeprefix("home_") for path in sorted(self.host.directory.glob("home_*"))]
        shared = self.host.shared(self.instance).is_dir()
        return [Volume(userhash) for userhash in homes] + [Volume(None)] * shared

    def _volume(self, volume: Volume) -> Path:
        userhash = volume.userhash
        return self.host.shared(self.instance) if userhash is None else self.host.home(userhash)

    def _runs(self, userhash: str) -> bool:
        found = self._find(userhash)
        return found is not None and found.state in {EnvironmentState.RUNNING, EnvironmentState.PAUSED}

    def _find(self, userhash: str) -> Environment | None:
        return self.host.containers.get(userhash, (None, None))[1]

    def _set(self, environment: Environment) -> Environment:
        self.host.containers[environment.userhash] = (self.instance, environment)
        return environment

    def _write_files(self, files: dict[str, str]) -> None:
        directory = self.host.system(self.instance)
        directory.mkdir(exist_ok=True)
        self.host.shared(self.instance).mkdir(exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text)

    def _start(
        self, userhash: str, argv: Sequence[str], stdio: socket.socket, stderr: int
    ) -> subprocess.Popen[bytes]:
        home = self.host.home(userhash)
        return subprocess.Popen(
            [part for word in argv for part in self._programs.get(word, [word])],
            stdin=stdio.fileno(),
            stdout=stdio.fileno(),
            stderr=stderr,
            cwd=home,
            env={**os.environ, "HOME": str(home)},
        )

    def _end_processes(self, userhash: str) -> None:
        for process, _ in self._processes.pop(userhash, []):
            process.kill()
            process.wait()
