"""How this server ends: it is told to, what is under way has some time left, and then the rest is closed.

From the moment it is told, nothing new begins here. Whoever has something under way that is lost if it is cut
off, a file transfer or a tarball, waits for that by `wait_for`; the time for it is the same for all of them.
"""

import asyncio
import math
from collections.abc import Awaitable


class Stop:
    """The end of this server, which comes once."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        """Whether the server is to stop."""

        self._ends_at = math.inf

    def tell(self, drain_s: float) -> None:
        """Have the server stop; what is under way may go on for `drain_s` at most."""
        self._ends_at = asyncio.get_running_loop().time() + drain_s
        self.told.set()

    @property
    def remaining_s(self) -> float:
        """For how long what is under way may still go on; infinite before `tell`."""
        return max(0.0, self._ends_at - asyncio.get_running_loop().time())

    async def wait_for(self, ended: Awaitable[object]) -> bool:
        """Wait for the end of something that is under way; False where the time was up before that."""
        try:
            async with asyncio.timeout(None if math.isinf(self._ends_at) else self.remaining_s):
                await ended
        except TimeoutError:
            return False
        return True
