"""Moves an installation's rows from one database to another, of either kind, whole or not at all.

The rows are read in one transaction, so they belong together even while a server writes; what it writes
after that is not among them. They are written in one transaction too, which is undone unless what is read
back from it is what was read: as many rows in each table, and the same sum of their digests.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Integer, Table, func, insert, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from rootblood.errors import ConfigurationError, ConflictError
from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.models import Base
from rootblood.stores.sql.revisions import schema_is_current
from rootblood.stores.sql.schema import upgrade

_BATCH = 500
"""Rows in memory, and in one statement, at a time."""

_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class TableCount:
    """What one table holds."""

    table: str
    rows: int
    digest: str
    """Of all rows, whatever their order, in hex."""


@uninterrupted
async def copy(source: Database, target: Database, *, dry_run: bool) -> Sequence[TableCount]:
    """Copy all rows into a database that has none, and make its schema where there is none.

    Args:
        source: what to copy; it stays as it is.
        target: where to.
        dry_run: only see whether it could be done; `target` stays as it is too.

    Returns:
        What was copied, or would be.

    Raises:
        ConfigurationError: `source` or `target` has another schema than this version's.
        ConflictError: something is in `target`, or what was written is not what was read.
        StoreUnavailableError: one of the two does not answer.
    """
    if not await schema_is_current(source):
        raise ConfigurationError(f"{source.name} has no schema, or an old one: run setup on it first")
    bare = await _is_bare(target)
    if not bare:
        await _require_empty(target)
    if not dry_run and bare:
        await upgrade(target)
    tables = Base.metadata.sorted_tables
    if dry_run:
        async with source.read() as reading:
            return [await _count(reading, table) for table in tables]
    async with target.write() as writing:
        async with source.read() as reading:
            copied = [await _copy(reading, writing, table) for table in tables]
        for table, expected in zip(tables, copied, strict=True):
            if await _count(writing, table) != expected:
                raise ConflictError(
                    f"table {table.name} came out different in {target.name}: nothing was kept there"
                )
            await _number_on(writing, table)
    return copied


async def _is_bare(database: Database) -> bool:
    """Whether there is no table at all, or no file."""

    def names(connection: Connection) -> list[str]:
        return inspect(connection).get_table_names()

    if not await database.exists():
        return True
    async with database.read() as session:
        return not await (await session.connection()).run_sync(names)


async def _require_empty(database: Database) -> None:
    if not await schema_is_current(database):
        raise ConfigurationError(f"{database.name} has tables, and not those of this version: take another")
    async with database.read() as session:
        for table in Base.metadata.sorted_tables:
            if await session.scalar(select(func.count()).select_from(table)):
                raise ConflictError(f"{database.name} is not empty: there are rows in {table.name}")


async def _batches(session: AsyncSession, table: Table) -> AsyncIterator[Sequence[tuple[Any, ...]]]:
    result = await session.stream(select(table).order_by(*table.primary_key.columns))
    async for rows in result.partitions(_BATCH):
        yield [tuple(row) for row in rows]


async def _copy(source: AsyncSession, target: AsyncSession, table: Table) -> TableCount:
    count, total = 0, 0
    names = [column.name for column in table.columns]
    async for rows in _batches(source, table):
        await target.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])
        count, total = count + len(rows), total + sum(map(_digest, rows))
    return _table_count(table, count, total)


async def _count(session: AsyncSession, table: Table) -> TableCount:
    count, total = 0, 0
    async for rows in _batches(session, table):
        count, total = count + len(rows), total + sum(map(_digest, rows))
    return _table_count(table, count, total)


def _digest(row: tuple[Any, ...]) -> int:
    """Of the values as Python has them, which is the same for either database."""
    return int.from_bytes(hashlib.sha256(repr(row).encode()).digest(), "big")


def _table_count(table: Table, count: int, total: int) -> TableCount:
    wrapped = total % (1 << 8 * _DIGEST_BYTES)  # a sum, as the two may sort texts differently
    return TableCount(table.name, count, wrapped.to_bytes(_DIGEST_BYTES, "big").hex())


async def _number_on(session: AsyncSession, table: Table) -> None:
    """Let PostgreSQL number new rows from the last one on; SQLite does so by itself."""
    column = table.autoincrement_column
    connection = await session.connection()
    if connection.dialect.name != "postgresql" or column is None or not isinstance(column.type, Integer):
        return
    last = await session.scalar(select(func.max(column)))
    if last is not None:
        await session.execute(
            text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)"),
            {"table": table.name, "column": column.name, "last": last},
        )
