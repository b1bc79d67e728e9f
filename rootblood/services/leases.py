"""Leases on environments: held for as long as a use lasts, renewed in one go, and lapsing with the server.

Whoever opens the environment to somebody holds one, and without one nobody is let in. Once somebody is in, a
database that is away throws nobody out: renewing is tried again, and a lease that was given up meanwhile is
made anew. A use that ended while the database was away is noticed at the next renewal, as a row that nobody
here holds.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.leases import LeaseKind, NewLease, kept_detail
from rootblood.domain.logins import new_id
from rootblood.errors import RootBloodError
from rootblood.settings import LeaseSettings
from rootblood.stores.base import IdlenessStore, LeaseStore

_log = structlog.stdlib.get_logger(__name__)

STOP_BOUND_S = 60.0
"""For how long a stop that was decided keeps others waiting at most; most take a second."""

_POLL_S = 0.1

Hold = Callable[[Account, LeaseKind, str], AbstractAsyncContextManager[None]]
"""Says that an environment is in use for the length of a block; see `Leases.hold`."""


@asynccontextmanager
async def unheld(account: Account, kind: LeaseKind, detail: str = "") -> AsyncIterator[None]:
    """Hold nothing: for environments that nobody stops by themselves."""
    del account, kind, detail
    yield


IfUnused = Callable[[Account], AbstractAsyncContextManager[bool]]
"""Says whether an environment may be stopped in a block; see `Leases.if_unused`."""


@asynccontextmanager
async def always_unused(account: Account) -> AsyncIterator[bool]:
    """Know of no use: for environments that one process alone lets anybody into."""
    del account
    yield True


class Leases:
    """The leases of this process.

    Args:
        store: where they are kept.
        idleness: where it is decided that nobody may come in for a moment.
        settings: for how long they hold.
        server: what this process is called in the database, as in `rootblood.stores.servers`.
        stop_bound_s: how long to wait for an environment that is being stopped.
        poll_s: how often to ask whether it is.
    """

    def __init__(
        self,
        store: LeaseStore,
        idleness: IdlenessStore,
        settings: LeaseSettings,
        *,
        server: str,
        stop_bound_s: float = STOP_BOUND_S,
        poll_s: float = _POLL_S,
    ) -> None:
        self._store = store
        self._idleness = idleness
        self._settings = settings
        self._stop_bound_s = stop_bound_s
        self._poll_s = poll_s
        self.server = server
        self._held: dict[str, NewLease] = {}
        self._opening: set[str] = set()
        self._heart: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def hold(self, account: Account, kind: LeaseKind, detail: str = "") -> AsyncIterator[None]:
        """Use the account's environment for the length of a block: it is not stopped as idle meanwhile.

        One that is just being stopped is waited for, to be started again by whoever uses it.

        Args:
            account: whose environment.
            kind: what for.
            detail: from where, or what exactly, in a few words; cut where it is long.

        Raises:
            StoreUnavailableError: nobody would know of the use, so it must not begin.
            NotFoundError: there is no such account any more.
        """
        lease = NewLease(new_id(), account.userhash, kind, kept_detail(detail))
        self._opening.add(lease.id)
        try:
            await self._open(lease)
            self._held[lease.id] = lease
        except asyncio.CancelledError:
            await self._close(lease)  # it may have been made
            raise
        finally:
            self._opening.discard(lease.id)
        if self._heart is None:
            self._heart = asyncio.get_running_loop().create_task(self._beat())
        try:
            yield
        finally:
            del self._held[lease.id]
            await self._close(lease)

    @asynccontextmanager
    async def if_unused(self, account: Account) -> AsyncIterator[bool]:
        """Whether nobody uses the account's environment, at this server or another.

        Where nobody does, whoever wants to waits for the end of the block.

        Raises:
            StoreUnavailableError: nobody can tell.
            NotFoundError: there is no such account any more.
        """
        idleness = (await self._store.known(account.userhash)).idleness
        unused = await self._idleness.begin_stop(
            account.userhash,
            looked_at=idleness.looked_at if idleness is not None else None,
            for_s=self._stop_bound_s,
        )
        try:
            yield unused
        finally:
            if unused:
                await self._idleness.end_stop(account.userhash, done=True)

    async def renew(self) -> None:
        """Say that all that is held still is. Raises `StoreUnavailableError`."""
        strays = await self._store.renew(
            list(self._held.values()), server=self.server, ttl_s=self._settings.ttl_s
        )
        ended = [found for found in strays if found not in self._held and found not in self._opening]
        if ended:
            await self._store.close(ended)

    async def close(self) -> None:
        """Renew nothing any more; what is held still is given up by its holders."""
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait([self._heart])

    async def _open(self, lease: NewLease) -> None:
        deadline = time.monotonic() + self._stop_bound_s
        while not await self._store.open(  # noqa: ASYNC110 - what is waited for is another process
            lease,
            server=self.server,
            ttl_s=self._settings.ttl_s,
            # A clock that was set back must not lock anybody out of an environment.
            even_if_stopping=time.monotonic() > deadline,
        ):
            await asyncio.sleep(self._poll_s)

    async def _close(self, lease: NewLease) -> None:
        try:
            await self._store.close([lease.id])
        except RootBloodError as error:  # the next heartbeat does it, or it lapses
            _log.warning("lease_not_closed", userhash=lease.userhash, cause=str(error))

    async def _beat(self) -> None:
        with suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(self._settings.heartbeat_s)
                try:
                    await self.renew()
                except RootBloodError as error:
                    _log.warning("leases_not_renewed", held=len(self._held), cause=str(error))
                except Exception:  # noqa: BLE001 - the edge
                    # Without renewals everybody here would seem to have left.
                    _log.exception("heartbeat_crashed")
