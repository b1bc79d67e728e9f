"""What the core and the doors tell whoever counts; who that is they do not know.

Only what happens is told here, in words of which there are few: nothing that a user can choose is passed on.
What there is at a moment (open connections, environments) is asked for instead, by whoever wants to know.
"""

from enum import StrEnum
from typing import Protocol

from rootblood.domain.audit import Door
from rootblood.errors import PenalizedError, RootBloodError

ENTRANCES = (Door.SSH, Door.WEB)
"""The doors that somebody connects to; what is asked for by `Door.API` came by the web door."""


class LoginOutcome(StrEnum):
    """How a login ended."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """Wrong password, unknown name, locked account: all the same."""

    PENALIZED = "penalized"
    """Not looked at, as too many wrong ones came from there."""

    UNAVAILABLE = "unavailable"
    """Not looked at, as the database was away or too many waited."""

    @classmethod
    def of(cls, error: RootBloodError) -> "LoginOutcome":
        """The outcome of a login that ended in `error`."""
        return cls.PENALIZED if isinstance(error, PenalizedError) else cls.UNAVAILABLE


class Metrics(Protocol):
    """Who counts."""

    def connected(self, door: Door) -> None:
        """A connection came in, and was not turned away."""

    def turned_away(self, door: Door) -> None:
        """A connection, or at the HTTP door a request, came from a banned network."""

    def login(self, door: Door, outcome: LoginOutcome) -> None:
        """Somebody tried to log in. Offered SSH keys that would not do are no tries."""

    def link_opening(self, duration_s: float, *, opened: bool) -> None:
        """A link into a running environment was opened, or could not be."""

    def responded(self, route: str, status: int) -> None:
        """The HTTP door answered.

        Args:
            route: template of the path, never the path itself.
            status: of the answer.
        """


class Unmeasured:
    """Nobody counts."""

    def connected(self, door: Door) -> None:
        """Nothing."""

    def turned_away(self, door: Door) -> None:
        """Nothing."""

    def login(self, door: Door, outcome: LoginOutcome) -> None:
        """Nothing."""

    def link_opening(self, duration_s: float, *, opened: bool) -> None:
        """Nothing."""

    def responded(self, route: str, status: int) -> None:
        """Nothing."""


UNMEASURED = Unmeasured()
