"""What the store promises, on real databases."""

import asyncio
import random
import sys
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from rootblood.domain.accounts import Account, AccountState, new_userhash
from rootblood.domain.keys import PublicKey
from rootblood.errors import ConflictError, LimitReachedError, NotFoundError
from rootblood.settings import AccountSettings, Settings
from rootblood.stores.base import AccountStore
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from tests.stores.sql.conftest import env_of

KEY = PublicKey("ssh-ed25519", b"one blob", "alice@laptop \x1b[2J")
OTHER_KEY = PublicKey("ssh-rsa", b"another blob")

ADD_MANY = """
import asyncio, sys
from rootblood.domain.accounts import new_userhash
from rootblood.settings import Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database

async def main():
    settings = Settings()
    database = Database(settings)
    store = SqlAccountStore(database, settings.accounts)
    for number in range(int(sys.argv[2])):
        await store.add(
            name=f"{sys.argv[1]}{number}", userhash=new_userhash(), admin=False, password_hash=None, keys=[]
        )
    await database.close()

asyncio.run(main())
"""


async def add(store: AccountStore, name: str, *keys: PublicKey, password_hash: str | None = None) -> Account:
    return await store.add(
        name=name, userhash=new_userhash(), admin=False, password_hash=password_hash, keys=keys
    )


async def keys_of(store: AccountStore, account: Account) -> list[PublicKey]:
    return [entry.key for entry in await store.keys(account.userhash)]


async def test_an_account_is_found_as_it_was_added(store: SqlAccountStore) -> None:
    added = await store.add(
        name="alice", userhash="ab" * 16, admin=True, password_hash="$argon2id$x", keys=[KEY, OTHER_KEY]
    )

    assert added == await store.by_name("alice")
    assert [added] == await store.list()
    assert ("alice", 20000, "ab" * 16, AccountState.ACTIVE, True, "$argon2id$x", False) == (
        added.name,
        added.uid,
        added.userhash,
        added.state,
        added.admin,
        added.password_hash,
        added.published,
    )
    assert UTC == added.created_at.tzinfo
    assert timedelta(0) <= datetime.now(UTC) - added.created_at < timedelta(minutes=1)
    assert [KEY, OTHER_KEY] == await keys_of(store, added)


async def test_nobody_is_found_where_there_is_nobody(store: SqlAccountStore) -> None:
    assert None is await store.by_name("alice")
    assert [] == await store.list()
    assert [] == list(await store.keys(new_userhash()))


async def test_accounts_are_listed_by_name(store: SqlAccountStore) -> None:
    for name in ("carol", "alice", "bob"):
        await add(store, name)

    assert ["alice", "bob", "carol"] == [account.name for account in await store.list()]


async def test_uids_are_given_in_order(store: SqlAccountStore) -> None:
    assert [20000, 20001, 20002] == [(await add(store, name)).uid for name in ("a", "b", "c")]


async def test_a_name_is_given_once(store: SqlAccountStore) -> None:
    alice = await add(store, "alice")
    with pytest.raises(ConflictError, match="there is an account alice already"):
        await add(store, "alice")

    await store.delete(alice.userhash)
    with pytest.raises(ConflictError, match="not given again"):
        await add(store, "alice")


async def test_a_deleted_account_leaves_only_a_tombstone(store: SqlAccountStore, database: Database) -> None:
    alice = await add(store, "alice", KEY, password_hash="$argon2id$x")

    await store.delete(alice.userhash)

    assert None is await store.by_name("alice")
    assert [] == await store.list()
    (tombstone,) = await store.list(include_deleted=True)
    assert ("alice", alice.uid, AccountState.DELETED, None) == (
        tombstone.name,
        tombstone.uid,
        tombstone.state,
        tombstone.password_hash,
    )
    assert None is await store.by_key("alice", KEY.blob)
    async with database.read() as session:
        assert 0 == await session.scalar(text("SELECT count(*) FROM keys"))


async def test_the_uid_of_a_deleted_account_is_never_given_again(store: SqlAccountStore) -> None:
    last = await add(store, "alice")
    await store.delete(last.userhash)

    assert last.uid + 1 == (await add(store, "bob")).uid


async def test_nothing_brings_a_deleted_account_back(store: SqlAccountStore) -> None:
    userhash = (await add(store, "alice")).userhash
    await store.delete(userhash)

    for change in (
        store.set_state(userhash, AccountState.ACTIVE),
        store.set_password_hash(userhash, "$argon2id$x"),
        store.refresh_password_hash(userhash, old="a", new="b"),
        store.add_key(userhash, KEY),
        store.delete_key(userhash, KEY.fingerprint),
        store.delete(userhash),
    ):
        with pytest.raises(NotFoundError):
            await change

    assert [AccountState.DELETED] == [account.state for account in await store.list(include_deleted=True)]


async def test_deleting_goes_by_delete_alone(store: SqlAccountStore) -> None:
    alice = await add(store, "alice", KEY)

    with pytest.raises(ValueError, match="delete"):
        await store.set_state(alice.userhash, AccountState.DELETED)


async def test_the_range_of_uids_ends(database: Database) -> None:
    store = SqlAccountStore(database, AccountSettings(uid_min=30000, uid_max=30001))
    assert [30000, 30001] == [(await add(store, name)).uid for name in ("a", "b")]

    with pytest.raises(LimitReachedError, match=r"accounts\.uid_max"):
        await add(store, "c")


async def test_a_range_that_was_moved_up_goes_on_there(database: Database, store: SqlAccountStore) -> None:
    await add(store, "alice")

    moved = SqlAccountStore(database, AccountSettings(uid_min=30000, uid_max=30001))

    assert 30000 == (await add(moved, "bob")).uid
    assert 30001 == (await add(store, "carol")).uid


async def test_an_account_comes_with_all_its_keys_or_not_at_all(store: SqlAccountStore) -> None:
    with pytest.raises(ConflictError, match="the same key is given twice"):
        await add(store, "alice", KEY, KEY)

    assert None is await store.by_name("alice")


async def test_a_userhash_is_given_once(store: SqlAccountStore) -> None:
    alice = await add(store, "alice")

    with pytest.raises(ConflictError):
        await store.add(name="bob", userhash=alice.userhash, admin=False, password_hash=None, keys=[])


async def test_locking_and_unlocking(store: SqlAccountStore) -> None:
    userhash = (await add(store, "alice")).userhash

    for state in (AccountState.LOCKED, AccountState.LOCKED, AccountState.ACTIVE):
        await store.set_state(userhash, state)
        found = await store.by_name("alice")
        assert found is not None
        assert state is found.state


async def test_a_key_is_added_and_deleted(store: SqlAccountStore) -> None:
    alice = await add(store, "alice")

    entry = await store.add_key(alice.userhash, KEY)

    assert KEY == entry.key
    assert [entry] == list(await store.keys(alice.userhash))
    assert await store.delete_key(alice.userhash, KEY.fingerprint)
    assert not await store.delete_key(alice.userhash, KEY.fingerprint)
    assert [] == await keys_of(store, alice)


async def test_a_key_is_added_once(store: SqlAccountStore) -> None:
    alice = await add(store, "alice", KEY)

    with pytest.raises(ConflictError, match="alice has the key SHA256:"):
        await store.add_key(alice.userhash, PublicKey(KEY.algorithm, KEY.blob, "another comment"))


async def test_a_key_belongs_to_each_account_that_has_it_and_to_no_other(store: SqlAccountStore) -> None:
    alice = await add(store, "alice", KEY)
    bob = await add(store, "bob", KEY)
    await add(store, "carol", OTHER_KEY)
    await store.delete_key(bob.userhash, KEY.fingerprint)

    assert [alice, None, None, None] == [
        await store.by_key(name, KEY.blob) for name in ("alice", "bob", "carol", "nobody")
    ]
    assert None is await store.by_key("alice", KEY.blob + b"\0")


async def test_a_password_hash_is_replaced_and_taken_away(store: SqlAccountStore) -> None:
    alice = await add(store, "alice", password_hash="old")

    for password_hash in ("new", None):
        await store.set_password_hash(alice.userhash, password_hash)
        found = await store.by_name("alice")
        assert found is not None
        assert password_hash == found.password_hash


async def test_refreshing_a_hash_does_not_undo_a_change_of_password(store: SqlAccountStore) -> None:
    alice = await add(store, "alice", password_hash="old")

    assert await store.refresh_password_hash(alice.userhash, old="old", new="old, refreshed")
    await store.set_password_hash(alice.userhash, "another password's")
    assert not await store.refresh_password_hash(alice.userhash, old="old, refreshed", new="x")

    found = await store.by_name("alice")
    assert found is not None
    assert "another password's" == found.password_hash


async def test_publishing_marks_the_accounts_named(store: SqlAccountStore) -> None:
    alice = await add(store, "alice")
    await add(store, "bob")

    await store.mark_published([])
    await store.mark_published([alice.userhash, *(new_userhash() for _ in range(1200))])

    assert [True, False] == [account.published for account in await store.list()]


async def test_two_processes_adding_accounts_at_once_share_no_uid(
    settings: Settings, store: SqlAccountStore
) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            ADD_MANY,
            prefix,
            "50",
            env=env_of(settings),
            stderr=asyncio.subprocess.PIPE,
        )
        for prefix in ("a", "b")
    ]
    assert [b"", b""] == [errors for _, errors in [await process.communicate() for process in processes]]

    assert list(range(20000, 20100)) == sorted(account.uid for account in await store.list())


async def test_many_tasks_adding_the_same_name_make_one_account(store: SqlAccountStore) -> None:
    results = await asyncio.gather(*(add(store, "alice") for _ in range(20)), return_exceptions=True)

    assert 1 == sum(isinstance(result, Account) for result in results)
    assert 19 == sum(isinstance(result, ConflictError) for result in results)


async def test_callers_cancelled_at_any_point_leave_no_lock_behind(
    store: SqlAccountStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancelled BEGIN IMMEDIATE used to go on in its thread, and the lock stayed with a lost connection."""
    alice = await add(store, "alice")
    chance = random.Random(2)  # noqa: S311 - no secret
    cancelled = 0
    for number in range(300):
        task: asyncio.Task[object]
        if number % 2:
            task = asyncio.create_task(store.by_name("alice"))
        else:
            task = asyncio.create_task(store.set_password_hash(alice.userhash, str(number)))
        # Not to wait for something, but to be early or late by chance.
        await asyncio.sleep(chance.uniform(0, 0.002))
        cancelled += task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert cancelled > 0
    assert [] == caplog.records
    async with asyncio.timeout(30):  # one that is waited for in vain is an error before that
        await store.set_password_hash(alice.userhash, "the last")
