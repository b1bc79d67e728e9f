"""The connection to the database, and the seam where SQLAlchemy's errors become RootBlood's.

Stores get a session from `read()` or `write()`. Each is one transaction: committed at the end of its block,
rolled back when an error leaves it. A reading one sees one state of the database throughout; of those that
write there is one at a time, on either kind of database (see `sqlite.py` and `postgresql.py`), so that what a
store has read in it still holds when it writes.

A transaction is never cancelled in the middle. SQLite's driver runs each statement in a thread; who stops
waiting for a BEGIN does not stop it, and would leave a connection behind that holds the write lock. Anybody
can have a login cancelled by hanging up, so whatever uses a session is `uninterrupted`.

Only `create()` makes the file of an SQLite database, so that a command run in the wrong directory leaves no
empty database behind.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from rootblood.errors import ConfigurationError, ConflictError, InvalidInputError, StoreUnavailableError
from rootblood.settings import Settings
from rootblood.stores.sql.engines import Backend
from rootblood.stores.sql.postgresql import postgresql_backend
from rootblood.stores.sql.sqlite import create_private, is_private, sqlite_backend

FILE_NAME = "rootblood.db"
"""Of the database in `state_dir`, where the settings name no other."""

_DATA_EXCEPTION = "22"
"""Class of PostgreSQL's error codes: a value that no column takes, such as a text with a NUL in it."""

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
        self.url = _url(settings)
        self._backend = _backend(self.url, self._timeout_s)
        self.name = self._backend.name
        """Which database this is, for people; no secret is in it."""
        self.file: Path | None = self._backend.file
        """The database file, where the database is one."""
        engine = self._backend.engine
        self._reading = engine.execution_options(**self._backend.read)
        self._writing = engine.execution_options(**self._backend.write)
        # The database takes one writer at a time and makes the others wait or poll; the writers of this
        # process queue here instead, in order, without holding connections that readers need.
        self._writer = asyncio.Lock()

    async def close(self) -> None:
        """Close all connections."""
        await self._backend.engine.dispose()

    async def exists(self) -> bool:
        """Whether there is a database to connect to; a server counts as one, whether it answers or not.

        Raises:
            ConfigurationError: others than its owner may use the database file.
        """
        return self.file is None or await asyncio.to_thread(is_private, self.file)

    async def create(self) -> None:
        """Make the database file, 0600 in a directory of 0700, where the database is a file and has none."""
        if self.file is not None:
            await asyncio.to_thread(create_private, self.file)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session of one transaction that only reads, and sees one state of the database throughout."""
        async with self._session(self._reading) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session of one transaction that may write; no other one writes meanwhile."""
        async with self._turn_to_write(), self._session(self._writing) as session:
            yield session

    @asynccontextmanager
    async def change_schema(self) -> AsyncIterator[AsyncConnection]:
        """A connection for migrations, in one transaction that waits for other writers and holds them off.

        On SQLite foreign keys are off.
        """
        engine = self._backend.schema_engine
        try:
            changing = engine.execution_options(**self._backend.change_schema)
            async with self._turn_to_write():
                with translated():
                    async with changing.begin() as connection:
                        yield connection
        finally:
            await engine.dispose()  # nobody gets that connection again

    @asynccontextmanager
    async def _turn_to_write(self) -> AsyncIterator[None]:
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
    async def _session(self, engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
        with translated():
            async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
                yield session


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of SQLAlchemy and of the driver below it into RootBlood's."""
    try:
        yield
    except IntegrityError as error:
        raise ConflictError("something of that name is there already") from error
    except DBAPIError as error:
        if str(getattr(error.orig, "sqlstate", None) or "").startswith(_DATA_EXCEPTION):
            raise InvalidInputError("that cannot be kept: it is too long, or has a NUL in it") from error
        raise StoreUnavailableError("the database does not answer") from error
    except (PoolTimeoutError, OSError) as error:  # OSError: of a connection that broke, or took too long
        raise StoreUnavailableError("the database does not answer") from error


def _url(settings: Settings) -> URL:
    if settings.database.url is None:
        # Built from its parts: a path may hold characters that mean something in a URL.
        return URL.create("sqlite+aiosqlite", database=str(settings.state_dir.absolute() / FILE_NAME))
    try:
        return make_url(settings.database.url.get_secret_value())
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise ConfigurationError("database.url is not a URL of SQLAlchemy's form") from error


def _backend(url: URL, timeout_s: float) -> Backend:
    match url.get_backend_name():
        case "sqlite":
            return sqlite_backend(url, timeout_s)
        case "postgresql":
            return postgresql_backend(url, timeout_s)
        case other:
            raise ConfigurationError(f"database.url asks for {other}: there is no async driver for it here")
