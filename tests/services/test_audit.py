"""The trail is kept, in few rows, and keeping it costs nobody anything."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from rootblood.domain.accounts import Account, new_userhash
from rootblood.domain.audit import Action, Actor, Door, NewEvent
from rootblood.errors import StoreUnavailableError
from rootblood.services import audit as audit_module
from rootblood.services.audit import Audit
from rootblood.settings import AuditSettings, Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.audit import SqlAuditStore
from rootblood.stores.sql.database import Database
from tests.databases import set_up

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOME = Actor(Door.WEB, "203.0.113.7")
AWAY = Actor(Door.SSH, "198.51.100.9")


class FailingAuditStore(SqlAuditStore):
    """The real store, which can be told to be away."""

    away = False
    writes = 0

    async def add(self, events: Sequence[NewEvent], *, keep: int) -> None:
        if self.away:
            raise StoreUnavailableError("the database does not answer")
        self.writes += 1
        await super().add(events, keep=keep)

    async def delete_before(self, at: datetime) -> None:
        if self.away:
            raise StoreUnavailableError("the database does not answer")
        await super().delete_before(at)


@dataclass
class Rig:
    store: FailingAuditStore
    accounts: SqlAccountStore
    now: datetime = NOON
    opened: list[Audit] = field(default_factory=list)

    def open(self, **settings: float) -> Audit:
        self.opened.append(Audit(self.store, AuditSettings(**settings), now=lambda: self.now))
        return self.opened[-1]

    async def account(self, name: str) -> Account:
        return await self.accounts.add(
            name=name, userhash=new_userhash(), admin=False, password_hash=None, keys=()
        )


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    settings = Settings(state_dir=tmp_path / "state")
    database = Database(settings)
    await set_up(database)
    made = Rig(FailingAuditStore(database), SqlAccountStore(database, settings.accounts))
    yield made
    made.store.away = False
    for audit in made.opened:
        await audit.close()
    await database.close()


@pytest.fixture
def audit(rig: Rig) -> Audit:
    return rig.open()


@pytest.fixture
async def alice(rig: Rig) -> Account:
    return await rig.account("alice")


async def actions(audit: Audit, account: Account) -> list[str]:
    return [event.action.value for event in await audit.list(account, limit=1000)]


async def test_the_newest_is_first_and_each_has_its_own(audit: Audit, rig: Rig, alice: Account) -> None:
    bob = await rig.account("bob")
    audit.record(alice, Action.LOGGED_IN, HOME, "password")
    rig.now += timedelta(seconds=1)
    audit.record(bob, Action.LOGGED_IN, AWAY)
    audit.record(alice, Action.LOCKED, Actor(Door.API, "192.0.2.1", "root"))

    locked, logged_in = await audit.list(alice, limit=10)

    assert (Action.LOCKED, Door.API, "192.0.2.1", "root", "") == (
        locked.action, locked.door, locked.peer, locked.actor, locked.detail,
    )  # fmt: skip
    assert (Action.LOGGED_IN, Door.WEB, "203.0.113.7", None, "password", NOON, 1) == (
        logged_in.action, logged_in.door, logged_in.peer, logged_in.actor, logged_in.detail, logged_in.at,
        logged_in.count,
    )  # fmt: skip
    assert ["logged_in"] == await actions(audit, bob)


async def test_who_acts_on_their_own_account_is_not_named(audit: Audit, alice: Account) -> None:
    audit.record(alice, Action.LINK_MADE, Actor(Door.API, "192.0.2.1", "alice"))

    assert [None] == [event.actor for event in await audit.list(alice, limit=10)]


async def test_pages(audit: Audit, alice: Account) -> None:
    for number in range(5):
        audit.record(alice, Action.TOKEN_MADE, HOME, str(number))

    first = await audit.list(alice, limit=2)
    rest = await audit.list(alice, limit=10, before=first[-1].id)

    assert ["4", "3"] == [event.detail for event in first]
    assert ["2", "1", "0"] == [event.detail for event in rest]
    assert [] == await audit.list(alice, limit=10, before=rest[-1].id)


async def test_a_brute_force_is_one_row_a_minute(audit: Audit, rig: Rig, alice: Account) -> None:
    for minute in range(2):
        rig.now = NOON + timedelta(minutes=minute)
        for _ in range(3):
            for _ in range(100):
                audit.record(alice, Action.LOGIN_FAILED, AWAY, "wrong password")
            await audit.list(alice, limit=1)  # writes what there is

    found = await audit.list(alice, limit=10)
    assert [300, 300] == [event.count for event in found]
    assert {"wrong password"} == {event.detail for event in found}
    assert {AWAY.peer} == {event.peer for event in found}


async def test_failures_from_several_addresses_say_so(audit: Audit, alice: Account) -> None:
    for peers in ((AWAY, AWAY), (HOME,), (AWAY,)):
        for peer in peers:
            audit.record(alice, Action.LOGIN_FAILED, peer, "wrong password")
        await audit.list(alice, limit=1)

    (event,) = await audit.list(alice, limit=10)
    assert (4, "from several addresses") == (event.count, event.detail)


async def test_two_servers_count_in_one_row(rig: Rig, alice: Account) -> None:
    for audit in (rig.open(), rig.open()):
        audit.record(alice, Action.LOGIN_FAILED, AWAY)
        await audit.close()

    (event,) = await rig.open().list(alice, limit=10)
    assert 2 == event.count


async def test_text_is_cut_and_storable(audit: Audit, alice: Account) -> None:
    audit.record(alice, Action.KEY_ADDED, Actor(Door.SSH, "x" * 1000), "\0\udcff\x1b" + "y" * 1000)

    (event,) = await audit.list(alice, limit=10)
    assert ("x" * 64, "\ufffd?\x1b" + "y" * 197) == (event.peer, event.detail)


async def test_an_account_has_so_many_rows_and_no_more(rig: Rig, alice: Account) -> None:
    bob = await rig.account("bob")
    audit = rig.open(max_rows_of_account=3)
    audit.record(bob, Action.CREATED, HOME)
    for number in range(10):
        audit.record(alice, Action.TOKEN_MADE, HOME, str(number))

    assert ["9", "8", "7"] == [event.detail for event in await audit.list(alice, limit=100)]
    assert ["created"] == await actions(audit, bob)


async def test_what_is_too_old_is_deleted_at_intervals(rig: Rig, alice: Account) -> None:
    audit = rig.open(retention_days=30, prune_interval_s=0.01)
    audit.record(alice, Action.CREATED, HOME)
    rig.now += timedelta(days=20)
    audit.record(alice, Action.LOCKED, HOME)
    assert 2 == len(await actions(audit, alice))
    stop = asyncio.Event()
    rig.store.away = True  # which ends nothing
    with structlog.testing.capture_logs() as logs:
        pruning = asyncio.create_task(audit.keep_small(stop))
        async with asyncio.timeout(60):
            while not logs:  # noqa: ASYNC110 - the log is no event
                await asyncio.sleep(0.01)
            rig.store.away = False
            rig.now += timedelta(days=11)
            while len(await actions(audit, alice)) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    stop.set()
    await pruning

    assert ["locked"] == await actions(audit, alice)
    assert {"audit_not_pruned"} == {entry["event"] for entry in logs}


async def test_of_an_account_that_is_gone_only_its_end_is_kept(
    audit: Audit, rig: Rig, alice: Account
) -> None:
    audit.record(alice, Action.CREATED, HOME)
    assert ["created"] == await actions(audit, alice)
    audit.record(alice, Action.LOCKED, HOME)  # not written yet
    await rig.accounts.delete(alice.userhash)
    audit.record(alice, Action.DELETED, HOME)

    audit.record(alice, Action.LOGIN_FAILED, HOME)
    assert ["deleted"] == await actions(audit, alice)


async def test_it_is_written_without_being_asked_for(
    rig: Rig, audit: Audit, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "_GATHER_S", 0.01)
    audit.record(alice, Action.LOGGED_IN, HOME)
    audit.record(alice, Action.LINK_MADE, HOME)

    async with asyncio.timeout(60):
        while not await rig.store.list(alice.uid, limit=10, before=None):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert 2 == len(await rig.store.list(alice.uid, limit=10, before=None))
    assert 1 == rig.store.writes


async def test_a_database_that_is_away_loses_nothing(
    rig: Rig, audit: Audit, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "_GATHER_S", 0.01)
    monkeypatch.setattr(audit_module, "_RETRY_S", 0.01)
    rig.store.away = True
    with structlog.testing.capture_logs() as logs:
        audit.record(alice, Action.LOGGED_IN, HOME)
        audit.record(alice, Action.LOGIN_FAILED, AWAY)
        async with asyncio.timeout(60):
            while not logs:  # noqa: ASYNC110 - the log is no event
                await asyncio.sleep(0.01)
        audit.record(alice, Action.LOGIN_FAILED, AWAY)
        audit.record(alice, Action.LINK_MADE, HOME)
        rig.store.away = False
        found = await audit.list(alice, limit=10)

    assert {("link_made", 1), ("login_failed", 2), ("logged_in", 1)} == {
        (event.action.value, event.count) for event in found
    }


async def test_an_orderly_shutdown_writes_the_rest_at_once(rig: Rig, alice: Account) -> None:
    audit = rig.open()
    for _ in range(1200):
        audit.record(alice, Action.LINK_MADE, HOME)

    async with asyncio.timeout(60):
        await audit.close()

    assert 1200 == len(await rig.store.list(alice.uid, limit=2000, before=None))


async def test_what_could_not_be_written_by_then_is_in_the_log(rig: Rig, alice: Account) -> None:
    rig.store.away = True
    audit = rig.open()
    audit.record(alice, Action.LINK_MADE, HOME)
    with structlog.testing.capture_logs() as logs:
        await audit.close()

    assert ("audit_lost", 1) == (logs[-1]["event"], logs[-1]["events"])


async def test_memory_is_bounded(
    rig: Rig, audit: Audit, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "_MAX_PENDING", 2)
    rig.store.away = True
    with structlog.testing.capture_logs() as logs:
        for action in (Action.LOGIN_FAILED, Action.CREATED, Action.LOCKED):
            audit.record(alice, action, HOME)
    assert ["created"] == [entry["action"] for entry in logs]

    rig.store.away = False
    assert {"login_failed", "locked"} == set(await actions(audit, alice))
