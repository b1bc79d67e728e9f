"""Places for streams whose two ends are not closed at one moment."""

import asyncio

import pytest

from rootblood.ssh import places
from rootblood.ssh.places import Places


async def full(count: int) -> tuple[Places, list[asyncio.Event]]:
    """Places that are all held, and what holds them."""
    made, held = Places(count), [asyncio.Event() for _ in range(count)]
    for closed in held:
        assert await made.take(closed)
    return made, held


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_so_many_and_no_more(count: int) -> None:
    made, held = await full(count)

    assert not await made.take(asyncio.Event())
    for closed in held:
        made.give_back(closed)
        assert await made.take(asyncio.Event())
        assert not await made.take(asyncio.Event())


async def test_a_place_that_its_client_has_left_is_waited_for_by_one() -> None:
    made, (closed,) = await full(1)
    closed.set()
    next_one = asyncio.Event()

    waiting = asyncio.ensure_future(made.take(next_one))
    await asyncio.sleep(0)  # let it begin
    assert not await made.take(asyncio.Event())  # that place is spoken for
    assert not waiting.done()
    made.give_back(closed)

    assert await waiting
    made.give_back(next_one)
    assert await made.take(asyncio.Event())


async def test_the_wait_is_bounded_and_costs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_PATIENCE_S", 0.01)
    made, (closed,) = await full(1)
    closed.set()

    assert not await made.take(asyncio.Event())

    made.give_back(closed)
    assert await made.take(asyncio.Event())
