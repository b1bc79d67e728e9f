"""Bans: networks from which nobody comes in, kept for all processes of the installation.

A door asks at each connection, so the answer comes from memory: the list is read again every two seconds, and
at once where this very process changes it. When the database does not answer, the last list holds.

How much of a ban is left is told from the wall clock once, when this process first sees it, and counted on a
clock that nobody sets from then on. Rows of bans that have expired stay for a while for the same reason: a
wall clock that is a day ahead must not lift a ban.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from rootblood.domain.bans import Ban, BanTable, validated_reason
from rootblood.domain.logins import new_id
from rootblood.domain.networks import Network, address_of, shown_network
from rootblood.errors import NotFoundError, StoreUnavailableError
from rootblood.stores.base import BanStore

_log = structlog.stdlib.get_logger(__name__)

MAX_BANS = 4096
"""Each process reads them all every few seconds. Whoever needs more has a firewall."""

_REFRESH_S = 2.0
_EXPIRED_KEPT = timedelta(days=2)

Listener = Callable[[], None]


def _now() -> datetime:
    return datetime.now(UTC)


class Bans:
    """The use cases around bans.

    Args:
        store: where they are kept.
        refresh_s: how often `watch` reads them.
        now: the time; a test's own.
        clock: seconds that only ever grow; a test's own.
    """

    def __init__(
        self,
        store: BanStore,
        *,
        refresh_s: float = _REFRESH_S,
        now: Callable[[], datetime] = _now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._refresh_s = refresh_s
        self._now = now
        self._clock = clock
        self._table = BanTable()
        self._deadlines: dict[str, float] = {}
        """By a ban's id, when it ends on the clock."""

        self._listeners: list[Listener] = []
        self._reading = asyncio.Lock()
        """So that no older list comes in the place of a newer one."""

    def on(self, address: str) -> Ban | None:
        """A ban on the address of a client, if there is one; costs no query."""
        parsed = address_of(address)
        if parsed is None:
            return None
        return next((ban for ban in self._table.on(parsed) if self._in_force(ban)), None)

    def subscribe(self, listener: Listener) -> None:
        """Call `listener`, on the event loop, each time that there are new bans."""
        self._listeners.append(listener)

    async def add(self, network: Network, *, reason: str, lifetime: timedelta | None) -> Ban:
        """Ban a network; a ban on the very same network is replaced.

        Args:
            network: from where nobody comes in any more, and who is in has to leave.
            reason: one line for administrators.
            lifetime: None means for ever.

        Raises:
            InvalidInputError: the reason cannot be one.
            LimitReachedError: there are too many bans.
        """
        now = self._now()
        ban = Ban(
            id=new_id(),
            network=network,
            reason=validated_reason(reason),
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
        )
        await self._store.add(ban, forget_expired_before=now - _EXPIRED_KEPT, at_most=MAX_BANS)
        _log.info("banned", network=str(network), expires_at=str(ban.expires_at))
        await self.refresh()
        return ban

    async def lift(self, network: Network) -> None:
        """Take a ban away.

        Raises:
            NotFoundError: there is none on exactly that network; a wider one is named.
        """
        bans = await self.list()
        if all(ban.network != network for ban in bans) or not await self._store.delete(network):
            wider = [ban for ban in bans if ban.network != network and ban.network.overlaps(network)]
            hint = f"; it has to do with the ban on {shown_network(wider[0].network)}" if wider else ""
            raise NotFoundError(f"there is no ban on {shown_network(network)}{hint}")
        _log.info("ban_lifted", network=str(network))
        await self.refresh()

    async def list(self) -> Sequence[Ban]:
        """The bans that are in force, the newest first."""
        async with self._reading:
            bans = await self._store.list()
            self._take(bans)
        return [ban for ban in bans if self._in_force(ban)]

    async def refresh(self) -> None:
        """Read the list again. Raises `StoreUnavailableError`, and the last one holds."""
        await self.list()

    async def watch(self, stop: asyncio.Event) -> None:
        """Read the list again every few seconds until `stop`."""
        away = False
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._refresh_s):
                    await stop.wait()
                    return
            try:
                await self.refresh()
                away = False
            except StoreUnavailableError as error:
                if not away:
                    _log.warning("bans_not_read", cause=str(error))
                away = True

    @property
    def count(self) -> int:
        """How many are in force, as far as this process knows."""
        return sum(self._clock() < deadline for deadline in self._deadlines.values())

    def _in_force(self, ban: Ban) -> bool:
        return self._clock() < self._deadlines.get(ban.id, -math.inf)

    def _take(self, bans: Sequence[Ban]) -> None:
        """Make this the list; what was known before keeps its deadline."""
        before = self._deadlines
        self._deadlines = {ban.id: before.get(ban.id, self._deadline_of(ban)) for ban in bans}
        self._table = BanTable(ban for ban in bans if self._in_force(ban))
        if any(ban.id not in before and self._in_force(ban) for ban in bans):
            for listener in self._listeners:
                listener()

    def _deadline_of(self, ban: Ban) -> float:
        if ban.expires_at is None:
            return math.inf
        return self._clock() + (ban.expires_at - self._now()).total_seconds()
