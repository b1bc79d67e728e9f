"""Copies of a SQLite database, by SQLite's own backup API: whole, of one moment, while it is in use."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pydantic import SecretStr

from rootblood.domain.backups import SQLITE_COPY
from rootblood.errors import ConflictError, InvalidInputError, StoreUnavailableError
from rootblood.settings import DatabaseSettings, Settings
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.models import LinkRow, LoginSessionRow
from rootblood.stores.sql.revisions import schema_is_current


class SqliteCopies:
    """Implements `rootblood.stores.base.DatabaseCopies`.

    Args:
        file: the database of this installation.
        settings: of this installation.
    """

    file_name = SQLITE_COPY

    def __init__(self, file: Path, settings: Settings) -> None:
        self._file = file
        self._settings = settings

    async def exists(self) -> bool:
        """Whether the file is there."""
        return await asyncio.to_thread(self._file.exists)

    async def save(self, file: Path) -> None:
        """Copy it page by page, and make one file of the copy."""
        await asyncio.to_thread(_save, self._file, file)

    async def check(self, file: Path) -> None:
        """Run SQLite's integrity check, and look for the newest revision in it."""
        await asyncio.to_thread(_check, file)
        settings = DatabaseSettings(url=SecretStr(f"sqlite+aiosqlite:///{file}"))
        copy = Database(self._settings.model_copy(update={"database": settings}))
        try:
            await schema_is_current(copy)  # an older one is upgraded once it is in its place
        finally:
            await copy.close()

    async def require_unused(self) -> None:
        """Ask SQLite for the database alone."""
        await asyncio.to_thread(_require_unused, self._file)

    async def restore(self, file: Path) -> None:
        """Rename a copy of the copy over the database."""
        await asyncio.to_thread(_restore, file, self._file)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailableError("the database cannot be copied") from error


def _open(file: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)


def _save(source: Path, target: Path) -> None:
    with _translated():
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(_open(source, "rw")) as database, closing(_open(target, "rw")) as copy:
            database.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")


def _check(file: Path) -> None:
    try:
        with closing(_open(file, "ro")) as copy:
            found = copy.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        raise InvalidInputError(f"the backup's database is damaged: {error}") from error
    if found != "ok":
        raise InvalidInputError(f"the backup's database is damaged: {found}")


def _require_unused(file: Path) -> None:
    if not file.exists():
        return
    try:
        with closing(_open(file, "rw")) as database:
            # Only who is alone leaves WAL mode, and it is on again as soon as somebody opens the database.
            mode = database.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise StoreUnavailableError("the database does not answer") from error
        mode = "wal"
    except sqlite3.DatabaseError:
        return  # damaged, which may be why it is to be replaced
    if mode == "wal":
        raise ConflictError(f"{file} is in use: stop the server first")


def _restore(copy: Path, file: Path) -> None:
    unfinished = file.with_name(f".{file.name}.restoring")
    with _translated():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        shutil.copyfile(copy, unfinished)
        with closing(_open(unfinished, "rw")) as database:
            for table in (LinkRow.__table__, LoginSessionRow.__table__):
                # A session that was ended since would be good again. Older schemas have neither.
                if database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (str(table),)).fetchone():
                    database.execute(f"DELETE FROM {table}")  # noqa: S608 - a table of ours
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        for extra in ("-wal", "-shm"):  # of the one before, which would be taken for this one's
            file.with_name(file.name + extra).unlink(missing_ok=True)
        unfinished.rename(file)
