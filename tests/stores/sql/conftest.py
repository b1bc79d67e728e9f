"""A database of its own for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rootblood.settings import Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.schema import upgrade


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", keys_dir=tmp_path / "keys")


@pytest.fixture
async def bare_database(settings: Settings) -> AsyncIterator[Database]:
    """One whose file does not exist yet."""
    database = Database(settings)
    yield database
    await database.close()


@pytest.fixture
async def database(bare_database: Database) -> Database:
    await upgrade(bare_database)
    return bare_database


@pytest.fixture
def store(database: Database, settings: Settings) -> SqlAccountStore:
    return SqlAccountStore(database, settings.accounts)
