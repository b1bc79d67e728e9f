"""What the command line prints: results on stdout, notes and the one line of a failure on stderr.

Text from the database or from an error may hold what a user wrote, so all of it is escaped here, on its way
to the terminal, and nowhere else.
"""

import json
import socket
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rootblood.domain.text import escape_controls
from rootblood.errors import ConfigurationError, RootBloodError, StoreUnavailableError


def make_streams_lenient() -> None:
    r"""Let a terminal that is not UTF-8 show `\xNN` for what it cannot show, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(escape_controls(text) + "\n")


def note(text: str) -> None:
    """Print one line on stderr that is no failure."""
    sys.stderr.write(f"rootblood: {escape_controls(text)}\n")


def explain(error: RootBloodError) -> str:
    """The message of an error for the operator, who may know what lies behind it."""
    if isinstance(error.__cause__, ConfigurationError):
        return f"{error}: {error.__cause__}"
    if not isinstance(error, StoreUnavailableError) or error.__cause__ is None:
        return str(error)
    cause: BaseException = error.__cause__
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return f"{error}: {cause}"


def reachable_host(host: str) -> str:
    """What people type for an address the server listens on: this machine's name, where it is any address."""
    return socket.gethostname() if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 - compared, not bound


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns as wide as they need to be; an empty cell is a dash."""
    cells = [list(headings), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(headings))]
    for line in cells:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def print_json(value: Any) -> None:
    """Print one JSON document, in ASCII; times are ISO 8601."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=True, default=_as_json)
    sys.stdout.write("\n")


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M UTC")
    return escape_controls("" if value is None else str(value)) or "-"


def _as_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    raise TypeError(f"{type(value).__name__} has no form in JSON")
