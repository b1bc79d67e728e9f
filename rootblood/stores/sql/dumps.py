"""Copies of a PostgreSQL database, by its own pg_dump: whole, of one moment, while it is in use.

Only RootBlood's tables are in them, as the database may have others, which are not ours to read or to
replace. The programs reach the server as the stores do. What is secret about that is in their environment,
which no other user of this machine can read, and never on a command line.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, delete, inspect, text
from sqlalchemy.ext.asyncio import AsyncSession

from rootblood.domain.backups import POSTGRESQL_COPY
from rootblood.errors import ConfigurationError, ConflictError, InvalidInputError, StoreUnavailableError
from rootblood.stores.backups.programs import running
from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.models import Base, LinkRow, LoginSessionRow
from rootblood.stores.sql.revisions import VERSION_TABLE, require_known

_VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "database": "PGDATABASE",
    "passfile": "PGPASSFILE",
    "ssl": "PGSSLMODE",
}
"""What asyncpg calls it, and libpq."""

_DEBIAN = "/usr/lib/postgresql/{}/bin"
"""Where Debian has the programs of each version, whatever is on the path."""

_VERSION = re.compile(rb"\(PostgreSQL\) (\d+)")
_TABLE = re.compile(rf"^\d+; \d+ \d+ TABLE (.+) {VERSION_TABLE} ", re.MULTILINE)
_REVISION = re.compile(rf"^COPY .*{VERSION_TABLE} \(version_num\) FROM stdin;\n(\S+)\n", re.MULTILINE)
_QUIET = ("--no-owner", "--no-privileges", "--no-password")

_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user"
    " AND application_name = 'rootblood' AND pid <> pg_backend_pid()"
)
_GONE_ATTEMPTS = 20
_GONE_PAUSE_S = 0.25
"""A connection that was closed is still there for a moment."""


class PostgresqlCopies:
    """Implements `rootblood.stores.base.DatabaseCopies`.

    Args:
        database: of this installation.
    """

    file_name = POSTGRESQL_COPY

    def __init__(self, database: Database) -> None:
        self._database = database
        self._options = _connect_options(database.url)

    @uninterrupted
    async def exists(self) -> bool:
        """Whether any of the tables is there."""
        async with self._database.read() as session:
            return bool(await _tables(session))

    async def save(self, file: Path) -> None:
        """Run pg_dump, which sees one state of the database throughout."""
        major, schema, tables = await self._look()
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        names = [f"--table={_quoted(schema)}.{_quoted(table)}" for table in tables]
        await self._run("pg_dump", major, [*_QUIET, "--format=custom", f"--file={file}", *names])

    async def check(self, file: Path) -> None:
        """Have pg_restore read all of it, and look for the revision in it."""
        major, schema, _ = await self._look()
        try:
            listed = await self._run("pg_restore", major, ["--list", str(file)])
            await self._run("pg_restore", major, ["--file=/dev/null", str(file)])
            options = ["--data-only", f"--table={VERSION_TABLE}", "--file=-"]
            versions = await self._run("pg_restore", major, [*options, str(file)])
        except StoreUnavailableError as error:
            raise InvalidInputError(f"the backup's database is damaged: {error}") from error
        table, revision = _TABLE.search(listed), _REVISION.search(versions)
        if table is None or revision is None:
            raise InvalidInputError("the backup's database is not one of RootBlood's")
        await asyncio.to_thread(require_known, revision[1])
        if table[1] != schema:
            raise ConfigurationError(
                f"the backup's tables are in the schema {table[1]}, and those of database.url in {schema}: "
                "set the role's search_path"
            )

    async def require_unused(self) -> None:
        """Ask PostgreSQL for other connections of RootBlood's."""
        for _ in range(_GONE_ATTEMPTS):
            if not (others := await self._others()):
                return
            await asyncio.sleep(_GONE_PAUSE_S)
        raise ConflictError(f"the database has {others} connections of servers: stop them all first")

    async def restore(self, file: Path) -> None:
        """Drop the tables, and have pg_restore make them in one transaction."""
        major, _, _ = await self._look()
        await self._drop()
        name = str(self._options.get("database") or self._options.get("user") or "")
        where = "dbname='{}'".format(name.replace("\\", "\\\\").replace("'", "\\'"))
        await self._run(
            "pg_restore",
            major,
            [*_QUIET, "--single-transaction", "--exit-on-error", f"--dbname={where}", str(file)],
        )
        await self._forget_logins()

    @uninterrupted
    async def _look(self) -> tuple[int, str, Sequence[str]]:
        """The server's version, the schema that the tables are in, and which there are."""
        async with self._database.read() as session:
            number = int(await session.scalar(text("SHOW server_version_num")) or 0)
            schema = await session.scalar(text("SELECT current_schema()"))
            if schema is None:
                raise ConfigurationError("the role of database.url has no schema: set its search_path")
            return number // 10_000, str(schema), await _tables(session)

    @uninterrupted
    async def _others(self) -> int:
        async with self._database.read() as session:
            return int(await session.scalar(_OTHERS) or 0)

    @uninterrupted
    async def _drop(self) -> None:
        async with self._database.change_schema() as connection:
            for table in await connection.run_sync(_ours):
                await connection.execute(text(f"DROP TABLE {_quoted(table)} CASCADE"))

    @uninterrupted
    async def _forget_logins(self) -> None:
        # A session that was ended since would be good again. Older schemas have neither table.
        async with self._database.write() as session:
            there = await _tables(session)
            for row in (LinkRow, LoginSessionRow):
                if row.__tablename__ in there:
                    await session.execute(delete(row))

    async def _run(self, name: str, major: int, arguments: Sequence[str]) -> str:
        """Run a program of PostgreSQL's that is new enough for the server; returns what it wrote.

        Raises:
            ConfigurationError: there is none.
            StoreUnavailableError: it failed.
        """
        program = await self._program(name, major)
        async with running([program, *arguments], self._variables()) as process:
            return (await process.finish()).decode(errors="replace")

    async def _program(self, name: str, major: int) -> str:
        what = f"install it: apt-get install postgresql-client-{major}"
        # Of the server's own version first: what a later one writes, the server may not take back.
        found = await asyncio.to_thread(shutil.which, name, path=_DEBIAN.format(major))
        if found is not None:
            return found
        found = await asyncio.to_thread(shutil.which, name)
        if found is None:
            raise ConfigurationError(f"there is no {name} of PostgreSQL {major}; {what}")
        version: int | None = None
        with suppress(StoreUnavailableError):  # Debian's wrapper, with nothing behind it
            async with running([found, "--version"], {}) as process:
                told = _VERSION.search(await process.finish())
                version = int(told[1]) if told is not None else None
        if version is None or version < major:
            raise ConfigurationError(
                f"{found} is of PostgreSQL {version or '?'}, and the database of {major}; {what}"
            )
        return found

    def _variables(self) -> Mapping[str, str]:
        variables = {"PGAPPNAME": "rootblood-backup"}
        for option, variable in _VARIABLES.items():
            if (value := self._options.get(option)) is not None:
                values = value if isinstance(value, list | tuple) else [value]
                variables[variable] = ",".join(str(one) for one in values)
        return variables


def _connect_options(url: URL) -> Mapping[str, Any]:
    """What SQLAlchemy gives asyncpg for that URL."""
    _, options = url.get_dialect()().create_connect_args(url)
    return options


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


async def _tables(session: AsyncSession) -> Sequence[str]:
    return await (await session.connection()).run_sync(_ours)


def _ours(connection: Connection) -> Sequence[str]:
    """The tables of RootBlood that are there."""
    ours = {*Base.metadata.tables, VERSION_TABLE}
    return sorted(ours & set(inspect(connection).get_table_names()))
