"""How environments have just come to their ends, for whoever was in one and is to be told why.

Who is in an environment sees a connection break off, and the engine's word of it comes a moment sooner or
later. So what is asked here is not how an environment is, but what has become of it since somebody came in,
and the answer is waited for. It is remembered for seconds, by the process that heard of it: each server
hears of every end, and nobody else has anything to tell to those that are connected to it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from rootblood.domain.environments import RestartReason
from rootblood.engines.base import STOP_GRACE_S

_REMEMBERED_S = STOP_GRACE_S + 5.0
"""From the word that it is to stop to the last who is cut off; what breaks off later does so of itself."""


@dataclass(frozen=True, slots=True)
class _End:
    reason: RestartReason
    noticed_at: float


class Ends:
    """Remembers, and tells who waits.

    Args:
        monotonic: seconds that only ever grow; a test's own.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ends: dict[str, _End] = {}
        self._noticed = asyncio.Condition()

    async def notice(self, userhash: str, reason: RestartReason) -> None:
        """Remember that the environment has ended, or is about to."""
        now = self._monotonic()
        recent = {key: end for key, end in self._ends.items() if now - end.noticed_at < _REMEMBERED_S}
        self._ends = {**recent, userhash: _End(reason, now)}
        async with self._noticed:
            self._noticed.notify_all()

    async def since(self, userhash: str, moment: float, *, patience_s: float) -> RestartReason | None:
        """Why the environment has ended since a moment.

        Args:
            userhash: whose.
            moment: by the same clock, when whoever asks came in.
            patience_s: how long to wait for word of it; 0 asks for what is known.

        Returns:
            None where it has not ended, or nobody has said so in time.
        """
        found = self._known(userhash, moment)
        if found is None and patience_s > 0:
            try:
                async with asyncio.timeout(patience_s), self._noticed:
                    await self._noticed.wait_for(lambda: self._known(userhash, moment) is not None)
            except TimeoutError:
                return None
            found = self._known(userhash, moment)
        return found.reason if found is not None else None

    def _known(self, userhash: str, moment: float) -> _End | None:
        end = self._ends.get(userhash)
        if end is None or self._monotonic() - end.noticed_at >= _REMEMBERED_S:
            return None
        return end if end.noticed_at >= moment else None
