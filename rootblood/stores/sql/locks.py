"""Locks on accounts, by PostgreSQL, for servers that share its database.

They are advisory locks of one session: a connection outside the pool, opened at the first need, that holds
as many locks as there are environments being made, and does nothing else. PostgreSQL releases them when the
session ends, so a server that dies leaves none behind. Should the session break while locks are held, they
are gone with it; the engine, which takes one container of a name, then is what is left between two servers.
"""

import asyncio
from contextlib import suppress

import structlog
from sqlalchemy import Executable, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool
from typing_extensions import override

from rootblood.errors import StoreUnavailableError
from rootblood.settings import DatabaseSettings
from rootblood.stores.locks import PATIENCE_S, SharedLocks
from rootblood.stores.sql.database import Database, translated, uninterrupted
from rootblood.stores.sql.postgresql import postgresql_engine

_log = structlog.stdlib.get_logger(__name__)

_TRY = text("SELECT pg_try_advisory_lock(:key)")
_UNLOCK = text("SELECT pg_advisory_unlock(:key)")


class PostgresqlAccountLocks(SharedLocks):
    """One advisory lock an account.

    Args:
        database: where PostgreSQL is.
        settings: how long it is waited for.
        patience_s: how long another server is waited for.
    """

    def __init__(
        self, database: Database, settings: DatabaseSettings, patience_s: float = PATIENCE_S
    ) -> None:
        super().__init__(patience_s)
        self._engine = postgresql_engine(
            database.url, settings.busy_timeout_s, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        self._connection: AsyncConnection | None = None
        self._speaking = asyncio.Lock()  # one statement at a time
        self._held: set[str] = set()

    @override
    async def close(self) -> None:
        """End the session, and with it whatever is held."""
        await self._end_session()

    @override
    @uninterrupted
    async def _try_lock(self, userhash: str) -> bool:
        async with self._speaking:
            try:
                taken = await self._ask(_TRY.bindparams(key=_key(userhash)))
            except StoreUnavailableError:
                await self._end_session()
                # PostgreSQL may have been restarted since; what was held then is lost in any case.
                taken = await self._ask(_TRY.bindparams(key=_key(userhash)))
        if taken:
            self._held.add(userhash)
        return taken

    @override
    @uninterrupted
    async def _unlock(self, userhash: str) -> None:
        if userhash not in self._held:
            return
        self._held.discard(userhash)
        async with self._speaking:
            try:
                if not await self._ask(_UNLOCK.bindparams(key=_key(userhash))):
                    _log.warning("account_lock_was_lost", userhash=userhash)
            except StoreUnavailableError as error:
                _log.warning("account_lock_was_lost", userhash=userhash, cause=str(error.__cause__))
                await self._end_session()

    async def _ask(self, statement: Executable) -> bool:
        with translated():
            if self._connection is None:
                self._connection = await self._engine.connect()
            return bool(await self._connection.scalar(statement))

    async def _end_session(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(StoreUnavailableError), translated():
                await connection.invalidate()
                await connection.close()


def _key(userhash: str) -> int:
    """Half of it, as a signed number of 64 bits."""
    return int.from_bytes(bytes.fromhex(userhash)[:8], "big", signed=True)
