"""What tests of leases and the reaper begin with."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rootblood.settings import Settings
from rootblood.stores.sql.database import Database
from tests.databases import set_up
from tests.fakes.reaping import Ground, Server, made_ground, make_keys


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that is set up, to be copied."""
    directory = tmp_path_factory.mktemp("template")

    async def make() -> None:
        database = Database(Settings(state_dir=directory / "state"))
        await set_up(database)
        await database.close()

    asyncio.run(make())
    make_keys(directory)
    return directory


@pytest.fixture
async def ground(tmp_path: Path, template: Path) -> AsyncIterator[Ground]:
    """What servers stand on, without an environment."""
    async with made_ground(tmp_path, template) as ground:
        yield ground


@pytest.fixture
async def server(ground: Ground) -> AsyncIterator[Server]:
    server = ground.server()
    yield server
    await server.close()
