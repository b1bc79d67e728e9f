"""Copies of a database that is in use."""

import asyncio
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest

from rootblood.errors import ConfigurationError, ConflictError, InvalidInputError
from rootblood.settings import Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.copies import SqliteCopies
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.revisions import schema_is_current

pytestmark = pytest.mark.backend("sqlite")


@pytest.fixture
def copies(database: Database, settings: Settings) -> SqliteCopies:
    assert database.file is not None
    return SqliteCopies(database.file, settings)


async def _add(store: SqlAccountStore, name: str) -> None:
    await store.add(name=name, userhash=name, admin=False, password_hash=None, keys=[])


async def test_a_copy_has_what_was_there_at_its_moment(
    copies: SqliteCopies, store: SqlAccountStore, database: Database, tmp_path: Path
) -> None:
    await _add(store, "before")
    await copies.save(tmp_path / "copy")
    await _add(store, "after")
    await copies.check(tmp_path / "copy")
    assert 0o600 == (tmp_path / "copy").stat().st_mode & 0o777

    with pytest.raises(ConflictError, match="stop the server"):
        await copies.require_unused()
    await database.close()
    await copies.require_unused()
    await copies.restore(tmp_path / "copy")

    assert ["before"] == [account.name for account in await store.list()]
    assert await schema_is_current(database)


async def test_a_copy_that_cannot_be_used_is_refused(copies: SqliteCopies, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    await copies.save(copy)

    def age() -> None:
        with closing(connect(copy)) as database:
            database.execute("UPDATE alembic_version SET version_num = 'r9999'")
            database.commit()

    await asyncio.to_thread(age)
    with pytest.raises(ConfigurationError, match="newer RootBlood"):
        await copies.check(copy)

    await asyncio.to_thread(copy.write_bytes, b"no database" * 1000)
    with pytest.raises(InvalidInputError, match="damaged"):
        await copies.check(copy)
