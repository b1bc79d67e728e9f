"""Who uses an environment, how long it has been idle, and what is said of either.

A lease is a row that says "somebody uses this environment until then". Who uses it renews the lease for as
long as the use lasts; a server that died renews nothing, and what it held lapses by itself. `keep` is a lease
that nobody renews: its end is what the account asked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rootblood.domain.environments import RestartReason
from rootblood.errors import InvalidInputError

MAX_DETAIL_CHARS = 200

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_DURATION = re.compile(r"([1-9][0-9]{0,6})([smhd])")


class LeaseKind(StrEnum):
    """What an environment is used for."""

    SSH = "ssh"
    WEB = "web"
    EXPORT = "export"
    IMPORT = "import"
    KEEP = "keep"
    """Nothing: the account asked that it runs on until then."""


@dataclass(frozen=True, slots=True)
class NewLease:
    """A use that begins."""

    id: str
    userhash: str
    kind: LeaseKind
    detail: str = ""
    """From where, or what for, in a few words; others may have chosen them."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One that is kept, by the database's clock."""

    id: str
    kind: LeaseKind
    detail: str
    opened_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Idleness:
    """What the reaper remembers of an environment from one look to the next."""

    looked_at: datetime
    """When it was last looked at, or last in use."""

    idle_s: float = 0.0
    """For how long it has done nothing."""

    unattended_s: float = 0.0
    """For how long nobody has used it, whatever it did."""

    cpu_ns: int | None = None
    """CPU time used by then; None where it was not measured, as somebody used it."""

    network_bytes: int | None = None
    """Received and sent by then."""

    doing: str = ""
    """What it did, in a few words, a command of the account's among them; empty where it did nothing."""


@dataclass(frozen=True, slots=True)
class Known:
    """All that the database knows of an environment's use, at one moment."""

    now: datetime
    """By the clock that all its times are of."""

    leases: Sequence[Lease]
    """Those that have lapsed too: oldest first."""

    idleness: Idleness | None
    """None where it was never looked at."""

    def is_live(self, lease: Lease, ttl_s: float) -> bool:
        """Whether a lease says by itself that it holds.

        One of a server's lies at most `ttl_s` ahead: farther away, the clock was set back since.
        """
        left_s = (lease.expires_at - self.now).total_seconds()
        return left_s > 0 and (lease.kind is LeaseKind.KEEP or left_s <= ttl_s)


@dataclass(frozen=True, slots=True)
class Outlook:
    """Why an environment is alive, and for how long it will be as things are."""

    uses: Sequence[Lease] = ()
    """Who uses it now."""

    kept_until: datetime | None = None
    doing: str = ""
    """What it does though nobody uses it: hostile text."""

    stops_at: datetime | None = None
    """When it will be stopped if nothing more happens; None where nothing stops it, as far as is known."""

    last_stop: RestartReason | None = None
    """Why it does not run, or had to be started the last time; None where it never was, or nobody knows."""

    @property
    def reasons(self) -> list[str]:
        """Why it is alive, each in a few words; the account's own text among them is not escaped."""
        found = [f"{lease.kind} {lease.detail}".rstrip() for lease in self.uses]
        return found + ([self.doing] if self.doing else [])


def seconds_of(text: str) -> int:
    """A length of time as people type it: `90m`, `4h`, `2d`.

    Raises:
        InvalidInputError: it is none.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise InvalidInputError("a length of time is a number and s, m, h or d, such as 90m or 4h")
    return int(found[1]) * _UNITS_S[found[2]]


def kept_detail(text: str) -> str:
    """Cut, and without what a database does not store: NUL and lone surrogates."""
    return text[:MAX_DETAIL_CHARS].replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
