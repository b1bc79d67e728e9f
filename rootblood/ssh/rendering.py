"""Values as people read them on a terminal; text that others wrote is escaped and cut here."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rootblood.domain.text import escape_controls

_MIB = 1024 * 1024
_GIB = 1024 * _MIB
_MINUTE_S = 60
_HOUR_S = 60 * _MINUTE_S
_DAY_S = 24 * _HOUR_S


def shown(text: str, max_chars: int = 60) -> str:
    """Text that somebody else wrote, on one line of at most `max_chars` characters."""
    escaped = escape_controls(text[: max_chars + 1])
    return escaped if len(escaped) <= max_chars else escaped[: max_chars - 3] + "..."


def size(count: int) -> str:
    """A number of bytes."""
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / _MIB:.0f} MiB"


def moment(at: datetime) -> str:
    """A point in time, in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """A length of time, in its two largest units."""
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns as wide as they need to be, each row ended by a newline."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in rows
    )
