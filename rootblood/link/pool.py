"""One shared link an account, for all its connections to this server.

Opening a link costs about as much as a whole login, so it is shared, and kept for a grace after its last use.
Whoever needs a link while it is being opened waits for the same opening, sees the same progress, and shares
its failure; who comes later tries anew. A link that died or stalled is replaced at the next use; what a
stalled one still carries stays on it until the account's last use.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from rootblood.domain.environments import EnsureStep
from rootblood.link.link import Link

StepListener = Callable[[EnsureStep], None]
Opener = Callable[[StepListener], Coroutine[Any, Any, Link]]
"""Opens a link, and calls what it is given before each step that takes time."""


class _Opening:
    """A link that is being opened, and who waits for it."""

    def __init__(self, open_new: Opener) -> None:
        self._listeners: list[StepListener] = []
        self._step: EnsureStep | None = None
        self.task = asyncio.get_running_loop().create_task(open_new(self._tell))

    async def wait(self, on_step: StepListener | None) -> Link:
        """The link, or the failure to open it. Being cancelled leaves the opening to the others."""
        if on_step is not None:
            self._listeners.append(on_step)
            if self._step is not None:
                on_step(self._step)
        try:
            return await asyncio.shield(self.task)
        finally:
            if on_step is not None:
                self._listeners.remove(on_step)

    def _tell(self, step: EnsureStep) -> None:
        self._step = step
        for listener in self._listeners:
            listener(step)


@dataclass(slots=True)
class _Entry:
    users: int = 0
    link: Link | None = None
    opening: _Opening | None = None
    retired: list[Link] = field(default_factory=list)
    closing: asyncio.TimerHandle | None = None

    @property
    def links(self) -> list[Link]:
        """All that there are, good or bad."""
        return [*self.retired, self.link] if self.link is not None else [*self.retired]

    async def usable(self, open_new: Opener, on_step: StepListener | None) -> Link:
        """The link, opened if there is none that works."""
        if self.link is not None and not self.link.is_open:
            self.retire()
        if self.link is not None:
            return self.link
        if self.opening is None:
            self.opening = _Opening(open_new)
            self.opening.task.add_done_callback(self._opened)
        return await self.opening.wait(on_step)

    def retire(self) -> None:
        """Lend the link to nobody any more; it is closed with the others."""
        if self.link is not None:
            self.retired.append(self.link)
            self.link = None

    def _opened(self, task: asyncio.Task[Link]) -> None:
        self.opening = None
        if not task.cancelled() and task.exception() is None:
            self.link = task.result()

    async def close(self) -> None:
        """Close what is open, and open nothing more."""
        if self.opening is not None:
            task = self.opening.task
            task.cancel()
            await asyncio.wait([task])
        links = self.links
        self.retired, self.link = [], None
        await asyncio.gather(*(link.close() for link in links))


class LinkPool:
    """Shares links by key: the userhash, and more for a link that not all of an account may share.

    Args:
        idle_grace_s: how long an unused link stays open.
    """

    def __init__(self, idle_grace_s: float) -> None:
        self.idle_grace_s = idle_grace_s
        self._entries: dict[str, _Entry] = {}
        self._closers: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def link(
        self, key: str, open_new: Opener, on_step: StepListener | None = None
    ) -> AsyncIterator[Link]:
        """Lend the account's link.

        Args:
            key: whose link.
            open_new: makes it where there is none that works.
            on_step: called before each step of the opening, whoever began it.
        """
        with self._used(key) as entry:
            yield await entry.usable(open_new, on_step)

    def is_used(self, userhash: str) -> bool:
        """Whether somebody has a link of this account now, shared or of their own."""
        return any(entry.users for entry in self._entries_of(userhash))

    def linked(self) -> set[str]:
        """The accounts that have links."""
        return {_userhash(key) for key, entry in self._entries.items() if entry.links}

    def drop(self, userhash: str) -> None:
        """Give up the account's links, as their environment has ended; the next use opens a new one."""
        for entry in self._entries_of(userhash):
            for link in entry.links:
                link.abort()

    def retire(self, userhash: str) -> None:
        """Have the account's next use open a new link; what goes on on the old ones stays there."""
        for entry in self._entries_of(userhash):
            entry.retire()

    def _entries_of(self, userhash: str) -> list[_Entry]:
        return [entry for key, entry in self._entries.items() if _userhash(key) == userhash]

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Keep the account's link open for the length of a block, if it has one; open none."""
        with self._used(key):
            yield

    @contextmanager
    def _used(self, key: str) -> Iterator[_Entry]:
        entry = self._entries.setdefault(key, _Entry())
        entry.users += 1
        if entry.closing is not None:
            entry.closing.cancel()
            entry.closing = None
        try:
            yield entry
        finally:
            entry.users -= 1
            if entry.users == 0:
                loop = asyncio.get_running_loop()
                entry.closing = loop.call_later(self.idle_grace_s, self._expire, key, entry)

    def _expire(self, key: str, entry: _Entry) -> None:
        if self._entries.get(key) is entry:  # not so when the pool was closed meanwhile
            del self._entries[key]
        closer = asyncio.get_running_loop().create_task(entry.close())
        self._closers.add(closer)
        closer.add_done_callback(self._closers.discard)

    async def close(self) -> None:
        """Close every link."""
        entries = list(self._entries.values())
        self._entries.clear()
        for entry in entries:
            if entry.closing is not None:
                entry.closing.cancel()
        await asyncio.gather(*self._closers, *(entry.close() for entry in entries))


def _userhash(key: str) -> str:
    return key.partition(" ")[0]
