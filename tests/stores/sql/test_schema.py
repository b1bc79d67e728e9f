"""The revisions make the tables the models describe, from any state, however many start at once."""

import asyncio
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from rootblood.errors import ConfigurationError
from rootblood.settings import Settings
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.models import Base
from rootblood.stores.sql.revisions import MIGRATIONS, known_revisions, schema_is_current
from rootblood.stores.sql.schema import upgrade
from tests.stores.sql.conftest import env_of

UPGRADE = """
import asyncio
from rootblood.settings import Settings
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.schema import upgrade

async def main():
    database = Database(Settings())
    print(await upgrade(database))
    await database.close()

asyncio.run(main())
"""


async def test_the_revisions_make_what_the_models_describe(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, Base.metadata))

    def constraints(connection: Connection) -> dict[str, set[str | None]]:
        inspector = inspect(connection)
        return {
            table: {
                inspector.get_pk_constraint(table)["name"],
                *(found["name"] for found in inspector.get_unique_constraints(table)),
                *(found["name"] for found in inspector.get_check_constraints(table)),
                *(found["name"] for found in inspector.get_foreign_keys(table)),
            }
            for table in Base.metadata.tables
        }

    async with database.read() as session:
        connection = await session.connection()
        assert [] == await connection.run_sync(differences)
        assert {
            table.name: {constraint.name for constraint in table.constraints}
            for table in Base.metadata.tables.values()
        } == await connection.run_sync(constraints)


def test_the_names_of_the_files_are_the_revisions() -> None:
    found = [script.revision for script in ScriptDirectory(MIGRATIONS).walk_revisions()]

    assert found[::-1] == known_revisions()


async def test_upgrade_says_whether_it_did_something(bare_database: Database) -> None:
    assert not await schema_is_current(bare_database)

    assert await upgrade(bare_database)

    assert await schema_is_current(bare_database)
    assert not await upgrade(bare_database)


async def test_a_database_without_tables_is_not_current(bare_database: Database) -> None:
    await bare_database.create()

    assert not await schema_is_current(bare_database)


async def test_a_database_of_a_newer_version_is_left_alone(database: Database) -> None:
    async with database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    for use in (upgrade, schema_is_current):
        with pytest.raises(ConfigurationError, match="newer RootBlood"):
            await use(database)


async def test_an_upgrade_that_fails_leaves_nothing_behind(bare_database: Database) -> None:
    await bare_database.create()

    async def fail_half_way() -> None:
        async with bare_database.change_schema() as connection:
            await connection.execute(text("CREATE TABLE half (id INTEGER)"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_half_way()

    async with bare_database.read() as session:
        connection = await session.connection()
        assert [] == await connection.run_sync(lambda connection: inspect(connection).get_table_names())


async def test_two_processes_may_upgrade_at_once(settings: Settings) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            UPGRADE,
            env=env_of(settings),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]
    outputs = [await process.communicate() for process in processes]

    assert [b""] * 4 == [errors for _, errors in outputs]
    assert [b"False\n", b"False\n", b"False\n", b"True\n"] == sorted(printed for printed, _ in outputs)
