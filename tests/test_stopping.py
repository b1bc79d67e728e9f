"""The time that what is under way has left."""

import asyncio

from rootblood.stopping import Stop


async def test_what_ends_in_time_is_waited_for() -> None:
    stop, ended = Stop(), asyncio.Event()
    stop.tell(3600)
    waiting = asyncio.ensure_future(stop.wait_for(ended.wait()))
    await asyncio.sleep(0)
    ended.set()

    assert await waiting
    assert 3000 < stop.remaining_s <= 3600


async def test_what_does_not_is_given_up_and_the_time_is_the_same_for_all() -> None:
    stop = Stop()
    stop.tell(0.05)

    assert not await stop.wait_for(asyncio.Event().wait())
    assert not await stop.wait_for(asyncio.sleep(30))
    assert 0 == stop.remaining_s
