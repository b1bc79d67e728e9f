"""Deleting an account takes all that is its own along."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from rootblood.domain.accounts import Account, AccountState
from rootblood.domain.audit import Actor, Door
from rootblood.domain.environments import EnvironmentState
from rootblood.domain.keys import parse_public_key
from rootblood.domain.tokens import Scope
from rootblood.errors import ConflictError, EngineUnavailableError, EnvironmentFailedError, NotFoundError
from rootblood.services import administration
from rootblood.services.accounts import Accounts
from rootblood.services.environments import Environments
from rootblood.services.exports import Exports
from rootblood.services.programs import Programs
from rootblood.stores.sql.models import AccountRow, Base
from tests.services.test_takeout import KEY
from tests.web.conftest import House, house

__all__ = ["house"]


@dataclass
class Deleted:
    """Whose exports were deleted."""

    userhashes: list[str]


@pytest.fixture
def deleted(house: House, monkeypatch: pytest.MonkeyPatch) -> Deleted:
    found = Deleted([])
    exports = house.administration._exports
    monkeypatch.setattr(exports._spool, "delete_all", found.userhashes.append)
    return found


async def test_an_account_is_deleted_with_all_that_is_its_own(house: House, deleted: Deleted) -> None:
    account, unpublished = await house.administration.add("alice", password=None, keys=[], admin=False)
    assert None is unpublished
    await house.environments.start(account)

    await house.administration.delete("alice")

    assert [account.userhash] == deleted.userhashes
    assert not await asyncio.to_thread(house.engine.host.home(account.userhash).exists)
    assert {} == house.engine.host.containers
    with pytest.raises(NotFoundError):
        await house.accounts.get("alice")


async def test_one_that_cannot_be_is_locked_and_can_be_deleted_again(house: House, deleted: Deleted) -> None:
    await house.administration.add("alice", password=None, keys=[], admin=False)
    house.engine.away = True

    with pytest.raises(EngineUnavailableError, match="alice is locked but not deleted"):
        await house.administration.delete("alice")

    assert ([], AccountState.LOCKED) == (deleted.userhashes, (await house.accounts.get("alice")).state)
    house.engine.away = False
    await house.administration.delete("alice")


async def test_an_account_is_added_while_the_engine_is_away(house: House) -> None:
    house.engine.away = True

    account, unpublished = await house.administration.add("alice", password=None, keys=[], admin=False)

    assert isinstance(unpublished, EngineUnavailableError)
    assert account == await house.accounts.get("alice")


async def test_environments_by_account(house: House) -> None:
    for name in ("bob", "alice"):
        await house.environments.start(await house.accounts.create(name))

    found = await house.administration.environments()

    assert [("alice", EnvironmentState.RUNNING), ("bob", EnvironmentState.RUNNING)] == [
        (name, environment.state) for name, environment in found
    ]


RB = Actor(Door.RB)


async def fill(house: House, name: str) -> Account:
    """An account with a row in every table that can have one."""
    account = await house.accounts.create(name, password="correct horse battery staple")
    await house.accounts.add_key(name, parse_public_key(KEY))
    await house.logins.begin(account, address="192.0.2.7", user_agent="")
    await house.links.make(account)
    await house.tokens.create(account, name="ci", scopes={Scope.KEYS_READ}, lifetime=timedelta(days=1))
    await house.visits.arrive(account, by=Actor(Door.SSH, "192.0.2.8"))
    await house.audit.list(account, limit=1)  # which writes what is pending
    await house.environments.start(account)
    return account


async def rows_about(house: House, account: Account) -> dict[str, int]:
    """How many rows each table has about an account; every table that refers to accounts is looked at."""
    found: Counter[str] = Counter()
    async with house.database.read() as session:
        for table in Base.metadata.sorted_tables:
            for key in table.foreign_keys:
                if key.column is AccountRow.__table__.c.uid:
                    query = select(func.count()).select_from(table).where(key.parent == account.uid)
                    found[table.name] += (await session.execute(query)).scalar_one()
    return dict(found)


async def left_of(house: House, account: Account) -> tuple[bool, bool, set[str]]:
    """What there still is of an account: container, home, rows."""
    home = await asyncio.to_thread(house.engine.host.home(account.userhash).exists)
    rows = await rows_about(house, account)
    return account.userhash in house.engine.host.containers, home, {name for name, n in rows.items() if n}


async def test_no_row_about_it_is_left_but_that_it_was_deleted(house: House) -> None:
    alice, bob = await fill(house, "alice"), await fill(house, "bob")
    every = {name for name, count in (await rows_about(house, bob)).items() if count}
    assert {"keys", "visits", "login_sessions", "login_links", "api_tokens", "audit_events"} <= every

    await house.administration.delete("alice")
    (event,) = await house.audit.list(alice, limit=10)

    assert "deleted" == event.action
    assert (False, False, {"audit_events"}) == await left_of(house, alice)
    assert (True, True, every) == await left_of(house, bob)
    (tombstone, _) = await house.accounts.list(include_deleted=True)
    assert (None, False) == (tombstone.password_hash, tombstone.admin)
    with pytest.raises(ConflictError):
        await house.accounts.create("alice")
    assert bob.uid + 1 == (await house.accounts.create("carol")).uid


class KilledError(BaseException):
    """As good as kill -9: nothing that comes after it is done."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("kind", "step"),
    [
        (Accounts, "lock"),
        (Environments, "purge"),
        (Exports, "delete_all"),
        (Accounts, "delete"),
    ],
)
async def test_killed_at_any_step_it_is_finished_by_the_same_again(
    house: House, monkeypatch: pytest.MonkeyPatch, kind: type, step: str, *, after: bool
) -> None:
    alice = await fill(house, "alice")
    whole = getattr(kind, step)

    async def killed(*arguments: Any, **named: Any) -> None:
        if after:
            await whole(*arguments, **named)
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(kind, step, killed)
        with pytest.raises(KilledError):
            await house.administration.delete("alice")

    if (step, after) == ("delete", True):
        with pytest.raises(NotFoundError):  # it was done already
            await house.administration.delete("alice")
    else:
        await house.administration.delete("alice")
    container, home, tables = await left_of(house, alice)
    assert (False, False) == (container, home)
    assert tables <= {"audit_events"}
    with pytest.raises(ConflictError):
        await house.accounts.create("alice")


async def test_what_it_shares_stays_unless_it_is_asked_for(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"alice": "", "bob": "find: cannot delete '/global/bob/x'\nx\n"}
    emptied = []

    async def run(_self: Programs, account: Account, argv: list[str], **_options: object) -> str:
        emptied.append(argv[-1])
        return said[account.name]

    monkeypatch.setattr(Programs, "run", run)
    for name in ("alice", "bob", "carol"):
        await house.accounts.create(name)

    await house.administration.delete("carol")
    assert [] == emptied
    await house.administration.delete("alice", purge_shared=True)
    assert ["/global/alice"] == emptied
    with pytest.raises(
        EnvironmentFailedError, match="not all of /global/bob could be deleted; bob is locked"
    ):
        await house.administration.delete("bob", purge_shared=True)
    await house.administration.delete("bob")


async def test_who_leaves_is_gone_a_moment_later(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administration, "_FAREWELL_S", 0.0)
    alice = await fill(house, "alice")

    for _ in range(2):  # asked for twice, it is done once
        await house.administration.leave(alice, by=RB)
    await house.administration.close()

    (event,) = await house.audit.list(alice, limit=10)
    assert (False, False, {"audit_events"}) == await left_of(house, alice)
    assert ("deleted", "rb") == (event.action, event.door)


async def test_the_last_administrator_cannot_leave(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administration, "_FAREWELL_S", 0.0)
    alice = await house.accounts.create("alice", admin=True)
    bob = await house.accounts.create("bob", admin=True)
    await house.accounts.lock("bob")
    with pytest.raises(ConflictError, match="you are the last administrator"):
        await house.administration.leave(alice, by=RB)
    assert AccountState.ACTIVE is (await house.accounts.get("alice")).state

    await house.accounts.unlock("bob")
    await house.administration.leave(alice, by=RB)
    await house.administration.close()
    assert [bob.uid] == [account.uid for account in await house.accounts.list()]


async def test_a_leaving_that_fails_leaves_a_locked_account(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(administration, "_FAREWELL_S", 0.0)
    alice = await fill(house, "alice")
    house.engine.away = True

    await house.administration.leave(alice, by=RB)
    await house.administration.close()

    assert AccountState.LOCKED is (await house.accounts.get("alice")).state
    house.engine.away = False
    await house.administration.delete("alice")
