"""Running restic, borg and pg_dump: bytes in by stdin or out by stdout, and what they say when they fail."""

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

import structlog

from rootblood.errors import ConfigurationError, StoreUnavailableError

_log = structlog.stdlib.get_logger(__name__)

_READ_BYTES = 256 * 1024
_MAX_SAID_BYTES = 64 * 1024
_END_GRACE_S = 10.0
"""After SIGINT, at which restic and borg take their locks off."""


class Program:
    """A run of a program, made by `running`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._stdin = cast("asyncio.StreamWriter", process.stdin)
        self._stdout = cast("asyncio.StreamReader", process.stdout)
        self._stderr = cast("asyncio.StreamReader", process.stderr)
        self._err = b""
        self._listening = asyncio.get_running_loop().create_task(self._listen())  # until its end

    async def write(self, data: bytes) -> None:
        """Give it input. Raises `StoreUnavailableError` when it takes no more."""
        try:
            self._stdin.write(data)
            await self._stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise await self._failed() from error

    async def read(self) -> bytes:
        """The next bytes of its output; empty at the end of it."""
        return await self._stdout.read(_READ_BYTES)

    async def finish(self, good: Sequence[int] = (0,)) -> bytes:
        """End its input and wait for its end; returns what was left of its output.

        Raises:
            StoreUnavailableError: its exit status is none of `good`.
        """
        with suppress(BrokenPipeError, ConnectionResetError):
            self._stdin.close()
            await self._stdin.wait_closed()
        left = await self._stdout.read()
        if await self._process.wait() not in good:
            raise await self._failed()
        return left

    async def _listen(self) -> None:
        while data := await self._stderr.read(_READ_BYTES):
            self._err = (self._err + data)[-_MAX_SAID_BYTES:]

    async def end(self) -> None:
        """See to it that it does not run any more."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            try:
                async with asyncio.timeout(_END_GRACE_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._listening.cancel()
        await asyncio.wait([self._listening])

    async def _failed(self) -> StoreUnavailableError:
        await self._process.wait()
        await asyncio.wait([self._listening])
        said = self._err.decode(errors="replace").strip()
        _log.error("backup_program_failed", status=self._process.returncode, said=said)
        lines = said.splitlines() or ["it says nothing"]
        return StoreUnavailableError(f"the backup's program failed: {lines[-1]}")


@asynccontextmanager
async def running(argv: Sequence[str], variables: Mapping[str, str]) -> AsyncIterator[Program]:
    """Run a program for the length of a block; it is ended with it.

    Args:
        argv: the program and its arguments.
        variables: of its environment, beside this process's own; but what those two programs would take from
            there is ours to say, as a password that somebody has exported would lose the backup to its key.

    Raises:
        ConfigurationError: there is no such program.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("RESTIC_", "BORG_"))
    }
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={**inherited, "LC_ALL": "C.UTF-8", **variables},
        )
    except FileNotFoundError as error:
        raise ConfigurationError(f"there is no {argv[0]}; install it: apt-get install {argv[0]}") from error
    program = Program(process)
    try:
        yield program
    finally:
        await program.end()


async def run(argv: Sequence[str], variables: Mapping[str, str], good: Sequence[int] = (0,)) -> None:
    """Run a program to its end. Raises as `running` and `Program.finish`."""
    async with running(argv, variables) as program:
        await program.finish(good)
