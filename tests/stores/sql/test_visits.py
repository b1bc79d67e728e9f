"""What the store of visits promises, on real databases."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from rootblood.domain.accounts import Account, Login, new_userhash
from rootblood.domain.environments import RestartReason, StopReason
from rootblood.errors import NotFoundError
from rootblood.stores.base import VisitStore
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.visits import SqlVisitStore

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def visits(database: Database) -> VisitStore:
    return SqlVisitStore(database)


async def add(store: SqlAccountStore, name: str) -> Account:
    return await store.add(name=name, userhash=new_userhash(), admin=False, password_hash=None, keys=())


@pytest.fixture
async def alice(store: SqlAccountStore) -> Account:
    return await add(store, "alice")


async def test_each_login_gives_the_one_before_it(visits: VisitStore, alice: Account) -> None:
    zone = timezone(timedelta(hours=2))
    first, second = Login(NOON.astimezone(zone), "203.0.113.7"), Login(NOON, "fe80::1%eth0\x1b[2J")

    assert None is await visits.record_login(alice.userhash, first)
    assert first == await visits.record_login(alice.userhash, second)
    assert second == await visits.record_login(alice.userhash, first)


async def test_accounts_have_visits_of_their_own(
    visits: VisitStore, store: SqlAccountStore, alice: Account
) -> None:
    bob = await add(store, "bob")
    await visits.record_login(alice.userhash, Login(NOON, "203.0.113.7"))
    await visits.record_restart(alice.userhash, RestartReason.HOST)

    assert None is await visits.restart(bob.userhash)
    assert None is await visits.record_login(bob.userhash, Login(NOON, "203.0.113.8"))


async def test_a_restart_is_remembered_until_it_is_forgotten(visits: VisitStore, alice: Account) -> None:
    assert None is await visits.restart(alice.userhash)

    await visits.record_restart(alice.userhash, RestartReason.OUT_OF_MEMORY)
    for _ in range(2):
        assert RestartReason.OUT_OF_MEMORY is await visits.restart(alice.userhash)

    await visits.forget_restart(alice.userhash, RestartReason.OUT_OF_MEMORY)
    assert None is await visits.restart(alice.userhash)


async def test_a_restart_that_came_up_meanwhile_is_not_forgotten(visits: VisitStore, alice: Account) -> None:
    await visits.record_restart(alice.userhash, RestartReason.HOST)
    await visits.record_restart(alice.userhash, RestartReason.KILLED)

    await visits.forget_restart(alice.userhash, RestartReason.HOST)

    assert RestartReason.KILLED is await visits.restart(alice.userhash)


@pytest.mark.parametrize("reason", RestartReason)
async def test_every_reason_can_be_kept(visits: VisitStore, alice: Account, reason: RestartReason) -> None:
    await visits.record_restart(alice.userhash, reason)

    assert reason is await visits.restart(alice.userhash)


async def test_why_it_last_ended_is_known_whoever_was_told(visits: VisitStore, alice: Account) -> None:
    assert None is await visits.last_end(alice.userhash)
    await visits.replace_stop(alice.userhash, StopReason.IDLE)
    assert RestartReason.IDLE is await visits.last_end(alice.userhash)
    await visits.record_restart(alice.userhash, RestartReason.STOPPED)
    await visits.forget_restart(alice.userhash, RestartReason.IDLE)
    assert RestartReason.IDLE is await visits.last_end(alice.userhash)
    await visits.record_restart(alice.userhash, RestartReason.OUT_OF_MEMORY)
    assert RestartReason.OUT_OF_MEMORY is await visits.last_end(alice.userhash)


@pytest.mark.parametrize("asked_for", StopReason)
async def test_a_stop_that_was_asked_for_explains_one_restart(
    visits: VisitStore, alice: Account, asked_for: StopReason
) -> None:
    assert None is await visits.replace_stop(alice.userhash, asked_for)

    await visits.record_restart(alice.userhash, RestartReason.STOPPED)
    assert RestartReason(asked_for) is await visits.restart(alice.userhash)

    await visits.record_restart(alice.userhash, RestartReason.KILLED)
    assert RestartReason.KILLED is await visits.restart(alice.userhash)


async def test_a_change_explains_more_than_the_stop_it_was_made_with(
    visits: VisitStore, alice: Account
) -> None:
    await visits.replace_stop(alice.userhash, StopReason.ADMINISTRATOR)

    await visits.record_restart(alice.userhash, RestartReason.CHANGED)
    assert RestartReason.CHANGED is await visits.restart(alice.userhash)

    await visits.record_restart(alice.userhash, RestartReason.KILLED)
    assert RestartReason.KILLED is await visits.restart(alice.userhash)


async def test_what_a_stop_replaces_can_be_put_back(visits: VisitStore, alice: Account) -> None:
    await visits.replace_stop(alice.userhash, StopReason.IDLE)

    before = await visits.replace_stop(alice.userhash, StopReason.ADMINISTRATOR)
    assert StopReason.IDLE is before
    assert StopReason.ADMINISTRATOR is await visits.replace_stop(alice.userhash, before)

    await visits.record_restart(alice.userhash, RestartReason.STOPPED)
    assert RestartReason.IDLE is await visits.restart(alice.userhash)


async def test_a_deleted_account_leaves_no_visits(
    visits: VisitStore, store: SqlAccountStore, alice: Account
) -> None:
    await visits.record_login(alice.userhash, Login(NOON, "203.0.113.7"))
    await visits.record_restart(alice.userhash, RestartReason.HOST)

    await store.delete(alice.userhash)

    assert None is await visits.restart(alice.userhash)
    with pytest.raises(NotFoundError):
        await visits.record_login(alice.userhash, Login(NOON, "203.0.113.7"))


async def test_why_it_is_stopped_is_known_until_it_is_started_again(
    visits: VisitStore, alice: Account
) -> None:
    assert None is await visits.stop_reason(alice.userhash)
    await visits.replace_stop(alice.userhash, StopReason.IDLE)
    assert StopReason.IDLE is await visits.stop_reason(alice.userhash)
    await visits.record_restart(alice.userhash, RestartReason.KILLED)
    assert None is await visits.stop_reason(alice.userhash)
