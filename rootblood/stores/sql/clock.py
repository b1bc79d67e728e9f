"""The database's own clock, which all servers of an installation agree on."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

Clock = Callable[[AsyncSession], Awaitable[datetime]]
"""Tells the time in a transaction. Ask it once what has to be locked is locked."""

_SQLITE_NOW = text("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')")


async def database_now(session: AsyncSession) -> datetime:
    """The time by the database, to the millisecond at least.

    On PostgreSQL not `now()`, which is when the transaction began: it may have waited for a lock since.
    """
    if session.get_bind().dialect.name == "sqlite":
        said: str = (await session.execute(_SQLITE_NOW)).scalar_one()
        return datetime.fromisoformat(said).replace(tzinfo=UTC)
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return now.astimezone(UTC)
