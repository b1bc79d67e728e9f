"""Nobody learns at a door which accounts there are: unknown, locked and wrong take the same time.

Both doors ask the same service; here it is asked through each, with the costs of hashing as they are by
default. The samples take turns in an order drawn anew, so that what else the machine does meets all alike.
"""

import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncssh
import pytest
import structlog

from rootblood.services.accounts import Accounts
from rootblood.services.endings import Endings
from rootblood.services.passwords import Passwords
from rootblood.services.penalties import Penalties
from rootblood.settings import PasswordSettings, PenaltySettings
from rootblood.ssh.auth import Authentication
from rootblood.stores.sql.accounts import SqlAccountStore
from tests.ranks import mann_whitney_p
from tests.web.conftest import PASSWORD, House, NewBrowser

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]

SAMPLES = 500
TRIES = {"unknown": "nobody", "locked": "locked", "wrong": "person"}
"""Names of one length: what a door answers holds the name."""

Try = Callable[[str], Awaitable[None]]


@pytest.fixture
async def house_as_served(house: House) -> AsyncIterator[House]:
    """With passwords that cost what they cost by default, and both accounts."""
    passwords = Passwords(PasswordSettings())
    store = SqlAccountStore(house.database, house.settings.accounts)
    house.accounts = Accounts(store, passwords, Endings(), house.audit.record)
    for name in ("person", "locked"):
        await house.accounts.create(name, password=PASSWORD)
    await house.accounts.lock("locked")
    yield house
    passwords.close()


async def p_values(attempt: Try, samples: int = SAMPLES) -> dict[str, float]:
    """How likely each pair of answers is to take one time."""
    times: dict[str, list[float]] = {kind: [] for kind in TRIES}
    for number in range(samples + 10):
        for kind in random.sample(list(TRIES), len(TRIES)):
            started = time.perf_counter()
            await attempt(TRIES[kind])
            if number >= 10:  # the first ones warm up
                times[kind].append(time.perf_counter() - started)
    return {
        f"{one}, {other}": mann_whitney_p(times[one], times[other])
        for one, other in itertools.combinations(TRIES, 2)
    }


async def assert_alike(attempt: Try) -> None:
    """No pair is told apart (p > 0.01).

    Chance does it in 3 % of runs, as there are three pairs, but hardly twice with the same pair.
    """
    found = await p_values(attempt)
    suspects = {pair for pair, p in found.items() if p <= 0.01}
    if suspects:
        found = await p_values(attempt)
    assert {} == {pair: found[pair] for pair in suspects if found[pair] <= 0.01}


async def test_the_web_door_takes_as_long_for_all(house_as_served: House, new_browser: NewBrowser) -> None:
    async with house_as_served.open() as url:
        browser = new_browser(url)
        form_token = (await browser.get("/login")).form_token

        async def attempt(name: str) -> None:
            fields = {"form_token": form_token, "name": name, "password": "wrong password"}
            assert 403 == (await browser.post("/login", fields)).status

        await assert_alike(attempt)


async def test_the_ssh_door_takes_as_long_for_all(house_as_served: House) -> None:
    penalties = Penalties(PenaltySettings())

    async def attempt(name: str) -> None:
        authentication = Authentication(
            house_as_served.accounts, penalties, "127.0.0.1", max_tries=6, log=structlog.stdlib.get_logger()
        )
        assert not await authentication.password(name, "wrong password")

    await assert_alike(attempt)


async def test_an_offered_key_takes_as_long_for_all(house_as_served: House) -> None:
    stranger = (asyncssh.generate_private_key("ssh-ed25519")).public_data

    async def attempt(name: str) -> None:
        assert None is await house_as_served.accounts.authenticate_key(name, stranger)

    await assert_alike(attempt)


async def test_a_difference_would_be_seen(house_as_served: House) -> None:
    """One that skips the hash for unknown names, as many servers did: it is told apart at once."""

    async def attempt(name: str) -> None:
        if name != TRIES["unknown"]:
            await house_as_served.accounts.authenticate_password(name, "wrong password")

    assert min((await p_values(attempt, 50)).values()) < 1e-9
