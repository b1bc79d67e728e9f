"""A terminal's size, passed on as often as is of use: a window that is dragged changes it all the time."""

import asyncio
from collections.abc import Callable

Size = tuple[int, int, int, int]
"""Columns, rows, width and height in pixels."""

_MAX_DIMENSION = 0xFFFF


def clamped_size(width: int, height: int, pixel_width: int, pixel_height: int) -> Size:
    """A terminal's size as the kernel can keep it: 16 bits a side."""
    return (
        min(width, _MAX_DIMENSION),
        min(height, _MAX_DIMENSION),
        min(pixel_width, _MAX_DIMENSION),
        min(pixel_height, _MAX_DIMENSION),
    )


class Resizing:
    """Passes a size on at once, the next no sooner than an interval later, and the last one always.

    Args:
        known: the size that the other side has already.
        pass_on: called with each that it is to have.
        interval_s: between two of them.
    """

    def __init__(self, known: Size, pass_on: Callable[[Size], None], interval_s: float) -> None:
        self._known = known
        self._wanted = known
        self._pass_on = pass_on
        self._interval_s = interval_s
        self._pause: asyncio.TimerHandle | None = None

    def change(self, size: Size) -> None:
        """Let the other side have `size`, now or soon."""
        self._wanted = size
        if self._pause is None:
            self._catch_up()

    def stop(self) -> None:
        """Pass on no more."""
        if self._pause is not None:
            self._pause.cancel()

    def _catch_up(self) -> None:
        self._pause = None
        if self._wanted != self._known:
            self._known = self._wanted
            self._pass_on(self._wanted)
            self._pause = asyncio.get_running_loop().call_later(self._interval_s, self._catch_up)
