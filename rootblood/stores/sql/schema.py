"""Brings the tables to the state this version of RootBlood expects.

The steps are alembic revisions in `migrations/versions`, inside the package, so that an installed wheel can
upgrade its database with no other file. They are run from here, not through alembic's command line and its
env.py: the whole upgrade is one transaction on the store's own connection. It looks at the current revision
only once it holds the lock, so two processes that upgrade at once do it one after the other, and the second
finds nothing to do.

A new revision is written by hand: copy the newest file, set `down_revision`, change `models.py` with it.
"""

import asyncio

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from rootblood.stores.sql.database import Database, uninterrupted
from rootblood.stores.sql.revisions import MIGRATIONS, known_revision, schema_is_current


@uninterrupted
async def upgrade(database: Database) -> bool:
    """Make the database where it is missing, and run the revisions it has not had; False when it had all.

    Raises:
        ConfigurationError: the file cannot be made, or a newer RootBlood has changed the schema.
        StoreUnavailableError: the database does not answer.
    """
    revisions = await asyncio.to_thread(_revisions)
    await database.create()
    if await schema_is_current(database):
        return False
    async with database.change_schema() as connection:
        return await connection.run_sync(_run, revisions)


def _revisions() -> ScriptDirectory:
    """The revisions, all of them read: from here on nothing touches their files."""
    revisions = ScriptDirectory(MIGRATIONS)
    list(revisions.walk_revisions())
    return revisions


def _run(connection: Connection, revisions: ScriptDirectory) -> bool:
    context = MigrationContext.configure(connection)
    current = known_revision(connection)
    # From the newest down to what the database has not had.
    missing = list(revisions.iterate_revisions("head", current))
    with Operations.context(context):
        for revision in reversed(missing):
            revision.module.upgrade()
            context.stamp(revisions, revision.revision)
    return bool(missing)
