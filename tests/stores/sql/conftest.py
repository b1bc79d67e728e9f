"""A database of its own for each test, of each kind: what a store promises, it promises on both."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rootblood.settings import DatabaseSettings, Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.schema import upgrade
from tests.databases import set_up
from tests.postgresql import Cluster

BOTH = ("sqlite", "postgresql")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a database once on each kind, unless the test or its file says `backend` itself."""
    if "backend" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("backend")
        metafunc.parametrize("backend", only.args if only is not None else BOTH, scope="session")


@pytest.fixture
def settings(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> Settings:
    """Of an installation that has not been set up yet."""
    database = DatabaseSettings()
    if backend == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster")
        database = DatabaseSettings.model_validate({"url": cluster.url(cluster.create())})
    return Settings(state_dir=tmp_path / "state", keys_dir=tmp_path / "keys", database=database)


@pytest.fixture
async def bare_database(settings: Settings) -> AsyncIterator[Database]:
    """One without a schema; on SQLite the file does not exist yet."""
    database = Database(settings)
    yield database
    await database.close()


@pytest.fixture
async def database(bare_database: Database) -> Database:
    await (upgrade if bare_database.file is None else set_up)(bare_database)
    return bare_database


@pytest.fixture
async def impatient(settings: Settings, database: Database) -> AsyncIterator[Database]:
    """The same database, for those who do not wait long."""
    hasty = settings.database.model_copy(update={"busy_timeout_s": 0.5})
    made = Database(settings.model_copy(update={"database": hasty}))
    assert made.name == database.name
    yield made
    await made.close()


@pytest.fixture
def store(database: Database, settings: Settings) -> SqlAccountStore:
    return SqlAccountStore(database, settings.accounts)


def env_of(settings: Settings) -> dict[str, str]:
    """For another process that is to use the same installation."""
    env = {**os.environ, "ROOTBLOOD_STATE_DIR": str(settings.state_dir)}
    if settings.database.url is not None:
        env["ROOTBLOOD_DATABASE__URL"] = settings.database.url.get_secret_value()
    return env
