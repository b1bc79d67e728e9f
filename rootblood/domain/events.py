"""What happens to environments, as the engine tells it while it happens."""

from dataclasses import dataclass
from enum import StrEnum

from rootblood.domain.environments import RestartReason


class EventKind(StrEnum):
    """What happened."""

    LISTENING = "listening"
    """To the listener itself, first of all and after each interruption: from here on all is told, and what
    happened before may not have been."""

    STARTED = "started"

    STOPPING = "stopping"
    """It was told to end in order, and takes its time."""

    ENDED = "ended"
    """Nothing runs in it any more, however that came."""

    OUT_OF_MEMORY = "out-of-memory"
    """The kernel killed a process in it for want of memory; it may be the one that all others end with."""

    PAUSED = "paused"

    REMOVED = "removed"
    """Its container is gone; what ran in it has ended before."""


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """One thing that happened to one environment."""

    kind: EventKind
    userhash: str = ""
    """Whose; empty for `LISTENING` alone."""

    reason: RestartReason | None = None
    """Of an end, as far as the engine can tell; who asked for one it cannot."""

    asked: bool = False
    """Whether the engine was asked for that end; else it came from inside, or from the kernel."""

    exit_status: int | None = None
    """Of the first process, at an end."""

    ran_s: float | None = None
    """How long it had run, at an end, in seconds; None where that is not known any more."""
