"""Who is attached to an account's environment, at all doors of this server.

Each door knows its own connections and keeps them; here they are asked for together.
"""

from collections.abc import Callable, Sequence

from rootblood.domain.accounts import Account
from rootblood.domain.visitors import Attached, Visitor

Visitors = Callable[[Account], Sequence[Visitor]]
"""Gives the open connections of an account at one door."""


class Presence:
    """The doors, and what they say."""

    def __init__(self) -> None:
        """Begin with no door."""
        self._doors: dict[str, Visitors] = {}

    def add_door(self, name: str, visitors: Visitors) -> None:
        """Ask `visitors` from now on for who came in by the door `name`."""
        self._doors[name] = visitors

    def of(self, account: Account) -> Sequence[Attached]:
        """The account's connections, oldest first."""
        found = [
            Attached(door=door, peer=visitor.peer, since=visitor.since, activities=list(visitor.activities))
            for door, visitors in self._doors.items()
            for visitor in visitors(account)
        ]
        return sorted(found, key=lambda attached: attached.since)
