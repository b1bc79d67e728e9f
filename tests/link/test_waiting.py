"""Waiting for the first of several things."""

import asyncio

from rootblood.link.waiting import first_of


async def test_returns_with_the_first_and_cancels_the_others() -> None:
    never = asyncio.Event()
    cancelled = asyncio.Event()

    async def wait() -> None:
        try:
            await never.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await first_of(wait(), asyncio.sleep(0))

    assert cancelled.is_set()
