"""Locks on accounts, so that their environments are made and ended by one server at a time.

Each process takes its own turn first, in order, and only then the lock that other processes see: a server
never waits for itself outside. That second lock is asked for again and again rather than waited for, so that
no thread and no connection hangs on it, and whoever is cancelled has nothing to take back.

`FileAccountLocks` is for one machine, where the database is SQLite; the one for several is
`rootblood.stores.sql.locks`. What the process holds is gone when it ends, however it ends.
"""

import asyncio
import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from typing_extensions import override

from rootblood.errors import EnvironmentFailedError, StoreUnavailableError

PATIENCE_S = 90.0
"""For another server: longer than an environment takes to be stopped, made and started."""

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.25


class ProcessLocks:
    """Keeps the tasks of one process apart, in the order they came: enough where it is the only one."""

    def __init__(self) -> None:
        self._turns: dict[str, asyncio.Lock] = {}
        self._wanted: dict[str, int] = {}

    @asynccontextmanager
    async def hold(
        self,
        userhash: str,
        *,
        patience_s: float | None = None,  # noqa: ARG002 - there is no other process
    ) -> AsyncIterator[None]:
        """Hold the account's lock for the length of a block."""
        turn = self._turns.setdefault(userhash, asyncio.Lock())
        self._wanted[userhash] = self._wanted.get(userhash, 0) + 1
        try:
            async with turn:
                yield
        finally:
            self._wanted[userhash] -= 1
            if not self._wanted[userhash]:
                del self._wanted[userhash], self._turns[userhash]

    async def close(self) -> None:
        """Nothing is open."""


class SharedLocks(ProcessLocks, ABC):
    """Keeps processes apart as well, by `_try_lock`, which answers at once.

    Args:
        patience_s: how long another process is waited for by default.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        super().__init__()
        self._patience_s = patience_s

    @asynccontextmanager
    @override
    async def hold(self, userhash: str, *, patience_s: float | None = None) -> AsyncIterator[None]:
        """Hold the account's lock for the length of a block.

        Args:
            userhash: of the account.
            patience_s: how long another process is waited for; None is as long as these locks do by default.

        Raises:
            EnvironmentFailedError: another process has held it all the time.
            StoreUnavailableError: whether one does could not be found out.
        """
        async with super().hold(userhash):
            try:
                await self._lock(userhash, self._patience_s if patience_s is None else patience_s)
                yield
            finally:
                await self._unlock(userhash)

    async def _lock(self, userhash: str, patience_s: float) -> None:
        pause_s = _FIRST_PAUSE_S
        deadline = asyncio.get_running_loop().time() + patience_s
        while not await self._try_lock(userhash):
            if asyncio.get_running_loop().time() > deadline:
                raise EnvironmentFailedError(
                    "another server is still at work on this environment: try again in a minute"
                )
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    @abstractmethod
    async def _try_lock(self, userhash: str) -> bool:
        """Take the lock, unless another process has it. A cancelled caller may have it or not."""

    @abstractmethod
    async def _unlock(self, userhash: str) -> None:
        """Give the lock back, if this process has it. Never fails, and a cancelled caller waits for it."""


class FileAccountLocks(SharedLocks):
    """One file an account, locked by flock(2).

    Args:
        directory: of the files, made where it is missing.
        patience_s: how long another process is waited for.
    """

    def __init__(self, directory: Path, patience_s: float = PATIENCE_S) -> None:
        super().__init__(patience_s)
        self._directory = directory
        self._open: dict[str, int] = {}

    @override
    async def _try_lock(self, userhash: str) -> bool:
        try:
            await asyncio.to_thread(self._directory.mkdir, mode=0o700, parents=True, exist_ok=True)
            # On the loop from here, as none of it waits, and nothing comes between a file and its lock.
            file = os.open(self._directory / userhash, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailableError("the locks on environments cannot be used") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._open[userhash] = file
        return True

    @override
    async def _unlock(self, userhash: str) -> None:
        file = self._open.pop(userhash, None)
        if file is not None:
            os.close(file)  # the file stays: another process may be about to lock it
