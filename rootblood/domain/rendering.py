"""Values as people read them on a terminal; text that others wrote is escaped and cut here."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rootblood.domain.environments import EnvironmentDetails, EnvironmentState, RestartReason, Usage
from rootblood.domain.homes import HomeSize
from rootblood.domain.leases import Outlook
from rootblood.domain.text import escape_controls

_KIB = 1024
_MIB = 1024 * _KIB
_GIB = 1024 * _MIB
_MAX_USES = 5

LAST_STOPS = {
    RestartReason.OUT_OF_MEMORY: "it ran out of memory",
    RestartReason.ADMINISTRATOR: "an administrator stopped it",
    RestartReason.OWNER: "you asked for it",
    RestartReason.IDLE: "nobody used it",
    RestartReason.HOST: "the machine or Docker restarted",
    RestartReason.KILLED: "it was killed",
    RestartReason.STOPPED: "it was told to stop",
    RestartReason.ENDED: "it ended by itself",
    RestartReason.CHANGED: "the image or settings had changed",
    RestartReason.REMOVED: "its container was gone",
}
"""Why it last stopped."""

ENDS = {
    RestartReason.OUT_OF_MEMORY: "your environment ran out of memory",
    RestartReason.ADMINISTRATOR: "your environment was stopped by an administrator",
    RestartReason.OWNER: "your environment was stopped, as you asked",
    RestartReason.IDLE: "your environment was stopped as nobody used it",
    RestartReason.HOST: "your environment ended with the machine or Docker",
    RestartReason.KILLED: "your environment was killed",
    RestartReason.STOPPED: "your environment was told to stop",
    RestartReason.ENDED: "your environment ended by itself",
    RestartReason.CHANGED: "your environment is made anew, as the image or the settings have changed",
    RestartReason.REMOVED: "your environment was removed, but not your home",
}
"""Why it has just ended, to whoever was in it."""

_MINUTE_S = 60
_HOUR_S = 60 * _MINUTE_S
_DAY_S = 24 * _HOUR_S


def shown(text: str, max_chars: int = 60) -> str:
    """Text that somebody else wrote, on one line of at most `max_chars` characters."""
    escaped = escape_controls(text[: max_chars + 1])
    return escaped if len(escaped) <= max_chars else escaped[: max_chars - 3] + "..."


def counted(count: float, noun: str) -> str:
    """So many of something, whose plural ends in s."""
    return f"{count:.12g} {noun}" if count == 1 else f"{count:.12g} {noun}s"


def size(count: int) -> str:
    """A number of bytes."""
    if 0 < count < _MIB:
        return f"{max(1, count // _KIB)} KiB"
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


def over_first_row(text: str) -> bytes:
    """What shows `text` in the first row of a terminal, and leaves all else as it is, the cursor too.

    As with wall(1), it is nobody's turn to write there, and what runs in the terminal does not know of it.
    That row is the first to be scrolled away, or drawn anew, and the last that somebody types in.
    """
    # ECMA-48 and DEC's: what does not fit into the row is cut.
    begin = "\x1b7\x1b[1;1H\x1b[?7l\x1b[0;7m\x1b[2K"
    end = "\x1b[0m\x1b[?7h\x1b8"
    return f"{begin} {text} {end}".encode()


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns as wide as they need to be, each row ended by a newline."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in rows
    )


def home_size(home: HomeSize) -> str:
    """The size of a home, and how far that is to be believed."""
    used = size(home.used_bytes) if home.used_bytes is not None else ""
    if home.measured_at is not None:
        used += f", measured {moment(home.measured_at)}"
    if home.measuring:
        return f"{used}; being measured anew" if used else "being measured"
    return "; ".join(part for part in (used, home.trouble) if part) or "measured while the environment runs"


def outlook_rows(outlook: Outlook, now: datetime) -> list[tuple[str, str]]:
    """Why an environment is alive, until when, and why it last stopped, as rows of a table."""
    rows = []
    if outlook.reasons:
        words = ", ".join(shown(reason) for reason in outlook.reasons[:_MAX_USES])
        more = len(outlook.reasons) - _MAX_USES
        rows.append(("alive as", words + (f" and {more} more" if more > 0 else "")))
    if outlook.kept_until is not None:
        rows.append(("kept", f"until {moment(outlook.kept_until)}, as you asked"))
    if outlook.stops_at is not None:
        left = span((outlook.stops_at - now).total_seconds())
        rows.append(("stops", f"{moment(outlook.stops_at)}, in {left}, if nothing happens until then"))
    if outlook.last_stop is not None:
        rows.append(("last stop", LAST_STOPS[outlook.last_stop]))
    return rows


def status_rows(
    details: EnvironmentDetails, usage: Usage | None, home: HomeSize | None = None
) -> list[tuple[str, str]]:
    """What there is to say of an environment, as rows of a table; of the home where that was asked for."""
    rows = [
        ("state", _state(details)),
        ("made", moment(details.environment.created_at)),
        ("image", shown(details.environment.image)),
    ]
    if usage is not None:
        rows += [
            ("memory", f"{size(usage.memory_bytes)} of {size(details.memory_limit_bytes)}"),
            ("cpu", f"{usage.cpus:.2f} of {counted(details.cpu_limit, 'core')}"),
            ("processes", f"{usage.pids} of {details.pids_limit}"),
        ]
    if home is not None:
        rows.append(("home", home_size(home)))
    return rows


def _state(details: EnvironmentDetails) -> str:
    state = details.environment.state
    if state in {EnvironmentState.RUNNING, EnvironmentState.PAUSED} and details.started_at is not None:
        uptime = span((datetime.now(UTC) - details.started_at).total_seconds())
        words = f"{state} since {moment(details.started_at)}, for {uptime}"
        return words + ("; it ran out of memory" if details.out_of_memory else "")
    if state is EnvironmentState.STOPPED and details.stopped_at is not None:
        cause = "out of memory" if details.out_of_memory else f"exit status {details.exit_status}"
        return f"{state} since {moment(details.stopped_at)}, {cause}"
    return str(state)
