"""What a program says on its standard error: counted by kind as it comes, and the first of each kind kept.

A hostile home, or a hostile archive, has tar say anything for ever, in lines of any length. What matters must
not drown in that, so it is told first; what is not told is counted.
"""

import re
from collections.abc import Mapping

ERROR = "error"
"""The kind of whatever is of no other."""

MAX_TOLD = 20
_MAX_ERRORS = 3

# The beginning of a line names what it is about, and may be long; its end says what is the matter.
_HEAD_BYTES = 320
_TAIL_BYTES = 150


class Complaints:
    """What one program says.

    Args:
        prefix: what its lines begin with, and are told without.
        kinds: of lines that are no errors, a pattern of their end, those that matter most first.
    """

    def __init__(self, prefix: str, kinds: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._kinds = {kind: re.compile(f"(?:{pattern})$") for kind, pattern in kinds.items()}
        self._kept: dict[str, list[str]] = {kind: [] for kind in (ERROR, *kinds)}
        self._counts = dict.fromkeys(self._kept, 0)
        self._line = b""

    def take(self, data: bytes) -> None:
        """Take the next of what it says."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._add(line)
            self.end()
        self._add(rest)

    def end(self) -> None:
        """Take note of the line that it has begun, if any."""
        line = self._line.decode(errors="replace").removeprefix(self._prefix)
        self._line = b""
        # That one tells tar's status in words.
        if line and not line.startswith("Exiting with failure status"):
            kind = next((kind for kind, pattern in self._kinds.items() if pattern.search(line)), ERROR)
            self._counts[kind] += 1
            if len(self._kept[kind]) < MAX_TOLD:
                self._kept[kind].append(line)

    def count(self, kind: str) -> int:
        """How many lines there were of a kind."""
        return self._counts[kind]

    def errors(self) -> str:
        """Why it failed, in its words; empty where it does not say."""
        told = self._kept[ERROR][:_MAX_ERRORS]
        more = self._counts[ERROR] - len(told)
        return "; ".join([*told, *([f"and {more} more"] if more else [])])

    def told(self) -> tuple[list[str], int]:
        """Those that matter most, and how many more there were."""
        told = [line for lines in self._kept.values() for line in lines][:MAX_TOLD]
        return told, sum(self._counts.values()) - len(told)

    def _add(self, piece: bytes) -> None:
        line = self._line + piece
        if len(line) > _HEAD_BYTES + _TAIL_BYTES:
            line = line[:_HEAD_BYTES] + b"..." + line[-_TAIL_BYTES:]
        self._line = line
