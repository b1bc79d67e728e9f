"""How environments have just come to their ends, for whoever was in one and is to be told why.

Who is in an environment sees a connection break off, and the engine's word of it comes a moment sooner or
later. So what is asked here is not how an environment is, but what has become of it since somebody came in,
and the answer is waited for. It is remembered for a minute, by the process that heard of it: each server
hears of every end, and nobody else has anything to tell to those that are connected to it.
"""

import asyncio
import time
from dataclasses import dataclass

from rootblood.domain.environments import RestartReason

_REMEMBERED_S = 60.0
"""Longer than anybody waits to be told."""


@dataclass(frozen=True, slots=True)
class _End:
    reason: RestartReason
    noticed_at: float


class Ends:
    """Remembers, and tells who waits."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._ends: dict[str, _End] = {}
        self._noticed = asyncio.Condition()

    async def notice(self, userhash: str, reason: RestartReason) -> None:
        """Remember that the environment has ended, or is about to."""
        now = time.monotonic()
        recent = {key: end for key, end in self._ends.items() if now - end.noticed_at < _REMEMBERED_S}
        self._ends = {**recent, userhash: _End(reason, now)}
        async with self._noticed:
            self._noticed.notify_all()

    async def since(self, userhash: str, moment: float, *, patience_s: float) -> RestartReason | None:
        """Why the environment has ended since a moment.

        Args:
            userhash: whose.
            moment: by `time.monotonic`: when whoever asks came in.
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
        return end if end is not None and end.noticed_at >= moment else None
