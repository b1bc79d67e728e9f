"""What there is now, asked for when somebody wants to know."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from rootblood.domain.environments import Environment, EnvironmentState
from rootblood.errors import RootBloodError

_log = structlog.stdlib.get_logger(__name__)

_FRESH_S = 10.0
"""A list of all containers costs the engine something, so it is asked no more often than this."""

_PATIENCE_S = 2.0
"""A scrape waits so long for the engine, and then does without."""


@dataclass(frozen=True, slots=True)
class Census:
    """Whom to ask. All but the engine answer from memory."""

    ssh_connections: Callable[[], int]
    web_connections: Callable[[], int]
    ssh_sessions: Callable[[], int]
    web_terminals: Callable[[], int]
    penalized: Callable[[], int]
    bans: Callable[[], int]
    environments: Callable[[], Awaitable[Sequence[Environment]]]


class EnvironmentCount:
    """Counts environments by state, without ever keeping anybody waiting for long.

    Args:
        ask: the engine.
        patience_s: how long to wait for its answer.
        fresh_s: how old an answer may be.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[Sequence[Environment]]],
        *,
        patience_s: float = _PATIENCE_S,
        fresh_s: float = _FRESH_S,
    ) -> None:
        self._ask = ask
        self._patience_s = patience_s
        self._fresh_s = fresh_s
        self._asking: asyncio.Task[None] | None = None
        self._answer: Mapping[EnvironmentState, int] | None = None
        self._answered_at = float("-inf")

    async def get(self) -> Mapping[EnvironmentState, int] | None:
        """How many there are in each state; None where the engine does not answer in time."""
        if time.monotonic() - self._answered_at >= self._fresh_s:
            self._answer = None
            if self._asking is None:  # an engine that hangs is not asked again meanwhile
                self._asking = asyncio.get_running_loop().create_task(self._count())
            await asyncio.wait([self._asking], timeout=self._patience_s)
        return self._answer

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _count(self) -> None:
        try:
            found = Counter(environment.state for environment in await self._ask())
        except RootBloodError as error:
            _log.warning("environments_not_counted", cause=str(error))
        else:
            self._answer = {state: found[state] for state in EnvironmentState}
        finally:
            self._asking = None
        self._answered_at = time.monotonic()
