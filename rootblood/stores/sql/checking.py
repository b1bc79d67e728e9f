"""Looks for damage in a database: what its own rules, and the schema of this version, say must not be.

SQLite checks its file page by page. PostgreSQL has checksums for that, and here every row is read, which
fails on a page it cannot read. On both, rows that refer to nothing are looked for, and differences from the
schema, which is where a database that somebody worked on by hand would break at some later upgrade.
"""

from collections.abc import Sequence

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Table, and_, exists, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.models import Base
from rootblood.stores.sql.revisions import schema_is_current

_INVALID_INDEXES = text(
    "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid"
    " WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace"
)


@uninterrupted
async def check(database: Database) -> Sequence[str]:
    """What is wrong with a database, a line each; none where nothing is.

    Raises:
        ConfigurationError: a newer RootBlood has changed the schema, or others may use the file.
        StoreUnavailableError: it does not answer, or is damaged so much that it cannot be read.
    """
    if not await schema_is_current(database):
        return ["there is no schema, or an old one; run: rootblood setup"]
    async with database.read() as session:
        found = [*await _damage(session), *await _differences(session)]
        for table in Base.metadata.sorted_tables:
            found += await _dangling(session, table)
    return found


async def _damage(session: AsyncSession) -> list[str]:
    if (await session.connection()).dialect.name == "sqlite":
        said = await session.scalars(text("PRAGMA integrity_check"))
        return [str(line) for line in said if line != "ok"]
    for table in Base.metadata.sorted_tables:
        # Each row as a whole, with what is kept apart from it.
        await session.scalar(select(func.sum(func.length(text(f"{table.name}::text")))).select_from(table))
    return [f"index {name} is not valid" for name in await session.scalars(_INVALID_INDEXES)]


async def _differences(session: AsyncSession) -> list[str]:
    def compare(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection)
        return [
            f"the schema is not this version's: {found}" for found in compare_metadata(context, Base.metadata)
        ]

    return await (await session.connection()).run_sync(compare)


async def _dangling(session: AsyncSession, table: Table) -> list[str]:
    """Rows of the table that refer to rows which are not there."""
    found = []
    for constraint in table.foreign_key_constraints:
        there = constraint.referred_table.alias()
        pairs = [(key.parent, there.c[key.column.name]) for key in constraint.elements]
        count = await session.scalar(
            select(func.count())
            .select_from(table)
            .where(
                *(column.is_not(None) for column, _ in pairs),
                ~exists().where(and_(*(column == other for column, other in pairs))),
            )
        )
        if count:
            found.append(
                f"{count} rows of {table.name} refer to {constraint.referred_table.name} that are not there"
            )
    return found
