"""The port between RootBlood and whatever runs containers.

An engine makes environments, and opens one kind of stream into them: a process's stdin and stdout. All else
(terminals, files, forwarding, signals) goes through the link, an SSH connection that the layer above speaks
over such a stream. Errors are those of `rootblood.errors`: `EngineUnavailableError` when the engine does not
answer, `ImageMissingError`, `EnvironmentFailedError` when it answers but this environment will not do.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rootblood.domain.environments import EnsureStep, Environment, Identity

StreamProtocol = TypeVar("StreamProtocol", bound=asyncio.Protocol)


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

    async def stop(self, userhash: str) -> bool:
        """Stop the environment; False when it was not running or there is none. Its files stay."""

    async def remove(self, userhash: str) -> bool:
        """Stop and remove the container; False when there was none. The home volume stays."""

    async def purge_home(self, userhash: str) -> bool:
        """Delete the home volume of an account without a container; False when there was none."""

    async def list(self) -> list[Environment]:
        """All environments of this installation."""

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

    async def close(self) -> None:
        """Give back threads and connections. Environments keep running."""
