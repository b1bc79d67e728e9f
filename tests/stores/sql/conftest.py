"""A database of its own for each test, of each kind: what a store promises, it promises on both."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from rootblood.settings import DatabaseSettings, Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.schema import upgrade
from tests.postgresql import Cluster, running_cluster

BOTH = ("sqlite", "postgresql")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a database once on each kind, unless the test or its file says `backend` itself."""
    if "backend" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("backend")
        metafunc.parametrize("backend", only.args if only is not None else BOTH, scope="session")


@dataclass(frozen=True)
class Prepared:
    """A cluster, and a database in it that has the schema, to be copied."""

    cluster: Cluster
    template: str


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One for all tests of this process."""
    with running_cluster() as made:
        yield made


@pytest.fixture(scope="session")
def prepared(cluster: Cluster) -> Prepared:
    template = cluster.create()

    async def prepare() -> None:
        database = Database(
            Settings(database=DatabaseSettings.model_validate({"url": cluster.url(template)}))
        )
        await upgrade(database)
        await database.close()

    with ThreadPoolExecutor(1) as elsewhere:  # this thread's event loop is the tests'
        elsewhere.submit(asyncio.run, prepare()).result()
    return Prepared(cluster, template)


@pytest.fixture
def settings(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> Settings:
    """Of an installation whose database is made, but for the file of SQLite."""
    database = DatabaseSettings()
    if backend == "postgresql":
        prepared: Prepared = request.getfixturevalue("prepared")
        bare = "bare_database" in request.fixturenames
        name = prepared.cluster.create(template="template0" if bare else prepared.template)
        database = DatabaseSettings.model_validate({"url": prepared.cluster.url(name)})
    return Settings(state_dir=tmp_path / "state", keys_dir=tmp_path / "keys", database=database)


@pytest.fixture
async def bare_database(settings: Settings) -> AsyncIterator[Database]:
    """One without a schema; on SQLite the file does not exist yet."""
    database = Database(settings)
    yield database
    await database.close()


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings)
    await upgrade(database)
    yield database
    await database.close()


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
