"""What an SSH client is told when something fails: one line with the way out, and a status of sysexits.h."""

import os

from rootblood.errors import (
    ConfigurationError,
    EngineUnavailableError,
    EnvironmentBrokenError,
    EnvironmentFailedError,
    ImageMissingError,
    LimitReachedError,
    RootBloodError,
    StoreUnavailableError,
)

INTERNAL_STATUS = os.EX_SOFTWARE
INTERNAL_MESSAGE = "something went wrong inside RootBlood; it is in the server's log, ask your administrator"

BROKEN_OFF = "your environment was stopped or the way into it broke off"
"""What is said where nobody has told why in time."""

CAUSE_S = 5.0
"""For word of why; it comes within milliseconds, unless the engine is away or the machine very busy."""

_STATUSES: tuple[tuple[type[RootBloodError], int], ...] = (
    (EngineUnavailableError, os.EX_UNAVAILABLE),
    (StoreUnavailableError, os.EX_UNAVAILABLE),
    (EnvironmentFailedError, os.EX_UNAVAILABLE),
    (LimitReachedError, os.EX_TEMPFAIL),
    (ImageMissingError, os.EX_CONFIG),
    (ConfigurationError, os.EX_CONFIG),
)


def exit_status(error: RootBloodError) -> int:
    """Exit status of a session that ended in `error`."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), os.EX_NOPERM)


def explanation(error: RootBloodError, account_name: str) -> str:
    """What went wrong, and what the account can do about it from an SSH client."""
    if isinstance(error, EnvironmentBrokenError):
        return f"{error}; to see why: ssh {account_name}+rescue@<this host>"
    if isinstance(error, StoreUnavailableError):
        return f"{error}; try again in a moment, or ask your administrator"
    return str(error)


def message_line(text: str, *, terminal: bool) -> bytes:
    """One line of RootBlood's own, ended as a raw terminal or a pipe needs it."""
    ending = "\r\n" if terminal else "\n"
    return f"rootblood: {text}{ending}".encode()
