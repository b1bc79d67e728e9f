"""What a program of an environment complains of, though it did what it was asked for: hostile text."""

from collections.abc import Sequence
from dataclasses import dataclass

from rootblood.domain.rendering import shown

_MAX_LISTED = 20
_MAX_CHARS = 500
_TAIL_CHARS = 150
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


class Hearing:
    """Takes what a program complains of line by line, for ever if need be, and counts what it does not keep.

    Args:
        lesser: how lines end that are no errors, and are told last.
    """

    def __init__(self, lesser: tuple[str, ...]) -> None:
        self._endings = lesser
        self._errors: list[str] = []
        self._lesser: list[str] = []
        self._count = 0

    def take(self, line: str) -> None:
        """Take the next line."""
        kept = self._lesser if line.endswith(self._endings) else self._errors
        self._count += 1
        if len(kept) < _MAX_LISTED:
            kept.append(_shortened(line))

    def heard(self) -> Complaints:
        """All until now."""
        listed = tuple([*self._errors, *self._lesser][:_MAX_LISTED])
        return Complaints(listed, self._count - len(listed))


def _shortened(line: str) -> str:
    """Without its middle, where it is too long: its end says what is the matter."""
    if len(line) <= _MAX_CHARS:
        return line
    return f"{line[: _MAX_CHARS - _TAIL_CHARS - 3]}...{line[-_TAIL_CHARS:]}"
