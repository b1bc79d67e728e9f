"""The time of day for what ends after a while, on a clock that nobody sets.

A wall clock that is corrected by a day would otherwise end every login session at once, or keep a link good
that was to hold for five minutes. So the wall clock is asked once, and the time is counted from there on by
what has passed since the machine was booted, sleep included. A correction of the wall clock counts from the
next start on.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def _wall() -> datetime:
    return datetime.now(UTC)


def _ticks_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """Call it for the time.

    Args:
        wall: the time of day at the beginning; a test's own.
        ticks_s: seconds that only ever grow; a test's own.
    """

    def __init__(self, wall: Callable[[], datetime] = _wall, ticks_s: Callable[[], float] = _ticks_s) -> None:
        self._ticks_s = ticks_s
        self._begin = wall()
        self._begin_ticks_s = ticks_s()

    def __call__(self) -> datetime:
        """Return the time, in UTC."""
        return self._begin + timedelta(seconds=self._ticks_s() - self._begin_ticks_s)
