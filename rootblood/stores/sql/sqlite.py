"""SQLite: one file, 0600, in WAL mode, so that readers never wait for the writer.

A write says so at once (BEGIN IMMEDIATE), as a transaction that starts by reading and then wants to write
fails when another process wrote in between, however long it would have waited.
"""

import asyncio
import errno
import os
import stat
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from rootblood.errors import ConfigurationError
from rootblood.stores.sql.engines import BEGIN, Backend, make_engine

_READ = ("BEGIN",)
_WRITE = ("BEGIN IMMEDIATE",)
_SCHEMA = ("PRAGMA foreign_keys=OFF", "BEGIN IMMEDIATE")
"""SQLite changes many things about a table only by making it anew, and to drop the old one would delete the
rows that refer to it."""

_POOL_SIZE = 4
"""Each connection is a thread; a query takes well under a millisecond."""


def sqlite_backend(url: URL, timeout_s: float) -> Backend:
    """What connects to the file that the URL names.

    Args:
        url: of SQLAlchemy's form.
        timeout_s: how long a statement waits for another process's write.

    Raises:
        ConfigurationError: it names no file, or there is no such driver.
    """
    if not url.database or url.database.startswith((":", "file:")):
        raise ConfigurationError("database.url must name a file, as several processes use it")
    file = Path(url.database)
    engine = _engine(url, file, timeout_s)
    return Backend(
        name=f"SQLite in {file}",
        engine=engine,
        schema_engine=engine,
        read={BEGIN: _READ},
        write={BEGIN: _WRITE},
        change_schema={BEGIN: _SCHEMA},
        file=file,
    )


def _engine(url: URL, file: Path, timeout_s: float) -> AsyncEngine:
    # mode=rw: connecting never makes a file.
    url = url.set(database=f"file:{quote(str(file))}").update_query_dict({"mode": "rw", "uri": "true"})
    engine = make_engine(
        url,
        begin=_READ,
        connect_args={"timeout": timeout_s, "isolation_level": None},  # None: BEGIN is ours to say
        pool_size=_POOL_SIZE,
        max_overflow=0,
        pool_timeout=timeout_s,
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def _look_first(*_of_the_connection: object) -> None:
        # Where aiosqlite cannot open a file, it leaves a thread to itself, which may outlive the event loop
        # and fail then: a command would print its traceback.
        await_only(asyncio.to_thread(_require, file))

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _require(file: Path) -> None:
    """Raise OSError unless the file can be opened. To try would let go of this process's locks on it."""
    if not os.access(file, os.R_OK | os.W_OK):
        raise OSError(errno.ENOENT, "there is no such file, or none to read and write", str(file))


def create_private(file: Path) -> None:
    """Make the file, 0600 in a directory of 0700, unless it is there.

    Raises:
        ConfigurationError: it cannot be made, or others may use it.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigurationError(f"cannot make the database {file}: {error.strerror}") from error
    is_private(file)


def is_private(file: Path) -> bool:
    """True for a file of its owner alone, False where there is none.

    Raises:
        ConfigurationError: others may use it, or it cannot be looked at.
    """
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigurationError(f"cannot reach the database {file}: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"others than its owner may use the database {file}: chmod 600 it")
    return True
