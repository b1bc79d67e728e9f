"""What is done to an installation's database as a whole: checking it, and copying it to another."""

from collections.abc import Sequence

from rootblood.settings import Settings
from rootblood.stores.sql.checking import check
from rootblood.stores.sql.copying import TableCount, copy
from rootblood.stores.sql.database import Database


async def check_database(settings: Settings) -> Sequence[str]:
    """What is wrong with this installation's database, a line each. Raises as `checking.check`."""
    database = Database(settings)
    try:
        return await check(database)
    finally:
        await database.close()


async def copy_database(source: Settings, target: Settings, *, dry_run: bool) -> Sequence[TableCount]:
    """Copy all rows of one installation into the empty database of another. Raises as `copying.copy`."""
    databases = Database(source), Database(target)
    try:
        return await copy(*databases, dry_run=dry_run)
    finally:
        for database in databases:
            await database.close()
