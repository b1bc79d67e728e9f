"""One shared link an account, for all its connections to this server.

Opening a link costs about as much as a whole login, so it is shared, and kept for a grace after its last use.
A link that died or stalled is replaced at the next use; what a stalled one still carries stays on it until
the account's last use.
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
    retired: list[Link] = field(default_factory=list)
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    closing: asyncio.TimerHandle | None = None


class LinkPool:
    """Shares links by key: the userhash, and more for a link that not all of an account may share.

    Args:
        idle_grace_s: how long an unused link stays open.
    """

    def __init__(self, idle_grace_s: float) -> None:
        self._idle_grace_s = idle_grace_s
        self._entries: dict[str, _Entry] = {}
        self._closers: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def link(self, key: str, open_new: Callable[[], Awaitable[Link]]) -> AsyncIterator[Link]:
        """Lend the account's link; `open_new` makes it where there is none that works."""
        entry = self._entries.setdefault(key, _Entry())
        entry.users += 1
        if entry.closing is not None:
            entry.closing.cancel()
            entry.closing = None
        try:
            async with entry.opening:
                if entry.link is not None and not entry.link.is_open:
                    entry.retired.append(entry.link)
                    entry.link = None
                if entry.link is None:
                    entry.link = await open_new()
                link = entry.link
            yield link
        finally:
            entry.users -= 1
            if entry.users == 0:
                loop = asyncio.get_running_loop()
                entry.closing = loop.call_later(self._idle_grace_s, self._expire, key, entry)

    def _expire(self, key: str, entry: _Entry) -> None:
        if self._entries.get(key) is entry:  # not so when the pool was closed meanwhile
            del self._entries[key]
        closer = asyncio.get_running_loop().create_task(_close(entry))
        self._closers.add(closer)
        closer.add_done_callback(self._closers.discard)

    async def close(self) -> None:
        """Close every link."""
        entries = list(self._entries.values())
        self._entries.clear()
        for entry in entries:
            if entry.closing is not None:
                entry.closing.cancel()
        await asyncio.gather(*self._closers, *(_close(entry) for entry in entries))


async def _close(entry: _Entry) -> None:
    links = [*entry.retired, entry.link] if entry.link is not None else entry.retired
    entry.retired, entry.link = [], None
    await asyncio.gather(*(link.close() for link in links))
