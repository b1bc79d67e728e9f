"""What wrong passwords cost where they come from, and nobody else."""

import asyncio
from datetime import UTC, datetime

import pytest

from rootblood.domain.accounts import Account, AccountState
from rootblood.domain.networks import network_of
from rootblood.errors import LimitReachedError, PenalizedError
from rootblood.services.penalties import Penalties, source_of
from rootblood.settings import PenaltySettings

ATTACKER = "203.0.113.7"
SETTINGS = PenaltySettings(free_failures=3, first_s=5, max_s=60, forget_s=300, max_sources=3, max_waiting=1)


class Clock:
    """A monotonic clock that tests advance."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def penalties(clock: Clock) -> Penalties:
    return Penalties(SETTINGS, clock=clock)


def an_account(name: str, userhash: str) -> Account:
    return Account(
        name=name,
        uid=20001,
        userhash=userhash,
        state=AccountState.ACTIVE,
        admin=False,
        password_hash=None,
        published=True,
        created_at=datetime.now(UTC),
    )


def remaining_s(penalties: Penalties, address: str = ATTACKER) -> float:
    try:
        penalties.check(address)
    except PenalizedError as error:
        return error.remaining_s
    return 0


def fail(penalties: Penalties, times: int, address: str = ATTACKER) -> None:
    for _ in range(times):
        penalties.failed(address)


def test_a_few_cost_nothing_and_each_further_one_doubles(penalties: Penalties, clock: Clock) -> None:
    fail(penalties, 3)
    assert 0 == remaining_s(penalties)

    costs = []
    for _ in range(6):
        fail(penalties, 1)
        costs.append(remaining_s(penalties))
        clock.now += costs[-1]
        assert 0 == remaining_s(penalties)

    assert [5, 10, 20, 40, 60, 60] == costs


def test_however_many_there_were(penalties: Penalties) -> None:
    fail(penalties, 5000)

    assert 60 == remaining_s(penalties)


def test_what_is_long_ago_is_forgotten(penalties: Penalties, clock: Clock) -> None:
    fail(penalties, 10)
    clock.now += 300

    fail(penalties, 3)

    assert 0 == remaining_s(penalties)


def test_nobody_else_pays(penalties: Penalties) -> None:
    fail(penalties, 10)

    assert 0 == remaining_s(penalties, "203.0.113.8")


def test_a_network_of_ipv6_pays_as_one(penalties: Penalties) -> None:
    for number in range(10):
        fail(penalties, 1, f"2001:db8:0:1::{number:x}")

    assert 0 < remaining_s(penalties, "2001:db8:0:1:ffff::1")
    assert 0 == remaining_s(penalties, "2001:db8:0:2::1")


def test_one_address_is_one_source_however_it_is_written() -> None:
    assert source_of(ATTACKER) == source_of(f"::ffff:{ATTACKER}")
    assert source_of("fe80::1%eth0") == source_of("fe80::1")
    assert None is source_of("?")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_exempt(penalties: Penalties, address: str) -> None:
    fail(penalties, 10, address)

    assert 0 == remaining_s(penalties, address)


def test_the_exempt_are_a_setting(clock: Clock) -> None:
    penalties = Penalties(SETTINGS.model_copy(update={"exempt": ()}), clock=clock)
    fail(penalties, 4, "127.0.0.1")

    assert 5 == remaining_s(penalties, "127.0.0.1")


def test_the_table_has_an_end_and_keeps_who_failed_last(penalties: Penalties) -> None:
    fail(penalties, 10, "203.0.113.1")
    fail(penalties, 10, "203.0.113.2")
    fail(penalties, 1, "203.0.113.1")
    for number in (3, 4):
        fail(penalties, 10, f"203.0.113.{number}")

    assert [True, False, True, True] == [
        remaining_s(penalties, f"203.0.113.{number}") > 0 for number in (1, 2, 3, 4)
    ]


def test_an_account_is_a_source_of_its_own(penalties: Penalties) -> None:
    alice, bob = an_account("alice", "a" * 32), an_account("bob", "b" * 32)
    for _ in range(4):
        penalties.failed(alice)

    with pytest.raises(PenalizedError):
        penalties.check(alice)
    penalties.check(bob)
    assert 0 == remaining_s(penalties)


async def test_one_password_of_a_source_at_a_time(penalties: Penalties) -> None:
    checking = 0
    most = 0

    async def check(address: str) -> None:
        nonlocal checking, most
        async with penalties.turn(address):
            checking += 1
            most = max(most, checking)
            await asyncio.sleep(0)
            checking -= 1

    await asyncio.gather(check(ATTACKER), check(ATTACKER))
    assert 1 == most

    await asyncio.gather(check(ATTACKER), check("203.0.113.8"))
    assert 2 == most


async def test_those_that_wait_pay_for_the_one_before(penalties: Penalties) -> None:
    fail(penalties, 3)

    async def try_wrong() -> None:
        async with penalties.turn(ATTACKER):
            await asyncio.sleep(0)
            penalties.failed(ATTACKER)

    outcomes = await asyncio.gather(try_wrong(), try_wrong(), return_exceptions=True)

    assert [type(None), PenalizedError] == [type(outcome) for outcome in outcomes]


async def test_only_so_many_wait(penalties: Penalties) -> None:
    async with penalties.turn(ATTACKER):

        async def wait() -> None:
            async with penalties.turn(ATTACKER):
                pass

        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        with pytest.raises(LimitReachedError):
            await wait()
    await waiting

    async with penalties.turn(ATTACKER):
        pass


def test_those_that_wait_are_told_and_forgiven(penalties: Penalties, clock: Clock) -> None:
    fail(penalties, 4)
    fail(penalties, 5, "2001:db8::7")
    fail(penalties, 1, "198.51.100.1")

    assert [("2001:db8::/64", 5, 10.0), ("203.0.113.7/32", 4, 5.0)] == [
        (str(found.source), found.failures, found.remaining_s) for found in penalties.waiting()
    ]
    assert penalties.forgive(network_of("203.0.113.0/24"))
    assert penalties.forgive(network_of("2001:db8::9"))  # the same customer of the provider
    assert not penalties.forgive(network_of("203.0.113.7"))
    assert [] == penalties.waiting()
    assert 0 == remaining_s(penalties)
    clock.now += 1
    assert 0 == remaining_s(penalties, "2001:db8::7")
