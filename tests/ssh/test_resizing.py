"""A terminal's size is passed on at once, then in intervals, and the last one always."""

import asyncio

from rootblood.ssh.resizing import Resizing, Size, clamped_size

INTERVAL_S = 0.05
AT_FIRST: Size = (80, 24, 0, 0)


class PassedOn:
    """Keeps what is passed on."""

    def __init__(self) -> None:
        self.sizes: list[Size] = []
        self._more = asyncio.Event()

    def __call__(self, size: Size) -> None:
        self.sizes.append(size)
        self._more.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.sizes) < count:
                self._more.clear()
                await self._more.wait()


def columns(count: int) -> Size:
    return (count, 24, 0, 0)


async def test_the_first_comes_at_once_and_of_a_storm_the_last() -> None:
    passed_on = PassedOn()
    resizing = Resizing(AT_FIRST, passed_on, INTERVAL_S)
    for count in range(100, 1100):
        resizing.change(columns(count))
    assert [columns(100)] == passed_on.sizes
    await passed_on.wait_for(2)
    assert [columns(100), columns(1099)] == passed_on.sizes
    resizing.stop()


async def test_what_is_known_already_is_not_passed_on() -> None:
    passed_on = PassedOn()
    resizing = Resizing(AT_FIRST, passed_on, INTERVAL_S)
    resizing.change(AT_FIRST)
    assert [] == passed_on.sizes
    resizing.change(columns(81))
    resizing.change(AT_FIRST)
    await passed_on.wait_for(2)
    assert [columns(81), AT_FIRST] == passed_on.sizes
    resizing.stop()


async def test_nothing_is_passed_on_after_the_end() -> None:
    passed_on = PassedOn()
    resizing = Resizing(AT_FIRST, passed_on, INTERVAL_S)
    resizing.change(columns(81))
    resizing.change(columns(82))
    resizing.stop()
    await asyncio.sleep(3 * INTERVAL_S)
    assert [columns(81)] == passed_on.sizes


def test_a_size_is_cut_to_what_the_kernel_keeps() -> None:
    assert (65535, 24, 65535, 0) == clamped_size(2**32 - 1, 24, 65536, 0)
