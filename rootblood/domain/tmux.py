"""The tmux sessions that keep an account's shells alive between its visits."""

import re
from dataclasses import dataclass
from datetime import datetime

NEW = "new"
"""In place of a number: a session that is not there yet."""

_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class TmuxSession:
    """One session of the tmux that a login's shell runs in."""

    number: str
    """What tmux shows as `$3`, without the dollar; see `is_session`."""

    created_at: datetime
    last_used_at: datetime
    attached: int
    """How many terminals show it now."""

    command: str
    """What runs in it, by its name: hostile text."""

    title: str
    """What it calls itself: hostile text."""


def is_session(text: str) -> bool:
    """Whether `text` can be the number of a tmux session; cheap, and safe on hostile input of any length."""
    return _NUMBER.fullmatch(text) is not None
