"""Environments that end by themselves again and again: the next login does not start them for a while.

What ends an environment soon after each start is most often in it: a dotfile that eats all memory, a program
that kills everything. A client that connects anew by itself would start it for ever. So after some ends in a
row a login is refused, with the time to wait and the way to the rescue console. Whoever is to mend it is not
in anybody's way: a start that is asked for as such begins the count anew.

The count is kept in memory, as each server that shares the engine hears of all ends and so counts the same.
A server that starts anew begins with nothing, which costs a loop a few more starts. That an owner or an
administrator let an environment start at another server shows here as a start that came too early.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rootblood.domain.rendering import span
from rootblood.errors import EnvironmentBrokenError
from rootblood.settings import CrashLoopSettings

_SAME_S = 1.0
"""Servers hear of an end at about the same time: a start so shortly before the end of a wait was another's
login, and no early one."""

_FOREVER = 64
"""Doublings after which no wait gets longer."""


@dataclass(slots=True)
class _Count:
    ends: int = 0
    waits_until: float = 0.0
    let_in: bool = False
    """Whether the start that is heard of next is that of somebody whom this server has let in."""


class CrashLoops:
    """Counts ends, and refuses starts.

    Args:
        settings: how many are a loop.
        monotonic: seconds that only ever grow; a test's own.
    """

    def __init__(
        self, settings: CrashLoopSettings | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings or CrashLoopSettings()
        self._monotonic = monotonic
        self._counts: dict[str, _Count] = {}

    def apply(self, settings: CrashLoopSettings) -> None:
        """Go by these settings from the next end on; a wait that has begun stays as it is."""
        self._settings = settings

    def ended(self, userhash: str, ran_s: float | None) -> None:
        """Count an end that nobody asked for.

        Args:
            userhash: whose environment.
            ran_s: how long it had run; None where nobody knows, which changes nothing.
        """
        if ran_s is None:
            return
        if ran_s > self._settings.within_s:
            self.forget(userhash)
            return
        count = self._counts.setdefault(userhash, _Count())
        count.ends += 1
        beyond = count.ends - self._settings.ends
        if beyond >= 0:
            wait_s = self._settings.first_wait_s * 2 ** min(beyond, _FOREVER)
            count.waits_until = self._monotonic() + min(wait_s, self._settings.max_wait_s)

    def started(self, userhash: str) -> None:
        """It was started, here or elsewhere."""
        count = self._counts.get(userhash)
        if count is None:
            return
        if count.let_in:  # perhaps before there was word of the last end
            count.let_in = False
        elif self._remaining_s(count) > _SAME_S:
            self.forget(userhash)

    def forget(self, userhash: str) -> None:
        """Begin anew: somebody who may has ended it, or asked for a start."""
        self._counts.pop(userhash, None)

    def let_in(self, userhash: str) -> None:
        """Let a login start it.

        Raises:
            EnvironmentBrokenError: not for a while yet; the message says for how long.
        """
        count = self._counts.get(userhash)
        if count is None:
            return
        remaining_s = self._remaining_s(count)
        if remaining_s > 0:
            raise EnvironmentBrokenError(
                f"your environment ended by itself {count.ends} times, each time soon after its start; "
                f"a login starts it again in {span(remaining_s + 1)}"
            )
        count.let_in = True

    def _remaining_s(self, count: _Count) -> float:
        return count.waits_until - self._monotonic()
