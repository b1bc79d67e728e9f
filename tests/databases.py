"""SQLite databases with all their tables, for tests that are not about how those come to be.

Running the revisions takes longer than most of such tests. So a process of the tests does it once, and each
test gets a copy of what came of it: the very file that `rootblood setup` makes.
"""

import asyncio
import tempfile
from pathlib import Path

from rootblood.settings import Settings
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.schema import upgrade

_contents: list[bytes] = []


async def set_up(database: Database) -> None:
    """Make a new SQLite database what `upgrade` would make it."""
    if not _contents:
        _contents.append(await _upgraded())
    assert database.file is not None
    await database.create()
    await asyncio.to_thread(database.file.write_bytes, _contents[0])


async def _upgraded() -> bytes:
    """The contents of a database that `upgrade` made."""
    with tempfile.TemporaryDirectory() as directory:
        database = Database(Settings(state_dir=Path(directory)))
        await upgrade(database)
        await database.close()
        assert database.file is not None
        return await asyncio.to_thread(_only_file, database.file)


def _only_file(file: Path) -> bytes:
    """Its contents; nothing is left beside it, in a write-ahead log."""
    assert [file] == list(file.parent.iterdir())
    return file.read_bytes()
