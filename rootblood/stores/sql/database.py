"""The connection to the database, and the seam where SQLAlchemy's errors become RootBlood's.

Stores get a session from `read()` or `write()`. Each is one transaction: committed at the end of its block,
rolled back when an error leaves it. On SQLite the two differ: a write says so at once (BEGIN IMMEDIATE), as a
transaction that starts by reading and then wants to write fails when another process wrote in between,
however long it would have waited.

A transaction is never cancelled in the middle. SQLite's driver runs each statement in a thread; who stops
waiting for a BEGIN does not stop it, and would leave a connection behind that holds the write lock. Anybody
can have a login cancelled by hanging up, so whatever uses a session is `uninterrupted`.

On SQLite the database is one file, 0600, in WAL mode: readers never wait for the writer. Only `create()`
makes the file, so that a command run in the wrong directory leaves no empty database behind.
"""

import asyncio
import functools
import os
import stat
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from rootblood.errors import ConfigurationError, ConflictError, StoreUnavailableError
from rootblood.settings import Settings

FILE_NAME = "rootblood.db"
"""Of the database in `state_dir`, where the settings name no other."""

_BEGIN = "rootblood_begin"
"""Execution option: the statements that open a transaction on SQLite."""

_SQLITE_READ = ("BEGIN",)
_SQLITE_WRITE = ("BEGIN IMMEDIATE",)
_SQLITE_SCHEMA = ("PRAGMA foreign_keys=OFF", "BEGIN IMMEDIATE")

_SQLITE_POOL_SIZE = 4
"""Each connection is a thread; a query takes well under a millisecond."""

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def uninterrupted(
    function: Callable[_Parameters, Coroutine[Any, Any, _Result]],
) -> Callable[_Parameters, Coroutine[Any, Any, _Result]]:
    """Make an async function one that a cancelled caller leaves only once it is over.

    A transaction takes milliseconds, and on a locked database no longer than the settings let it wait.
    """

    @functools.wraps(function)
    async def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        task = asyncio.create_task(function(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # nobody is left to be told
            raise

    return run


class Database:
    """A pool of connections to the database of this installation. Opens nothing until it is used."""

    def __init__(self, settings: Settings) -> None:
        """Take the URL and the waiting time from the settings.

        Raises:
            ConfigurationError: the URL is none, or names a database that RootBlood cannot use.
        """
        self._timeout_s = settings.database.busy_timeout_s
        url = _url(settings)
        self.file: Path | None = None
        """The database file, where the database is one."""
        if url.get_backend_name() == "sqlite":
            self.file = _sqlite_file(url)
            self._engine = _sqlite_engine(url, self.file, self._timeout_s)
        else:
            self._engine = _engine(url, pool_pre_ping=True, pool_timeout=self._timeout_s)
        # SQLite takes one writer at a time and makes the others poll; the writers of this process queue here
        # instead, in order, without holding connections that readers need.
        self._writer = asyncio.Lock() if self.file else None

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def exists(self) -> bool:
        """Whether there is a database to connect to; a server counts as one, whether it answers or not.

        Raises:
            ConfigurationError: others than its owner may use the database file.
        """
        return self.file is None or await asyncio.to_thread(_is_private, self.file)

    async def create(self) -> None:
        """Make the database file, 0600 in a directory of 0700, where the database is a file and has none."""
        if self.file is not None:
            await asyncio.to_thread(_create_private, self.file)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session of one transaction that only reads, and sees one state of the database throughout."""
        async with self._session(_SQLITE_READ) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session of one transaction that may write; on SQLite no other one writes meanwhile."""
        async with self._writing(), self._session(_SQLITE_WRITE) as session:
            yield session

    @asynccontextmanager
    async def change_schema(self) -> AsyncIterator[AsyncConnection]:
        """A connection for migrations, in one transaction that waits for other writers and holds them off.

        SQLite changes many things about a table only by making it anew, and to drop the old one would
        delete the rows that refer to it, so foreign keys are off.
        """
        try:
            engine = self._engine.execution_options(**{_BEGIN: _SQLITE_SCHEMA})
            async with self._writing():
                with _translated():
                    async with engine.begin() as connection:
                        yield connection
        finally:
            await self._engine.dispose()  # nobody gets that connection again

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        if self._writer is None:
            yield
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._writer.acquire()
        except TimeoutError as error:
            raise StoreUnavailableError("the database is too busy to write to") from error
        try:
            yield
        finally:
            self._writer.release()

    @asynccontextmanager
    async def _session(self, begin: tuple[str, ...]) -> AsyncIterator[AsyncSession]:
        engine = self._engine.execution_options(**{_BEGIN: begin})
        with _translated():
            async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
                yield session


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the errors of SQLAlchemy and of the driver below it into RootBlood's."""
    try:
        yield
    except IntegrityError as error:
        raise ConflictError("something of that name is there already") from error
    except (DBAPIError, PoolTimeoutError) as error:
        raise StoreUnavailableError("the database does not answer") from error


def _url(settings: Settings) -> URL:
    if settings.database.url is None:
        # Built from its parts: a path may hold characters that mean something in a URL.
        return URL.create("sqlite+aiosqlite", database=str(settings.state_dir.absolute() / FILE_NAME))
    try:
        return make_url(settings.database.url)
    except ArgumentError as error:
        raise ConfigurationError("database.url is not a URL of SQLAlchemy's form") from error


def _engine(url: URL, **options: Any) -> AsyncEngine:
    try:
        return create_async_engine(url, **options)
    except (ArgumentError, InvalidRequestError, ImportError) as error:
        raise ConfigurationError(
            f"database.url asks for {url.drivername}, which is no async driver installed here"
        ) from error


def _sqlite_file(url: URL) -> Path:
    if not url.database or url.database.startswith((":", "file:")):
        raise ConfigurationError("database.url must name a file, as several processes use it")
    return Path(url.database)


def _sqlite_engine(url: URL, file: Path, timeout_s: float) -> AsyncEngine:
    # mode=rw: connecting never makes a file.
    url = url.set(database=f"file:{quote(str(file))}").update_query_dict({"mode": "rw", "uri": "true"})
    engine = _engine(
        url,
        connect_args={"timeout": timeout_s, "isolation_level": None},  # None: BEGIN is ours to say
        pool_size=_SQLITE_POOL_SIZE,
        max_overflow=0,
        pool_timeout=timeout_s,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        for statement in connection.get_execution_options().get(_BEGIN, _SQLITE_READ):
            connection.exec_driver_sql(statement)

    return engine


def _create_private(file: Path) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigurationError(f"cannot make the database {file}: {error.strerror}") from error
    _is_private(file)


def _is_private(file: Path) -> bool:
    """True for a file of its owner alone, False where there is none."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigurationError(f"cannot reach the database {file}: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"others than its owner may use the database {file}: chmod 600 it")
    return True
