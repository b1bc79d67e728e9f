"""How many forwarded streams and listening ports one connection may hold, counted as its client sees them.

A stream has two ends. A client that has closed its own may open the next at once, before the environment has
closed the other. Until then the stream costs memory, and counts: so the next one waits for that, a moment,
and is not refused for the sake of one that its client takes for closed.
"""

import asyncio

_PATIENCE_S = 5.0
"""Closing takes the environment a round trip; where it takes longer than this, opening would, too."""


class Places:
    """The places of one connection; what holds one is known by the event that its client's end is closed.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._held: set[asyncio.Event] = set()
        self._waiting = 0

    async def take(self, closed: asyncio.Event) -> bool:
        """Take a place, waiting only for one whose client's end is closed already; False if there is none."""
        if self._free.locked() and self._waiting >= sum(held.is_set() for held in self._held):
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._free.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        self._held.add(closed)
        return True

    def give_back(self, closed: asyncio.Event) -> None:
        """Leave the place that was taken with `closed`."""
        self._held.remove(closed)
        self._free.release()
