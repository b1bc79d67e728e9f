"""Environments that are borrowed for many short things in a row, and left as they were found after the last.

An upload comes in pieces. Without this an environment that did not run before it would be started and stopped
for each of them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.leases import LeaseKind
from rootblood.errors import RootBloodError
from rootblood.link.pool import StepListener
from rootblood.services.environments import Environments

_log = structlog.stdlib.get_logger(__name__)

_LINGER_S = 30.0
"""From the end of one use to the next: a page that lost its connection is back by then, or not soon."""


class Loans:
    """Borrows environments, and gives them back a while later.

    Args:
        environments: are borrowed.
        linger_s: how much later.
    """

    def __init__(self, environments: Environments, *, linger_s: float = _LINGER_S) -> None:
        self._environments = environments
        self._linger_s = linger_s
        self._kept: dict[str, asyncio.Event] = {}
        """By userhash: gives an environment back at once when it is set."""

        self._returning: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def lent(
        self, account: Account, kind: LeaseKind, *, on_step: StepListener | None = None
    ) -> AsyncIterator[None]:
        """Have the account's environment run for the length of a block, and a while.

        Args:
            account: whose environment.
            kind: what for.
            on_step: called before each step that takes time, should it have to be started.

        Raises:
            EngineUnavailableError, ImageMissingError, EnvironmentFailedError, StoreUnavailableError: as
                `Environments.start`.
        """
        stack = AsyncExitStack()
        await stack.enter_async_context(self._environments.lent(account, kind, on_step=on_step))
        try:
            yield
        finally:
            self._keep(account, stack)

    async def close(self) -> None:
        """Give all back that nobody uses, and from now on at once."""
        self._closed = True
        for give_back in self._kept.values():
            give_back.set()
        if self._returning:
            await asyncio.wait(self._returning)

    def _keep(self, account: Account, stack: AsyncExitStack) -> None:
        give_back = asyncio.Event()
        if self._closed:
            give_back.set()
        before = self._kept.get(account.userhash)
        if before is not None:
            before.set()  # as this one has it still, it runs on
        self._kept[account.userhash] = give_back
        task = asyncio.get_running_loop().create_task(self._return_later(account, give_back, stack))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)

    async def _return_later(self, account: Account, give_back: asyncio.Event, stack: AsyncExitStack) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._linger_s):
                await give_back.wait()
        if self._kept.get(account.userhash) is give_back:
            del self._kept[account.userhash]
        try:
            await stack.aclose()
        except RootBloodError as error:  # it runs on, then
            _log.warning("environment_not_left_as_found", userhash=account.userhash, cause=str(error))
