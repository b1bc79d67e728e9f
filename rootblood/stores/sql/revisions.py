"""Which state the tables are in, told without alembic: it is slow to load, and only changing them needs it.

The revisions of this version are the files of `migrations/versions`, each named `r`, its revision and what it
is about, so that their names say all there is to know as long as nothing is to be changed; see `schema.py`.
"""

import asyncio
import functools
import re
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from rootblood.errors import ConfigurationError
from rootblood.stores.sql.database import Database, uninterrupted

MIGRATIONS = Path(__file__).with_name("migrations")

VERSION_TABLE = "alembic_version"
"""Has the revision that the database is at."""

_FILE_NAME = re.compile(r"r(\d{4})_\w+\.py")


@functools.cache
def known_revisions() -> Sequence[str]:
    """The revisions of this version, the oldest first. Looked for once: an upgrade may change the files."""
    found = (_FILE_NAME.fullmatch(path.name) for path in (MIGRATIONS / "versions").iterdir())
    return sorted(name[1] for name in found if name is not None)


def require_known(revision: str | None) -> None:
    """Raise `ConfigurationError` for a revision that a newer RootBlood has made; None is before the first."""
    if revision is not None and revision not in known_revisions():
        raise ConfigurationError(
            "the database was set up by a newer RootBlood than this one: upgrade RootBlood"
        )


def known_revision(connection: Connection) -> str | None:
    """The revision the database is at; None before the first. Raises as `require_known`."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    current: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
    require_known(current)
    return current


@uninterrupted
async def schema_is_current(database: Database) -> bool:
    """Whether the tables are what this version expects; False when they, or the database, are missing.

    Raises:
        ConfigurationError: a newer RootBlood has changed the schema.
        StoreUnavailableError: the database does not answer.
    """
    if not await database.exists():
        return False
    newest = (await asyncio.to_thread(known_revisions))[-1]
    async with database.read() as session:
        connection = await session.connection()
        return await connection.run_sync(known_revision) == newest
