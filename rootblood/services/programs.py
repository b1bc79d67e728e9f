"""Programs of the image, run in an account's environment past its shell and past any link.

For what the front door wants of an environment itself: a tarball, a size, whether tmux is busy. Whoever wants
it has the environment run meanwhile; here nothing is started.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from typing_extensions import override

from rootblood.domain.accounts import Account
from rootblood.domain.environments import EnvironmentState
from rootblood.engines.base import Engine, StreamProtocol
from rootblood.errors import EnvironmentFailedError


class Programs:
    """Begins them, and runs them to their ends.

    Args:
        engine: has the environments.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def open(
        self,
        account: Account,
        argv: Sequence[str],
        protocol_factory: Callable[[], StreamProtocol],
        *,
        timeout_s: float,
    ) -> tuple[asyncio.Transport, StreamProtocol]:
        """Begin a program of the image in the running environment, as the account, without its shell.

        Args:
            account: whose environment.
            argv: the program's absolute path, and its arguments.
            protocol_factory: makes what its output goes to; see `Engine.open_stream`.
            timeout_s: from here to a program that runs.

        Raises:
            EnvironmentFailedError: the environment does not run, or does not answer.
            EngineUnavailableError: as `Engine.open_stream`.
        """
        details = await self._engine.inspect(account.userhash)
        if details is None or details.environment.state is not EnvironmentState.RUNNING:
            raise EnvironmentFailedError("your environment does not run")
        try:
            async with asyncio.timeout(timeout_s):
                return await self._engine.open_stream(details.environment, argv, protocol_factory)
        except TimeoutError as error:
            raise EnvironmentFailedError("your environment does not answer") from error
        except OSError as error:
            raise EnvironmentFailedError("your environment could not be entered") from error

    async def run(
        self,
        account: Account,
        argv: Sequence[str],
        *,
        timeout_s: float,
        max_bytes: int,
        stdin: bytes = b"",
    ) -> str:
        """Run such a program to its end. Arguments and errors as `open`.

        Args:
            account: whose environment.
            argv: the program's absolute path, and its arguments.
            timeout_s: from here to a program that runs, and again to its end.
            max_bytes: of its output that are taken; one that says more is broken off.
            stdin: all that it is given to read.

        Returns:
            The beginning of what it wrote to stdout: hostile text, as the account may have meddled.
        """
        transport, output = await self.open(account, argv, lambda: _Output(max_bytes), timeout_s=timeout_s)
        try:
            transport.write(stdin)
            transport.write_eof()
            async with asyncio.timeout(timeout_s):
                await output.ended.wait()
        except TimeoutError as error:
            raise EnvironmentFailedError("your environment does not answer") from error
        finally:
            transport.abort()
        return output.data.decode(errors="replace")


class _Output(asyncio.Protocol):
    """Keeps the beginning of what a program writes, and notices its end."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._transport: asyncio.Transport
        self.data = bytearray()
        self.ended = asyncio.Event()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # what every engine gives

    @override
    def data_received(self, data: bytes) -> None:
        self.data += data[: self._max_bytes - len(self.data)]
        if len(self.data) >= self._max_bytes:
            self._transport.abort()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
