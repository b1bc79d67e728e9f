"""What the two kinds of database share in how they are connected to.

`sqlite.py` and `postgresql.py` each make one of these; `database.py` uses it, and knows neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from rootblood.errors import ConfigurationError

BEGIN = "rootblood_begin"
"""Execution option: the statements that open a transaction."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A pool of connections, and the execution options of each kind of transaction."""

    name: str
    """Which database it is, without user and password, for people."""

    engine: AsyncEngine
    schema_engine: AsyncEngine
    """For changes of the schema, which may take long."""

    read: Mapping[str, Any]
    write: Mapping[str, Any]
    change_schema: Mapping[str, Any]

    file: Path | None = None
    """The database, where it is a file."""


def make_engine(url: URL, *, begin: Sequence[str] = (), **options: Any) -> AsyncEngine:
    """An engine that opens a transaction by the statements of the option `BEGIN`, or else by `begin`.

    Raises:
        ConfigurationError: there is no such driver.
    """
    try:
        # Parameters are password hashes and the like: no error is to show them.
        engine = create_async_engine(url, hide_parameters=True, **options)
    except (ArgumentError, InvalidRequestError, ImportError) as error:
        raise ConfigurationError(
            f"database.url asks for {url.drivername}, which is no async driver installed here"
        ) from error

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        for statement in connection.get_execution_options().get(BEGIN, begin):
            connection.exec_driver_sql(statement)

    return engine
