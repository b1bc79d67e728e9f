"""What a program of an environment complains of, though it did what it was asked for: hostile text."""

from collections.abc import Sequence
from dataclasses import dataclass

from rootblood.domain.rendering import shown

_MAX_LISTED = 20
_MAX_CHARS = 500
_MAX_UNLISTED = 2**53
"""What every reader of JSON takes for a whole number."""


@dataclass(frozen=True, slots=True)
class Complaints:
    """A few lines, those that matter most first, and how many more there were."""

    listed: tuple[str, ...] = ()
    unlisted: int = 0

    @classmethod
    def told(cls, listed: object, unlisted: object) -> "Complaints":
        """Those that a program tells of. Raises `ValueError` for what is no list and no number."""
        if not isinstance(listed, list) or type(unlisted) is not int or not 0 <= unlisted < _MAX_UNLISTED:
            raise ValueError("no complaints")
        kept = tuple(str(line)[:_MAX_CHARS] for line in listed[:_MAX_LISTED])
        return cls(kept, unlisted + len(listed) - len(kept))

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.listed) + self.unlisted

    def lines(self, limit: int = _MAX_LISTED) -> Sequence[str]:
        """The first `limit`, safe to show, and a line that tells how many more there were, if any."""
        lines = [shown(line, _MAX_CHARS) for line in self.listed[:limit]]
        more = self.count - len(lines)
        return [*lines, f"and {more} more"] if more else lines
