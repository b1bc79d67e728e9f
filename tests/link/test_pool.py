"""Links are shared, kept for a grace, and replaced when they die or stall."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from rootblood.domain.environments import EnsureStep
from rootblood.errors import EnvironmentFailedError
from rootblood.link.link import Link
from rootblood.link.pool import LinkPool, StepListener

ALICE, BOB = "a" * 32, "b" * 32
GRACE_S = 0.05


class FakeLink:
    """What the pool needs to know of a link."""

    def __init__(self) -> None:
        self.is_open = True
        self.closed = asyncio.Event()

    def abort(self) -> None:
        self.is_open = False

    async def close(self) -> None:
        self.is_open = False
        self.closed.set()


class Opener:
    """Opens fake links and counts them; can be told to fail."""

    def __init__(self) -> None:
        self.opened: list[FakeLink] = []
        self.tries = 0
        self.fail = False

    async def __call__(self, tell: StepListener) -> Link:
        tell(EnsureStep.CREATE)
        await asyncio.sleep(0)
        tell(EnsureStep.START)
        await asyncio.sleep(0)
        self.tries += 1
        if self.fail:
            raise EnvironmentFailedError("no way in")
        self.opened.append(FakeLink())
        return cast("Link", self.opened[-1])


@pytest.fixture
def opener() -> Opener:
    return Opener()


@pytest.fixture
async def pool() -> AsyncIterator[LinkPool]:
    made = LinkPool(GRACE_S)
    yield made
    await made.close()


async def use(pool: LinkPool, opener: Opener, userhash: str = ALICE) -> Link:
    async with pool.link(userhash, opener) as link:
        return link


async def closed(link: FakeLink) -> None:
    async with asyncio.timeout(60):
        await link.closed.wait()


async def test_an_account_has_one_link_for_all_its_uses(pool: LinkPool, opener: Opener) -> None:
    links = await asyncio.gather(*(use(pool, opener) for _ in range(10)))
    assert 1 == len(opener.opened)
    assert {id(opener.opened[0])} == {id(link) for link in links}


async def test_accounts_share_no_link(pool: LinkPool, opener: Opener) -> None:
    assert await use(pool, opener, ALICE) is not await use(pool, opener, BOB)


async def test_an_unused_link_is_closed_after_the_grace(pool: LinkPool, opener: Opener) -> None:
    await use(pool, opener)
    assert opener.opened[0].is_open
    await closed(opener.opened[0])
    await use(pool, opener)
    assert 2 == len(opener.opened)


async def test_a_link_in_use_outlives_the_grace_of_an_earlier_use(opener: Opener) -> None:
    pool = LinkPool(GRACE_S)
    await use(pool, opener)
    async with pool.link(ALICE, opener):
        await use(pool, opener, BOB)
        await closed(opener.opened[1])  # bob's grace began later than alice's first
        assert opener.opened[0].is_open
    await pool.close()


async def test_a_link_that_is_held_outlives_the_grace_and_none_is_opened_to_be_held(
    pool: LinkPool, opener: Opener
) -> None:
    with pool.hold(ALICE):
        assert [] == opener.opened
        await use(pool, opener)
        await use(pool, opener, BOB)
        await closed(opener.opened[1])  # bob's grace began later than alice's would have
        assert opener.opened[0].is_open
    await closed(opener.opened[0])


async def test_a_link_that_died_is_replaced(pool: LinkPool, opener: Opener) -> None:
    await use(pool, opener)
    await opener.opened[0].close()
    assert await use(pool, opener) is cast("Link", opener.opened[1])


async def test_a_link_that_stalled_is_replaced_and_closed_with_the_last_use(
    pool: LinkPool, opener: Opener
) -> None:
    async with pool.link(ALICE, opener):
        opener.opened[0].is_open = False  # takes no new session, but carries one
        assert await use(pool, opener) is cast("Link", opener.opened[1])
        assert not opener.opened[0].closed.is_set()
    for link in opener.opened:
        await closed(link)


async def test_a_link_that_cannot_be_opened_is_tried_again_at_the_next_use(
    pool: LinkPool, opener: Opener
) -> None:
    opener.fail = True
    with pytest.raises(EnvironmentFailedError):
        await use(pool, opener)
    opener.fail = False
    assert await use(pool, opener) is cast("Link", opener.opened[0])


async def test_who_waits_for_the_same_opening_shares_its_failure(pool: LinkPool, opener: Opener) -> None:
    opener.fail = True
    answers = await asyncio.gather(*(use(pool, opener) for _ in range(10)), return_exceptions=True)
    assert 10 == sum(isinstance(answer, EnvironmentFailedError) for answer in answers)
    assert 1 == opener.tries


async def test_who_waits_sees_the_steps_of_an_opening_that_somebody_else_began(
    pool: LinkPool, opener: Opener
) -> None:
    seen: list[EnsureStep] = []

    async def join() -> None:
        await asyncio.sleep(0)  # the first step is over by then
        async with pool.link(ALICE, opener, seen.append):
            pass

    await asyncio.gather(use(pool, opener), join())
    assert [EnsureStep.CREATE, EnsureStep.START] == seen


async def test_who_gives_up_leaves_the_opening_to_the_others(pool: LinkPool, opener: Opener) -> None:
    first = asyncio.create_task(use(pool, opener))
    other = asyncio.create_task(use(pool, opener))
    await asyncio.sleep(0)
    first.cancel()
    assert await other is cast("Link", opener.opened[0])
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_closing_gives_up_what_is_being_opened(opener: Opener) -> None:
    pool = LinkPool(GRACE_S)
    waiting = asyncio.create_task(use(pool, opener))
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [] == opener.opened


async def test_closing_closes_every_link_and_lets_late_users_go(pool: LinkPool, opener: Opener) -> None:
    async with pool.link(ALICE, opener):
        await use(pool, opener, BOB)
        await pool.close()
        assert [False, False] == [link.is_open for link in opener.opened]
    await asyncio.sleep(2 * GRACE_S)  # what the late user left behind ends without an error


async def test_what_is_dropped_is_replaced_at_the_next_use_and_others_stay(opener: Opener) -> None:
    pool = LinkPool(idle_grace_s=3600)
    assert set() == pool.linked()
    for key in (ALICE, f"{ALICE} /agent", BOB):
        await use(pool, opener, key)
    assert {ALICE, BOB} == pool.linked()
    pool.drop(ALICE)
    assert [False, False, True] == [link.is_open for link in opener.opened]
    assert (await use(pool, opener)).is_open
    assert 4 == opener.tries
    await pool.close()


async def test_what_is_retired_goes_on_for_those_who_have_it_and_others_get_a_new_one(
    pool: LinkPool, opener: Opener
) -> None:
    async with pool.link(ALICE, opener) as link:
        pool.retire(ALICE)
        assert link.is_open
        assert link is not await use(pool, opener)
        assert [True, True] == [opened.is_open for opened in opener.opened]
    for opened in opener.opened:
        await closed(opened)


async def test_another_grace_counts_for_a_link_that_is_open(opener: Opener) -> None:
    pool = LinkPool(idle_grace_s=3600)
    async with pool.link(ALICE, opener):
        pool.idle_grace_s = GRACE_S

    await closed(opener.opened[0])
    await pool.close()
