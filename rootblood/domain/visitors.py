"""Who is connected, as one door tells another."""

from collections.abc import Sequence
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
