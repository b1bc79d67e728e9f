"""An installation moves from one database to another, and back, and what is damaged is found."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from rootblood.domain.accounts import Account, Login, new_userhash
from rootblood.domain.audit import Action, Door, NewEvent
from rootblood.domain.bans import Ban
from rootblood.domain.keys import PublicKey
from rootblood.domain.logins import LoginLink, LoginSession, new_id
from rootblood.domain.networks import network_of
from rootblood.domain.tokens import ApiToken, Scope
from rootblood.errors import ConfigurationError, ConflictError
from rootblood.settings import DatabaseSettings, Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.audit import SqlAuditStore
from rootblood.stores.sql.bans import SqlBanStore
from rootblood.stores.sql.checking import check
from rootblood.stores.sql.copying import copy
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.links import SqlLinkStore
from rootblood.stores.sql.logins import SqlLoginStore
from rootblood.stores.sql.models import Base
from rootblood.stores.sql.schema import upgrade
from rootblood.stores.sql.tokens import SqlTokenStore
from rootblood.stores.sql.visits import SqlVisitStore
from tests.postgresql import Cluster

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)

Elsewhere = Callable[[str], Database]


@pytest.fixture
async def elsewhere(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Elsewhere]:
    """Makes other databases, of the kind that is named."""
    made: list[Database] = []

    def make(kind: str) -> Database:
        url = f"sqlite+aiosqlite:///{tmp_path}/elsewhere-{len(made)}.db"
        if kind == "postgresql":
            cluster: Cluster = request.getfixturevalue("cluster")
            url = cluster.url(cluster.create())
        made.append(Database(Settings(database=DatabaseSettings.model_validate({"url": url}))))
        return made[-1]

    yield make
    for database in made:
        await database.close()


@pytest.fixture
async def alice(database: Database, store: SqlAccountStore) -> Account:
    """An account with something in every table, and a tombstone beside it."""
    gone = await store.add(name="gone", userhash=new_userhash(), admin=False, password_hash=None, keys=())
    await store.delete(gone.userhash)
    key = PublicKey("ssh-ed25519", b"\0blob\xff", "lapt\u00f6p \U0001f511 \x1b[2J")
    alice = await store.add(
        name="alice", userhash=new_userhash(), admin=True, password_hash="$argon2id$x", keys=[key]
    )
    ends = NOON + timedelta(days=1)
    login = LoginSession(id=new_id(), created_at=NOON, last_used_at=NOON, address="::1", user_agent="Browser")
    await SqlLoginStore(database).add(alice, login, b"token")
    await SqlLinkStore(database).add(LoginLink(alice, "3"), b"secret", now=NOON, expires_at=ends)
    token = ApiToken(id=new_id(), name="t", scopes=frozenset(Scope), created_at=NOON, expires_at=ends)
    await SqlTokenStore(database).add(alice.userhash, token, b"hash", at_most=2)
    await SqlVisitStore(database).record_login(alice.userhash, Login(NOON, "fe80::1%eth0"))
    ban = Ban(id=new_id(), network=network_of("2001:db8::/32"), reason="r", created_at=NOON, expires_at=None)
    await SqlBanStore(database).add(ban, forget_expired_before=NOON, at_most=10)
    await SqlAuditStore(database).add([event_of(alice) for _ in range(1200)], keep=10_000)
    return alice


def event_of(account: Account) -> NewEvent:
    return NewEvent(account_uid=account.uid, at=NOON, door=Door.SSH, action=Action.LOGGED_IN, peer="::1")


async def rows_of(database: Database) -> dict[str, list[tuple[object, ...]]]:
    async with database.read() as session:
        return {
            table.name: sorted(tuple(row) for row in await session.execute(select(table)))
            for table in Base.metadata.sorted_tables
        }


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.usefixtures("alice")
async def test_a_copy_holds_what_the_original_does(
    database: Database, elsewhere: Elsewhere, kind: str
) -> None:
    target = elsewhere(kind)

    copied = await copy(database, target, dry_run=False)

    before, after = await rows_of(database), await rows_of(target)
    assert before == after
    assert {name: len(rows) for name, rows in before.items()} == {row.table: row.rows for row in copied}
    assert [] == [row.table for row in copied if not row.rows]  # each table was put to the test
    assert [] == await check(target)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_copy_goes_on_numbering_where_the_original_was(
    database: Database, settings: Settings, alice: Account, elsewhere: Elsewhere, kind: str
) -> None:
    target = elsewhere(kind)
    await copy(database, target, dry_run=False)

    store = SqlAccountStore(target, settings.accounts)
    bob = await store.add(
        name="bob",
        userhash=new_userhash(),
        admin=False,
        password_hash=None,
        keys=[PublicKey("ssh-rsa", b"another")],
    )
    await SqlAuditStore(target).add([event_of(bob)], keep=10)

    assert alice.uid + 1 == bob.uid
    newest = (await SqlAuditStore(target).list(bob.uid, limit=1, before=None))[0]
    assert 1201 == newest.id


@pytest.mark.usefixtures("alice")
async def test_there_and_back_again(database: Database, elsewhere: Elsewhere) -> None:
    there, back = elsewhere("postgresql"), elsewhere("sqlite")

    out = await copy(database, there, dry_run=False)
    home = await copy(there, back, dry_run=False)

    assert out == home
    assert await rows_of(database) == await rows_of(back)


@pytest.mark.usefixtures("alice")
async def test_a_dry_run_counts_and_makes_nothing(database: Database, elsewhere: Elsewhere) -> None:
    for kind in ("sqlite", "postgresql"):
        target = elsewhere(kind)
        would = await copy(database, target, dry_run=True)
        assert kind == "postgresql" or not await target.exists()
        assert would == await copy(database, target, dry_run=False)


@pytest.mark.usefixtures("alice")
async def test_a_database_that_is_in_use_is_refused(database: Database, elsewhere: Elsewhere) -> None:
    target = elsewhere("sqlite")
    await copy(database, target, dry_run=False)
    before = await rows_of(target)

    for dry_run in (True, False):
        with pytest.raises(ConflictError, match="is not empty: there are rows in accounts"):
            await copy(database, target, dry_run=dry_run)

    assert before == await rows_of(target)


async def test_databases_of_another_schema_are_refused(database: Database, elsewhere: Elsewhere) -> None:
    bare, foreign = elsewhere("sqlite"), elsewhere("postgresql")
    with pytest.raises(ConfigurationError, match="no schema, or an old one"):
        await copy(bare, foreign, dry_run=False)
    async with foreign.change_schema() as connection:
        await connection.execute(text("CREATE TABLE somebody_elses (id INTEGER)"))
    with pytest.raises(ConfigurationError, match="has tables, and not those of this version"):
        await copy(database, foreign, dry_run=False)


async def test_a_copy_while_a_server_writes_is_of_one_moment(
    database: Database, store: SqlAccountStore, alice: Account, elsewhere: Elsewhere
) -> None:
    """An account is either there with its key or not there."""
    target = elsewhere("sqlite")
    await upgrade(target)

    async def go_on() -> None:
        for number in range(1000):
            key = PublicKey("ssh-rsa", str(number).encode())
            await store.add(
                name=f"n{number}", userhash=new_userhash(), admin=False, password_hash=None, keys=[key]
            )

    writing = asyncio.create_task(go_on())
    await copy(database, target, dry_run=False)
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing

    rows = await rows_of(target)
    named = {row[0] for row in rows["accounts"] if str(row[1]).startswith("n")}
    assert named == {row[1] for row in rows["keys"]} - {alice.uid}


@pytest.mark.usefixtures("alice")
async def test_nothing_is_wrong_with_a_sound_database(database: Database) -> None:
    assert [] == await check(database)


async def test_a_database_without_a_schema_is_said_to_have_none(bare_database: Database) -> None:
    assert ["there is no schema, or an old one; run: rootblood setup"] == await check(bare_database)


@pytest.mark.usefixtures("alice")
async def test_rows_that_refer_to_nothing_and_strange_tables_are_found(database: Database) -> None:
    async with database.change_schema() as connection:  # foreign keys are off on SQLite
        if database.file is None:
            await connection.execute(text("ALTER TABLE keys DROP CONSTRAINT fk_keys_account_uid_accounts"))
        await connection.execute(text("UPDATE keys SET account_uid = 12345"))
        await connection.execute(text("CREATE TABLE somebody_elses (id INTEGER)"))

    found = await check(database)

    assert "1 rows of keys refer to accounts that are not there" in found
    assert any("somebody_elses" in line for line in found)


@pytest.mark.backend("sqlite")
@pytest.mark.usefixtures("alice")
async def test_a_damaged_file_is_found(database: Database) -> None:
    assert database.file is not None
    await database.close()
    content = bytearray(await asyncio.to_thread(database.file.read_bytes))
    at = content.index(b"$argon2id$x")  # a row's end, in the page that its index refers to
    content[at - 60 : at] = bytes(60)
    await asyncio.to_thread(database.file.write_bytes, content)

    assert [] != await check(database)
