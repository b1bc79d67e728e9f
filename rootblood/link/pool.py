"""One shared link an account, for all its connections to this server.

Opening a link costs about as much as a whole login, so it is shared, and kept for a grace after its last use.
A link that died is replaced at the next use.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from rootblood.link.link import Link

_log = structlog.stdlib.get_logger(__name__)


@dataclass(slots=True)
class _Entry:
    users: int = 0
    link: Link | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    closing: asyncio.TimerHandle | None = None


class LinkPool:
    """Shares links by userhash.

    Args:
        idle_grace_s: how long an unused link stays open.
    """

    def __init__(self, idle_grace_s: float) -> None:
        self._idle_grace_s = idle_grace_s
        self._entries: dict[str, _Entry] = {}
        self._closers: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def link(self, userhash: str, open_new: Callable[[], Awaitable[Link]]) -> AsyncIterator[Link]:
        """Lend the account's link; `open_new` makes it where there is none that works."""
        entry = self._entries.setdefault(userhash, _Entry())
        entry.users += 1
        if entry.closing is not None:
            entry.closing.cancel()
            entry.closing = None
        try:
            async with entry.opening:
                if entry.link is None or not entry.link.is_open:
                    entry.link = await open_new()
                link = entry.link
            yield link
        finally:
            entry.users -= 1
            if entry.users == 0:
                loop = asyncio.get_running_loop()
                entry.closing = loop.call_later(self._idle_grace_s, self._expire, userhash)

    def _expire(self, userhash: str) -> None:
        entry = self._entries.pop(userhash)
        if entry.link is not None and entry.link.is_open:
            closer = asyncio.get_running_loop().create_task(entry.link.close())
            self._closers.add(closer)
            closer.add_done_callback(self._closers.discard)

    async def close(self) -> None:
        """Close every link."""
        entries = list(self._entries.values())
        self._entries.clear()
        for entry in entries:
            if entry.closing is not None:
                entry.closing.cancel()
        await asyncio.gather(
            *self._closers, *(entry.link.close() for entry in entries if entry.link is not None)
        )
