"""What the store of trails promises, on real databases."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from rootblood.domain.accounts import Account, new_userhash
from rootblood.domain.audit import Action, Door, NewEvent
from rootblood.stores.base import AuditStore
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.audit import SqlAuditStore
from rootblood.stores.sql.database import Database

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def trails(database: Database) -> AuditStore:
    return SqlAuditStore(database)


@pytest.fixture
async def alice(store: SqlAccountStore) -> Account:
    return await store.add(name="alice", userhash=new_userhash(), admin=False, password_hash=None, keys=())


def event(account: Account, action: Action, *, at: datetime = NOON, detail: str = "") -> NewEvent:
    return NewEvent(
        account_uid=account.uid, at=at, door=Door.SSH, action=action, peer="fe80::1%eth0", detail=detail
    )


async def test_events_are_listed_the_newest_first_and_in_pages(trails: AuditStore, alice: Account) -> None:
    details = [str(number) for number in range(5)]
    await trails.add([event(alice, Action.LOGGED_IN, detail=detail) for detail in details], keep=10)

    first = await trails.list(alice.uid, limit=3, before=None)
    second = await trails.list(alice.uid, limit=3, before=first[-1].id)

    assert [["4", "3", "2"], ["1", "0"]] == [[found.detail for found in page] for page in (first, second)]
    assert ("fe80::1%eth0", NOON) == (first[0].peer, first[0].at)


async def test_only_the_newest_are_kept(trails: AuditStore, alice: Account) -> None:
    for number in range(5):
        await trails.add([event(alice, Action.LOGGED_IN, detail=str(number))], keep=3)

    assert ["4", "3", "2"] == [found.detail for found in await trails.list(alice.uid, limit=10, before=None)]


async def test_failed_logins_of_a_minute_are_counted_whoever_writes(
    trails: AuditStore, alice: Account
) -> None:
    await asyncio.gather(*(trails.add([event(alice, Action.LOGIN_FAILED)], keep=10) for _ in range(20)))
    await trails.add([event(alice, Action.LOGIN_FAILED, at=NOON + timedelta(minutes=1))], keep=10)

    assert [1, 20] == [found.count for found in await trails.list(alice.uid, limit=10, before=None)]


async def test_what_is_too_old_goes(trails: AuditStore, alice: Account) -> None:
    hour = timedelta(hours=1)
    await trails.add([event(alice, Action.LOGGED_IN, at=NOON + hour * n) for n in range(3)], keep=10)

    await trails.delete_before(NOON + hour)

    assert [NOON + 2 * hour, NOON + hour] == [
        found.at for found in await trails.list(alice.uid, limit=10, before=None)
    ]
