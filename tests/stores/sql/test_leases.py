"""What the stores of leases and of idleness promise, on a real database file."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rootblood.domain.accounts import Account, new_userhash
from rootblood.domain.leases import Idleness, Lease, LeaseKind, NewLease
from rootblood.errors import NotFoundError
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.clock import database_now
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.idleness import SqlIdlenessStore
from rootblood.stores.sql.leases import SqlLeaseStore
from tests.fakes.clocks import Clocks

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def leases(database: Database, clocks: Clocks) -> SqlLeaseStore:
    return SqlLeaseStore(database, clocks.database)


@pytest.fixture
def idleness(database: Database, clocks: Clocks) -> SqlIdlenessStore:
    return SqlIdlenessStore(database, clocks.database)


@pytest.fixture
async def alice(store: SqlAccountStore) -> Account:
    return await store.add(name="alice", userhash=new_userhash(), admin=False, password_hash=None, keys=())


def lease_of(account: Account, number: str = "a", kind: LeaseKind = LeaseKind.SSH) -> NewLease:
    return NewLease(number * 32, account.userhash, kind, "from 192.0.2.7")


async def opened(leases: SqlLeaseStore, lease: NewLease, server: str = ONE) -> bool:
    return await leases.open(lease, server=server, ttl_s=60, even_if_stopping=False)


async def test_the_clock_is_the_databases_own(database: Database) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # it has no microseconds
    async with database.read() as session:
        now = await database_now(session)
    assert before <= now <= datetime.now(UTC)


async def test_a_lease_holds_for_as_long_as_it_is_renewed(
    leases: SqlLeaseStore, clocks: Clocks, alice: Account
) -> None:
    assert await opened(leases, lease_of(alice))
    at = clocks.wall
    expected = Lease("a" * 32, LeaseKind.SSH, "from 192.0.2.7", at, at + timedelta(seconds=60))
    known = await leases.known(alice.userhash)
    assert ([expected], at) == (list(known.leases), known.now)

    clocks.sleep(20)
    assert [] == list(await leases.renew([lease_of(alice)], server=ONE, ttl_s=60))
    known = await leases.known(alice.userhash)
    assert [replace(expected, expires_at=at + timedelta(seconds=80))] == list(known.leases)
    assert known.is_live(known.leases[0], 60)

    clocks.sleep(60)
    known = await leases.known(alice.userhash)
    assert not known.is_live(known.leases[0], 60)


async def test_renewing_makes_anew_what_is_gone_and_tells_what_nobody_holds(
    leases: SqlLeaseStore, alice: Account
) -> None:
    await opened(leases, lease_of(alice, "a"))
    await opened(leases, lease_of(alice, "c"), TWO)

    assert ["a" * 32] == list(await leases.renew([lease_of(alice, "b")], server=ONE, ttl_s=60))

    assert {"a" * 32, "b" * 32, "c" * 32} == {
        lease.id for lease in (await leases.known(alice.userhash)).leases
    }


async def test_a_server_renews_and_ends_none_of_anothers(
    leases: SqlLeaseStore, clocks: Clocks, alice: Account
) -> None:
    await opened(leases, lease_of(alice, "a"))
    end = (await leases.known(alice.userhash)).leases[0].expires_at
    clocks.sleep(30)
    assert [] == list(await leases.renew([], server=TWO, ttl_s=60))
    assert [end] == [lease.expires_at for lease in (await leases.known(alice.userhash)).leases]


async def test_with_the_end_of_a_use_idleness_begins_anew(
    leases: SqlLeaseStore, idleness: SqlIdlenessStore, clocks: Clocks, alice: Account
) -> None:
    worked = Idleness(clocks.wall, 100.0, 200.0, cpu_ns=5, network_bytes=6, doing="runs make in tmux")
    assert await idleness.remember(alice.userhash, worked, before=None)
    assert worked == (await leases.known(alice.userhash)).idleness

    await opened(leases, lease_of(alice))
    clocks.sleep(10)
    await leases.close(["a" * 32, "b" * 32])

    known = await leases.known(alice.userhash)
    assert ([], Idleness(clocks.wall)) == (list(known.leases), known.idleness)


async def test_a_look_during_which_somebody_came_and_went_is_not_kept(
    leases: SqlLeaseStore, idleness: SqlIdlenessStore, clocks: Clocks, alice: Account
) -> None:
    first = Idleness(clocks.wall)
    assert await idleness.remember(alice.userhash, first, before=None)
    clocks.sleep(1)
    await opened(leases, lease_of(alice))
    await leases.close(["a" * 32])

    assert not await idleness.remember(
        alice.userhash, Idleness(clocks.wall, idle_s=60), before=first.looked_at
    )
    assert Idleness(clocks.wall) == (await idleness.known(alice.userhash)).idleness


@pytest.mark.parametrize("lapsed", [False, True])
async def test_what_has_a_lease_is_not_stopped(
    leases: SqlLeaseStore, idleness: SqlIdlenessStore, clocks: Clocks, alice: Account, *, lapsed: bool
) -> None:
    await idleness.remember(alice.userhash, Idleness(clocks.wall), before=None)
    at = clocks.wall
    await opened(leases, lease_of(alice))
    clocks.sleep(3600 if lapsed else 1)
    assert not await idleness.begin_stop(alice.userhash, looked_at=at, for_s=60)


async def test_who_comes_while_it_is_stopped_has_to_wait(
    leases: SqlLeaseStore, idleness: SqlIdlenessStore, clocks: Clocks, alice: Account
) -> None:
    await idleness.remember(alice.userhash, Idleness(clocks.wall), before=None)
    assert await idleness.begin_stop(alice.userhash, looked_at=clocks.wall, for_s=60)
    assert not await opened(leases, lease_of(alice))
    assert await leases.open(lease_of(alice, "b"), server=ONE, ttl_s=60, even_if_stopping=True)
    await idleness.end_stop(alice.userhash, done=True)
    assert await opened(leases, lease_of(alice))


async def test_a_stop_that_nobody_ends_is_waited_for_no_longer_than_its_bound(
    leases: SqlLeaseStore, idleness: SqlIdlenessStore, clocks: Clocks, alice: Account
) -> None:
    assert await idleness.begin_stop(alice.userhash, looked_at=None, for_s=60)
    clocks.sleep(59)
    assert not await opened(leases, lease_of(alice))
    clocks.sleep(1)
    assert await opened(leases, lease_of(alice))


async def test_a_stop_that_failed_forgets_nothing(
    idleness: SqlIdlenessStore, clocks: Clocks, alice: Account
) -> None:
    worked = Idleness(clocks.wall, 100.0, 200.0)
    await idleness.remember(alice.userhash, worked, before=None)
    await idleness.begin_stop(alice.userhash, looked_at=clocks.wall, for_s=60)
    await idleness.end_stop(alice.userhash, done=False)
    assert worked == (await idleness.known(alice.userhash)).idleness


async def test_of_a_login_and_a_stop_at_once_one_sees_the_other(
    leases: SqlLeaseStore, idleness: SqlIdlenessStore, clocks: Clocks, alice: Account
) -> None:
    for number in "bcdef":
        known = await idleness.known(alice.userhash)
        looked_at = known.idleness.looked_at if known.idleness else None
        entered, stopping = await asyncio.gather(
            opened(leases, lease_of(alice, number)),
            idleness.begin_stop(alice.userhash, looked_at=looked_at, for_s=60),
        )
        assert entered is not stopping
        await idleness.end_stop(alice.userhash, done=False)
        await leases.close([number * 32])
        clocks.sleep(1)


async def test_a_keep_takes_the_place_of_another_and_can_be_ended(
    leases: SqlLeaseStore, clocks: Clocks, alice: Account
) -> None:
    await leases.keep(lease_of(alice, "a", LeaseKind.KEEP), 100)
    kept = await leases.keep(lease_of(alice, "b", LeaseKind.KEEP), 3600)
    assert clocks.wall + timedelta(hours=1) == kept.expires_at
    known = await leases.known(alice.userhash)
    assert [kept] == list(known.leases)
    assert known.is_live(kept, 60)

    assert await leases.end_keep(alice.userhash) is True
    assert await leases.end_keep(alice.userhash) is False


async def test_one_server_at_a_time_has_the_turn(idleness: SqlIdlenessStore, clocks: Clocks) -> None:
    assert await idleness.take_turn("reaper", server=ONE, for_s=60)
    assert not await idleness.take_turn("reaper", server=TWO, for_s=60)
    clocks.sleep(30)
    assert await idleness.take_turn("reaper", server=ONE, for_s=60)
    clocks.sleep(59)
    assert not await idleness.take_turn("reaper", server=TWO, for_s=60)
    clocks.sleep(1)
    assert await idleness.take_turn("reaper", server=TWO, for_s=60)


async def test_a_clock_that_was_set_back_leaves_the_turn_with_nobody(
    idleness: SqlIdlenessStore, clocks: Clocks
) -> None:
    assert await idleness.take_turn("reaper", server=ONE, for_s=60)
    clocks.jump(-24 * 3600)
    assert await idleness.take_turn("reaper", server=TWO, for_s=60)


async def test_of_a_deleted_account_nothing_is_known(
    leases: SqlLeaseStore, store: SqlAccountStore, alice: Account
) -> None:
    await opened(leases, lease_of(alice))
    await store.delete(alice.userhash)
    with pytest.raises(NotFoundError):
        await leases.known(alice.userhash)
    with pytest.raises(NotFoundError):
        await opened(leases, lease_of(alice, "b"))
    assert [] == list(await leases.renew([lease_of(alice, "c")], server=TWO, ttl_s=60))


async def test_leases_are_found_by_the_process_that_renews_them(
    leases: SqlLeaseStore, alice: Account
) -> None:
    await opened(leases, lease_of(alice, "a"), ONE)
    await opened(leases, lease_of(alice, "b"), TWO)
    await opened(leases, lease_of(alice, "c"), ONE)
    await leases.keep(lease_of(alice, "d", LeaseKind.KEEP), 3600)

    expected = {
        ONE: [("a" * 32, alice.userhash), ("c" * 32, alice.userhash)],
        TWO: [("b" * 32, alice.userhash)],
    }
    assert expected == await leases.by_server()
