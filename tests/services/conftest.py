"""What tests of leases and the reaper begin with."""

import asyncio
from pathlib import Path

import pytest

from rootblood.settings import Settings
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.schema import upgrade
from tests.fakes.reaping import make_keys


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that is set up, to be copied."""
    directory = tmp_path_factory.mktemp("template")

    async def set_up() -> None:
        database = Database(Settings(state_dir=directory / "state"))
        await upgrade(database)
        await database.close()

    asyncio.run(set_up())
    make_keys(directory)
    return directory
