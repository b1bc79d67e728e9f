"""The tries of one connection, against real accounts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import asyncssh
import pytest
import pytest_asyncio
import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.keys import parse_public_key
from rootblood.errors import StoreUnavailableError
from rootblood.services.accounts import Accounts
from rootblood.services.endings import Endings
from rootblood.services.passwords import Passwords
from rootblood.services.penalties import Penalties
from rootblood.settings import PasswordSettings, PenaltySettings, Settings
from rootblood.ssh.auth import MAX_KEY_OFFERS, Authentication
from rootblood.stores.base import AccountStore
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from tests.databases import set_up

PASSWORD = "correct horse"


@pytest_asyncio.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[Accounts]:
    settings = Settings(state_dir=tmp_path, passwords=PasswordSettings(memory_kib=8, time_cost=1))
    database = Database(settings)
    await set_up(database)
    passwords = Passwords(settings.passwords)
    accounts = Accounts(SqlAccountStore(database, settings.accounts), passwords, Endings())
    await accounts.create("alice", password=PASSWORD)
    yield accounts
    passwords.close()
    await database.close()


def new_authentication(accounts: Accounts, penalties: Penalties, peer: str) -> Authentication:
    return Authentication(accounts, penalties, peer, max_tries=3, log=structlog.stdlib.get_logger())


@pytest.fixture
def authentication(accounts: Accounts) -> Authentication:
    return new_authentication(accounts, Penalties(PenaltySettings()), "203.0.113.7")


async def test_the_right_password_within_the_tries(authentication: Authentication) -> None:
    answers = [await authentication.password("alice", password) for password in ("wrong", "wrong", PASSWORD)]

    assert answers == [False, False, True]
    assert not authentication.exhausted
    assert authentication.method == "password"


async def test_even_the_right_password_is_refused_after_them(authentication: Authentication) -> None:
    for _ in range(3):
        assert not await authentication.password("alice", "wrong")

    assert not await authentication.password("alice", PASSWORD)
    assert authentication.exhausted


async def test_tries_of_several_names_count_together(authentication: Authentication) -> None:
    for name in ("alice", "bob", "carol", "../../etc"):
        assert not await authentication.password(name, "wrong")

    assert authentication.exhausted


async def test_an_abandoned_try_counts(authentication: Authentication) -> None:
    for _ in range(3):
        task = asyncio.ensure_future(authentication.password("alice", "wrong"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert not await authentication.password("alice", PASSWORD)
    assert authentication.exhausted


async def test_unknown_keys_may_be_offered_for_a_while(authentication: Authentication) -> None:
    for _ in range(MAX_KEY_OFFERS):
        assert not await authentication.key("alice", b"no key")
    assert not authentication.exhausted

    assert not await authentication.key("alice", b"no key")
    assert authentication.exhausted


async def test_a_source_of_many_wrong_passwords_is_refused_and_no_other(accounts: Accounts) -> None:
    penalties = Penalties(PenaltySettings(free_failures=2))
    for _ in range(3):
        assert not await new_authentication(accounts, penalties, "203.0.113.7").password("alice", "wrong")

    assert not await new_authentication(accounts, penalties, "203.0.113.7").password("alice", PASSWORD)
    assert await new_authentication(accounts, penalties, "203.0.113.8").password("alice", PASSWORD)


async def test_a_key_that_would_do_is_looked_up_once(
    accounts: Accounts, authentication: Authentication
) -> None:
    """Clients ask first whether a key would do, and then sign with it."""
    key = parse_public_key(asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh").decode())
    await accounts.add_key("alice", key)
    assert await authentication.key("alice", key.blob)
    await accounts.delete_key("alice", key.fingerprint)

    assert await authentication.key("alice", key.blob)
    assert not await authentication.key("bob", key.blob)
    assert authentication.method == "publickey"


class AwayStore:
    """What knows the accounts does not answer."""

    async def by_name(self, name: str) -> Account:
        raise StoreUnavailableError(f"the database does not answer, not even about {name}")

    async def by_key(self, name: str, blob: bytes) -> Account:
        del blob
        return await self.by_name(name)


@pytest.mark.parametrize("how", ["password", "key"])
async def test_a_database_that_is_away_lets_nobody_in_and_is_told(how: str) -> None:
    passwords = Passwords(PasswordSettings(memory_kib=8, time_cost=1))
    accounts = Accounts(cast("AccountStore", AwayStore()), passwords, Endings())
    authentication = new_authentication(accounts, Penalties(PenaltySettings()), "203.0.113.7")

    accepted = (
        await authentication.password("alice", PASSWORD)
        if how == "password"
        else await authentication.key("alice", b"blob")
    )
    passwords.close()

    assert not accepted
    assert "the database does not answer" in str(authentication.unavailable)
