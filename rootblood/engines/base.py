"""The port between RootBlood and whatever runs containers.

An engine makes environments, and opens one kind of stream into them: a process's stdin and stdout. All else
(terminals, files, forwarding, signals) goes through the link, an SSH connection that the layer above speaks
over such a stream. Errors are those of `rootblood.errors`: `EngineUnavailableError` when the engine does not
answer, `ImageMissingError`, `EnvironmentFailedError` when it answers but this environment will not do.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rootblood.domain.complaints import Complaints
from rootblood.domain.environments import (
    EnsureStep,
    Environment,
    EnvironmentDetails,
    Identity,
    Process,
    Usage,
    Volume,
)
from rootblood.domain.events import EngineEvent
from rootblood.domain.images import Images
from rootblood.domain.reconciliation import Holding, Lack
from rootblood.settings import EnvironmentSettings, LimitsSettings

StreamProtocol = TypeVar("StreamProtocol", bound=asyncio.Protocol)

STOP_GRACE_S = 10.0
"""What an environment that is stopped has to end in order, before what is left is killed."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine says of itself, for the operator."""

    kind: str
    version: str
    image_present: bool


class Engine(Protocol):
    """What runs containers."""

    async def info(self) -> EngineInfo:
        """Ask the engine for its version and for the image."""

    async def troubles(self) -> Sequence[str]:
        """What is wrong with how this engine is used and shows nowhere else: lines for the operator."""

    def apply(self, environment: EnvironmentSettings, limits: LimitsSettings) -> None:
        """Make environments like this from now on.

        Those that are there are made anew at the next `ensure` that finds them stopped.
        """

    async def install(self, files: Mapping[str, str], identities: Sequence[Identity]) -> None:
        """Make what all environments share, where it is missing: network, volumes, names. Idempotent.

        Args:
            files: text files that every environment can read at `/etc/rootblood/<name>`.
            identities: accounts whose names environments resolve and who own `/global/<name>`. They are
                added to those already there: nothing is ever taken away, as UIDs and names are never reused.
        """

    async def ensure(
        self, identity: Identity, *, on_step: Callable[[EnsureStep], None] | None = None
    ) -> Environment:
        """Find, make, start or resume the account's environment until it runs. Idempotent.

        Safe to call at once from many tasks and processes: there is never more than one container for an
        account. `on_step` is called, on the event loop, before each step that takes time.

        Where this call started what had run before, `Environment.restarted` of what it returns says why that
        was needed, as far as the engine can tell; who asked for a stop it cannot.
        """

    async def stop(self, userhash: str, *, grace_s: float = STOP_GRACE_S) -> bool:
        """Stop the environment; False when it was not running or there is none. Its files stay.

        What has not ended after `grace_s`, in whole seconds, is killed.
        """

    async def remove(self, userhash: str) -> bool:
        """Stop and remove the container; False when there was none. The home volume stays."""

    async def purge_home(self, userhash: str) -> bool:
        """Delete the home volume of an account without a container; False when there was none.

        With it goes whatever else is on this machine for that account alone.
        """

    async def list(self) -> list[Environment]:
        """All environments of this installation."""

    async def inspect(self, userhash: str) -> EnvironmentDetails | None:
        """What is known of the environment; None when there is none."""

    async def stats(self, userhash: str) -> Usage | None:
        """What the environment uses now; None when it does not run. Nothing runs inside for it."""

    async def processes(self, userhash: str) -> Sequence[Process]:
        """What runs in the environment; nothing when it does not run.

        Seen from outside, so that it works where nothing more can be started inside.
        """

    async def open_stream(
        self,
        environment: Environment,
        argv: Sequence[str],
        protocol_factory: Callable[[], StreamProtocol],
    ) -> tuple[asyncio.Transport, StreamProtocol]:
        """Run `argv` in a running environment, as the account, its stdin and stdout a duplex byte stream.

        The process's stdout arrives at the protocol's `data_received`, and its end at `connection_lost`.
        The transport's `write_eof` ends the process's stdin and leaves its stdout open. What it writes to
        stderr goes to the log.
        """

    def events(self) -> AsyncGenerator[EngineEvent]:
        """What happens to this installation's environments from now on, whoever does it, without an end.

        An engine that is away is waited for, and then a `LISTENING` says that something may have been missed.
        Close it, as with `contextlib.aclosing`.
        """

    async def volumes(self) -> Sequence[Volume]:
        """The homes of this installation and, where it is there, the shared volume: what a backup is of."""

    async def read_volume(
        self, volume: Volume, write: Callable[[bytes], Awaitable[None]], *, compressed: bool
    ) -> Complaints:
        """Read a volume as one tar archive (POSIX 1003.1-2001, pax) with all that its files have.

        Nothing of it is changed, and nothing that is in it is run or followed. It may be in use meanwhile:
        each file is as it was when it was read.

        Args:
            volume: which.
            write: gets the archive, piece by piece, and may take its time.
            compressed: whether the archive is to be one zstd frame.

        Returns:
            What the archive lacks, or has as it never was: files that changed while they were read.

        Raises:
            NotFoundError: there is no such volume.
            EnvironmentFailedError: there is no whole archive, though pieces of it were written.
            EngineUnavailableError, ImageMissingError: see above.
        """

    async def write_volume(self, volume: Volume, pieces: AsyncIterable[bytes], *, compressed: bool) -> None:
        """Make a volume anew from an archive that `read_volume` wrote; what was in it before is lost.

        Raises:
            EnvironmentFailedError: a container has it mounted and nothing was done, or the archive did not go
                in and the volume is in pieces.
            EngineUnavailableError, ImageMissingError: see above.
        """

    async def holdings(self) -> Sequence[Holding]:
        """What there is for this installation and its accounts, homes and what all share aside."""

    async def discard(self, holding: Holding) -> bool:
        """Remove one of those; False when it was not there.

        What runs in a container has `STOP_GRACE_S` to end.
        """

    async def lacks(self) -> Sequence[Lack]:
        """What `install` would make anew."""

    async def images(self) -> Images:
        """Which images environments are, were and may be made of."""

    def trial(self, identity: Identity, image_id: str) -> AbstractAsyncContextManager[Environment]:
        """Run an environment of that image for the length of a block, to be entered as any other.

        It has no home but an empty one that goes with it, and is in no list.

        Args:
            identity: of an account, which was installed. Its own environment is left alone.
            image_id: which.

        Raises:
            EnvironmentFailedError: it does not start, or does not run on while it is tried.
            EngineUnavailableError, ImageMissingError: see above.
        """

    async def accept_image(self, image_id: str) -> None:
        """Make environments of that image from now on; the one it was before becomes the previous one.

        Nothing that runs is touched. What does not run is made anew at its next start.
        """

    async def forget(self) -> None:
        """Remove all environments, and the names and files that `install` gave them; volumes stay.

        For accounts that come from elsewhere, and may give a name or a UID of this installation to others.
        """

    async def close(self) -> None:
        """Give back threads and connections. Environments keep running."""
