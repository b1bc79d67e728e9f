"""Hashes are right, and asking for many of them harms nobody."""

import asyncio
import os
import statistics
import threading
import time
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from rootblood.errors import InvalidInputError, LimitReachedError
from rootblood.services.passwords import Passwords
from rootblood.settings import PasswordSettings

QUICK = PasswordSettings(memory_kib=64, time_cost=1, max_concurrent=2, max_queue=3)
PASSWORD = "correct horse battery staple"


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(QUICK)
    yield made
    made.close()


class Gate:
    """Work that stays in its thread until it is let go."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.started = 0

    def work(self) -> bool:
        self.started += 1
        self._open.wait(30)
        return True

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


async def until_started(gate: Gate, number: int) -> None:
    async with asyncio.timeout(60):
        while gate.started < number:  # noqa: ASYNC110 - the other side is a thread
            await asyncio.sleep(0)


async def test_the_right_password_and_a_wrong_one(passwords: Passwords) -> None:
    password_hash = await passwords.hash(PASSWORD)

    assert password_hash.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert await passwords.verify(password_hash, PASSWORD)
    assert not await passwords.verify(password_hash, PASSWORD + " ")
    assert not await passwords.verify(password_hash, "")


async def test_no_password_is_right_where_there_is_none(passwords: Passwords) -> None:
    assert not await passwords.verify(None, PASSWORD)


async def test_passwords_that_look_the_same_are_the_same(passwords: Passwords) -> None:
    password_hash = await passwords.hash("caf\u00e9 \ufb01ne")

    assert await passwords.verify(password_hash, "caf\u00e9 \ufb01ne")
    assert await passwords.verify(password_hash, "cafe\u0301 fine")
    assert not await passwords.verify(password_hash, "cafe fine")


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("1234567", "at least 8 characters"),
        ("", "at least 8 characters"),
        ("x" * 1025, "at most 1024 bytes"),
        ("\u20ac" * 342, "at most 1024 bytes"),
        ("with a \0 in it", "UTF-8 text without NUL"),
        ("with a \udcff in it", "UTF-8 text without NUL"),
    ],
)
async def test_what_cannot_be_a_password_is_refused_and_never_right(
    passwords: Passwords, password: str, reason: str
) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        await passwords.hash(password)

    assert not await passwords.verify(await passwords.hash(PASSWORD), password)


async def test_the_longest_password(passwords: Passwords) -> None:
    longest = "x" * 1024

    assert await passwords.verify(await passwords.hash(longest), longest)
    assert not await passwords.verify(await passwords.hash(longest), longest[:-1])


@pytest.mark.parametrize(
    "broken", ["", "x", "$argon2id$v=19$m=64,t=1,p=1$AAAA", "$2b$12$abcdefghijklmnopqrstuv"]
)
async def test_a_stored_hash_that_is_none_is_a_no(passwords: Passwords, broken: str) -> None:
    assert not await passwords.verify(broken, PASSWORD)


async def test_a_password_too_long_costs_no_hashing(passwords: Passwords, gate: Gate) -> None:
    running = [asyncio.create_task(passwords._run(gate.work)) for _ in range(5)]
    await until_started(gate, 2)

    # Every place is taken, so whatever wanted a thread would be refused.
    assert not await passwords.verify(None, "x" * 1025)

    gate.open()
    await asyncio.gather(*running)


async def test_more_than_may_wait_is_refused_at_once(passwords: Passwords, gate: Gate) -> None:
    running = [asyncio.create_task(passwords._run(gate.work)) for _ in range(5)]
    await until_started(gate, 2)

    for _ in range(3):
        with pytest.raises(LimitReachedError, match="too many logins"):
            await passwords.verify(None, PASSWORD)
    assert 2 == gate.started

    gate.open()
    assert [True] * 5 == await asyncio.gather(*running)
    assert not await passwords.verify(None, PASSWORD)


async def test_a_check_whose_client_left_before_its_turn_is_not_run(passwords: Passwords, gate: Gate) -> None:
    running = [asyncio.create_task(passwords._run(gate.work)) for _ in range(2)]
    await until_started(gate, 2)
    for _ in range(10):  # more often than there are places: each gives its place back
        waiting = asyncio.create_task(passwords._run(gate.work))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    gate.open()
    await asyncio.gather(*running)
    assert not await passwords.verify(None, PASSWORD)
    assert 2 == gate.started


async def test_a_check_that_runs_keeps_its_place_when_its_client_leaves(
    passwords: Passwords, gate: Gate
) -> None:
    for number in range(1, 3):
        running = asyncio.create_task(passwords._run(gate.work))
        await until_started(gate, number)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    waiting = [asyncio.create_task(passwords._run(gate.work)) for _ in range(3)]
    await asyncio.sleep(0)

    with pytest.raises(LimitReachedError):
        await passwords.verify(None, PASSWORD)

    gate.open()
    await asyncio.gather(*waiting)


async def test_no_more_run_at_once_than_the_settings_say(passwords: Passwords, gate: Gate) -> None:
    running = [asyncio.create_task(passwords._run(gate.work)) for _ in range(5)]
    await until_started(gate, 2)
    assert 2 == len([thread for thread in threading.enumerate() if thread.name.startswith("passwords")])
    assert 2 == gate.started

    gate.open()
    await asyncio.gather(*running)


async def test_the_event_loop_goes_on_meanwhile() -> None:
    passwords = Passwords(PasswordSettings(memory_kib=65536, time_cost=4))
    hashing = asyncio.create_task(passwords.hash(PASSWORD))
    turns = 0
    while not hashing.done():
        turns += 1
        await asyncio.sleep(0)

    assert turns > 10
    passwords.close()


def cpu_of(work: Passwords, password_hash: str) -> float:
    """Seconds of this thread's own time for one check, whatever else the machine does."""
    started = time.thread_time()
    work._verify(password_hash, b"wrong password")
    return time.thread_time() - started


@pytest.mark.serial
async def test_an_unknown_account_costs_what_a_known_one_does() -> None:
    passwords = Passwords(PasswordSettings())
    known = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1).hash(PASSWORD)

    def medians() -> tuple[float, float]:
        pairs = [(cpu_of(passwords, known), cpu_of(passwords, passwords._unknown)) for _ in range(21)]
        return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)

    of_known, of_unknown = await asyncio.to_thread(medians)

    assert of_unknown == pytest.approx(of_known, rel=0.5)
    passwords.close()


async def test_a_hash_made_with_other_parameters_wants_to_be_made_anew(passwords: Passwords) -> None:
    assert not passwords.needs_rehash(await passwords.hash(PASSWORD))
    assert passwords.needs_rehash(PasswordHasher(time_cost=2, memory_cost=64, parallelism=1).hash(PASSWORD))


def test_the_default_never_runs_more_at_once_than_there_are_cores() -> None:
    assert os.cpu_count() == PasswordSettings().max_concurrent


async def test_a_generated_password_is_a_password(passwords: Passwords) -> None:
    made = {passwords.generate() for _ in range(200)}

    assert 200 == len(made)
    assert all(len(password.replace("-", "")) == 20 and password.count("-") == 4 for password in made)
    assert set("".join(made)) == set("23456789abcdefghjkmnpqrstuvwxyz-")
    password = made.pop()
    assert await passwords.verify(await passwords.hash(password), password)


async def test_closing_drops_what_waits(gate: Gate) -> None:
    passwords = Passwords(QUICK)
    tasks = [asyncio.create_task(passwords._run(gate.work)) for _ in range(4)]
    await until_started(gate, 2)

    passwords.close()

    gate.open()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [True, True] == outcomes[:2]
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[2:])


async def test_other_settings_count_from_the_next_password_on(passwords: Passwords) -> None:
    before = await passwords.hash("eight ch")

    passwords.apply(PasswordSettings(memory_kib=16, time_cost=3, min_chars=9))

    assert await passwords.verify(before, "eight ch")
    assert passwords.needs_rehash(before)
    assert "m=16,t=3," in await passwords.hash("nine char")
    with pytest.raises(InvalidInputError, match="at least 9"):
        await passwords.hash("eight ch")
