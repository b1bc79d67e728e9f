"""Who is connected, as one door tells another."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class Visitor(Protocol):
    """A connection of the account."""

    @property
    def peer(self) -> str:
        """Address of the client."""

    @property
    def since(self) -> datetime:
        """When it connected."""

    @property
    def activities(self) -> Sequence[str]:
        """What its sessions run."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A visitor as it was when somebody asked, and the door that it came in by."""

    door: str
    """`ssh` or `web`."""

    peer: str
    since: datetime
    activities: Sequence[str]
    """What its sessions run: hostile text. Empty where it has none open, as a client that only forwards."""
