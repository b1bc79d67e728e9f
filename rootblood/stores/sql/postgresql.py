"""PostgreSQL, through asyncpg: several servers, on several machines, may share it.

The stores read what there is, decide, and write, as on SQLite, and SQLite lets one transaction write at a
time. PostgreSQL does so when asked to: every writing transaction begins by taking one advisory lock, which
ends with it, so that no two of them interleave whichever server they come from, and none can fail for what
another did. It is READ COMMITTED, as its statements have to see what was committed while it waited. A reading
one is REPEATABLE READ, READ ONLY: it sees one state, waits for nobody and nobody for it. The price is that
the writes of all servers queue; they are short, and a handful a login.

Nothing waits for ever: connecting, a statement, the lock and an idle transaction all have their limits. The
last is what frees the lock from a server that was frozen in the middle of a write.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import NullPool

from rootblood.errors import ConfigurationError, StoreUnavailableError
from rootblood.stores.sql.engines import BEGIN, Backend, make_engine

DRIVER = "postgresql+asyncpg"

WRITE_LOCK = (0x526F6F74, 0x426C6F6F)
"""Of all that write; two numbers, as the locks on accounts are of one, and the two kinds never meet."""

_WRITE = ("SELECT pg_advisory_xact_lock({}, {})".format(*WRITE_LOCK),)

_POOL_SIZE = 8
"""Each connection is a process of PostgreSQL's, which takes 100 by default from all servers together."""

_OUT_OF_REACH_S = 60
"""A server that vanished, and its connection with it, is given up on after about this by PostgreSQL."""


def postgresql_backend(url: URL, timeout_s: float) -> Backend:
    """What connects to the server and database that the URL names.

    Args:
        url: of SQLAlchemy's form.
        timeout_s: how long a statement waits for another process's write, and connecting for the server.

    Raises:
        ConfigurationError: the URL is for another driver.
    """
    if url.drivername != DRIVER:
        raise ConfigurationError(f"database.url of PostgreSQL begins with {DRIVER}://")
    return Backend(
        name=f"PostgreSQL database {url.database or url.username} on {_host(url)}",
        engine=postgresql_engine(
            url, timeout_s, pool_size=_POOL_SIZE, max_overflow=0, pool_timeout=timeout_s
        ),
        schema_engine=postgresql_engine(url, timeout_s, patient=True, poolclass=NullPool),
        read={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
        write={BEGIN: _WRITE},
        change_schema={BEGIN: _WRITE},
    )


def postgresql_engine(url: URL, timeout_s: float, *, patient: bool = False, **options: Any) -> AsyncEngine:
    """An engine of its own.

    Args:
        url: where PostgreSQL is.
        timeout_s: as in `postgresql_backend`.
        patient: whether a statement, or the time between two, may take as long as it likes.
        options: of `make_engine`.
    """
    lock_ms = int(timeout_s * 1000)
    limits = {
        "lock_timeout": lock_ms,
        "statement_timeout": 0 if patient else 2 * lock_ms,
        "idle_in_transaction_session_timeout": 0 if patient else 4 * lock_ms,
        "tcp_keepalives_idle": _OUT_OF_REACH_S // 2,
        "tcp_keepalives_interval": _OUT_OF_REACH_S // 6,
        "tcp_keepalives_count": 3,
    }
    engine = make_engine(
        url,
        connect_args={
            "timeout": timeout_s,
            # For a PostgreSQL that does not even say that the time is over.
            "command_timeout": None if patient else 3 * timeout_s,
            "server_settings": {
                "application_name": "rootblood",
                **{name: str(value) for name, value in limits.items()},
            },
        },
        pool_pre_ping=True,  # PostgreSQL may have been restarted since
        **options,
    )

    @event.listens_for(engine.sync_engine, "do_connect")
    def _connect(dialect: Any, _record: object, args: list[Any], options: dict[str, Any]) -> Any:
        with _connecting():
            return dialect.connect(*args, **options)

    return engine


@contextmanager
def _connecting() -> Iterator[None]:
    """Translate what asyncpg raises before there is a connection, which SQLAlchemy passes on as it is."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise StoreUnavailableError("the database does not answer") from error
    except (TypeError, ValueError) as error:
        raise ConfigurationError("database.url has an option that asyncpg does not take") from error


def _host(url: URL) -> str:
    host = url.host or url.query.get("host") or "the default host"
    host = ",".join(host) if isinstance(host, tuple) else host
    return f"{host}:{url.port}" if url.port is not None else host
