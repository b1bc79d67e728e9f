"""Deleting an account takes all that is its own along."""

import asyncio
from dataclasses import dataclass

import pytest

from rootblood.domain.accounts import AccountState
from rootblood.domain.environments import EnvironmentState
from rootblood.errors import EngineUnavailableError, NotFoundError
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
