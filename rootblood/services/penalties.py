"""Who has tried too many wrong passwords lately, at whichever door.

As OpenSSH's PerSourcePenalties: a source is an IPv4 address or an IPv6 /64, which is what one customer of a
provider has. A few wrong passwords cost nothing; each further one doubles the time for which no password from
there is looked at. A right one takes nothing back, as an attacker may have an account too. Keys are never
penalised: they cannot be guessed, and a class behind one address must get in by them.

A password that an account gives from inside its own environment comes from no address: there the account
itself is the source.

The table lives in this process, on a clock that nobody sets, and has an end: when it is full, the source that
failed longest ago is forgotten.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network

from rootblood.domain.accounts import Account
from rootblood.domain.networks import Network, address_of
from rootblood.errors import LimitReachedError, PenalizedError
from rootblood.settings import PenaltySettings

_IPV6_PREFIX = 64

Source = IPv4Network | IPv6Network | str | None
"""A userhash is an account, from inside; None is where an address could not be told, a source like any other.
"""


@dataclass(frozen=True, slots=True)
class Penalty:
    """A source that waits."""

    source: Source
    failures: int
    """Wrong passwords lately."""

    remaining_s: float


@dataclass(slots=True)
class _Record:
    failures: int
    last_at: float
    until: float


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted_by: int = 0


class Penalties:
    """Wrong passwords by source, and whose turn it is to have one checked.

    Args:
        settings: what is allowed, and what it costs.
        clock: seconds that only ever grow; a test's own.
    """

    def __init__(self, settings: PenaltySettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._records: OrderedDict[Source, _Record] = OrderedDict()
        self._turns: dict[Source, _Turn] = {}

    def apply(self, settings: PenaltySettings) -> None:
        """Go by these settings from now on; penalties that run stay as long as they are."""
        self._settings = settings

    def check(self, origin: str | Account) -> None:
        """Pass if a password from `origin`, an address or an account, may be checked now.

        Raises:
            PenalizedError: not before some time has gone by.
        """
        record = self._records.get(source_of(origin))
        remaining_s = record.until - self._clock() if record is not None else 0.0
        if remaining_s > 0:
            raise PenalizedError("too many wrong passwords; try again later", remaining_s)

    def failed(self, origin: str | Account) -> None:
        """Count a wrong password from `origin`, an address or an account."""
        parsed = None if isinstance(origin, Account) else address_of(origin)
        if parsed is not None and any(parsed in network for network in self._settings.exempt):
            return
        source = source_of(origin)
        now = self._clock()
        record = self._records.pop(source, None)
        if record is None or now >= max(record.last_at + self._settings.forget_s, record.until):
            record = _Record(failures=0, last_at=now, until=now)
        record.failures += 1
        record.last_at = now
        beyond = record.failures - self._settings.free_failures
        if beyond > 0:
            # Bounded before it is raised: 2 ** 10,000 is a number too.
            factor = 2 ** min(beyond - 1, 32)
            record.until = now + min(self._settings.first_s * factor, self._settings.max_s)
        self._records[source] = record  # at the end: in the order of the last failure
        if len(self._records) > self._settings.max_sources:
            self._records.popitem(last=False)

    def waiting(self) -> list[Penalty]:
        """The sources from which no password is looked at now, that waits longest first."""
        now = self._clock()
        found = [
            Penalty(source, record.failures, record.until - now)
            for source, record in self._records.items()
            if record.until > now
        ]
        return sorted(found, key=lambda penalty: -penalty.remaining_s)

    def forgive(self, network: Network) -> bool:
        """Forget what came from the sources in a network, or around it; False when nothing did."""
        forgiven = [
            source
            for source in self._records
            if isinstance(source, IPv4Network | IPv6Network) and source.overlaps(network)
        ]
        for source in forgiven:
            del self._records[source]
        return bool(forgiven)

    @asynccontextmanager
    async def turn(self, origin: str | Account) -> AsyncIterator[None]:
        """Wait until no other password from there is being checked.

        So many at once are no way around the penalty that the first of them brings.

        Raises:
            LimitReachedError: too many wait already.
            PenalizedError: those ahead were wrong too often.
        """
        source = source_of(origin)
        turn = self._turns.setdefault(source, _Turn())
        if turn.wanted_by > self._settings.max_waiting:
            raise LimitReachedError("too many logins at once from there: try again in a moment")
        turn.wanted_by += 1
        try:
            async with turn.lock:
                self.check(origin)
                yield
        finally:
            turn.wanted_by -= 1
            if not turn.wanted_by:
                self._turns.pop(source, None)


def source_of(origin: str | Account) -> Source:
    """What counts as one source with `origin`, an address or an account."""
    if isinstance(origin, Account):
        return origin.userhash
    parsed = address_of(origin)
    if parsed is None:
        return None
    if isinstance(parsed, IPv6Address):
        return IPv6Network((parsed, _IPV6_PREFIX), strict=False)
    return IPv4Network(parsed)
