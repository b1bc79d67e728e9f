"""Reconciliation: the engine and the database compared, and each difference healed, removed or reported.

It is done once at the start of each server, as what a killed one left is on the machine it was killed on, and
then at intervals by one server at a time. What is found is judged in `rootblood.domain.reconciliation`; here
it is looked for, and the plan carried out. A container is removed under its account's lock, after another
look, so that one that is being made is waited for and not torn down. No home is ever deleted.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from rootblood.domain.accounts import AccountState
from rootblood.domain.audit import OPERATOR, SERVER, Action, Actor
from rootblood.domain.reconciliation import (
    Difference,
    DifferenceKind,
    Holding,
    HoldingKind,
    Remedy,
    Seen,
    differences,
    strays,
)
from rootblood.engines.base import Engine
from rootblood.errors import RootBloodError
from rootblood.services.accounts import Accounts
from rootblood.services.audit import Record
from rootblood.services.environments import Environments
from rootblood.services.strays import Strays
from rootblood.settings import ReconcileSettings
from rootblood.stores.base import AccountLocks, IdlenessStore, LeaseStore
from rootblood.stores.servers import Servers

_log = structlog.stdlib.get_logger(__name__)

_TURN = "reconcile"
_TURNS_MISSED = 3
"""So many intervals another server waits before it takes over."""

_RETRY_S = 10.0
"""After the engine or the database did not answer, or something was not mended."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a difference."""

    difference: Difference
    error: str | None = None
    """Why it is there still, where it should not be."""


class Reconciler:
    """Compares, and mends.

    Args:
        engine: one side.
        accounts: the other.
        environments: publish names, and what environments share.
        strays: found and ended in environments.
        leases: of servers, dead ones too.
        turns: where servers agree on whose turn it is.
        servers: tell who lives.
        locks: on accounts.
        record: keeps the trails.
        settings: how often.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        accounts: Accounts,
        environments: Environments,
        strays: Strays,
        leases: LeaseStore,
        turns: IdlenessStore,
        servers: Servers,
        locks: AccountLocks,
        record: Record,
        settings: ReconcileSettings,
    ) -> None:
        self._engine = engine
        self._accounts = accounts
        self._environments = environments
        self._strays = strays
        self._leases = leases
        self._turns = turns
        self._servers = servers
        self._locks = locks
        self._record = record
        self._settings = settings

    def apply(self, settings: ReconcileSettings, *, grace_s: float) -> None:
        """Go by these from now on; `grace_s` as that of `Strays`."""
        self._settings = settings
        self._strays.apply(grace_s)

    async def watch(self, stop: asyncio.Event) -> None:
        """Reconcile now, and at intervals whenever it is this server's turn, until `stop`."""
        begun = False
        while not stop.is_set():
            interval_s = pause_s = self._settings.interval_s
            try:
                mine = await self._turns.take_turn(
                    _TURN, server=self._servers.own, for_s=_TURNS_MISSED * interval_s
                )
                if mine or not begun:
                    for outcome in await self.reconcile(by=SERVER):
                        _tell(outcome)
                        if outcome.error is not None:
                            pause_s = min(_RETRY_S, interval_s)
                    begun = True
            except RootBloodError as error:
                _log.warning("not_reconciled", cause=str(error))
                pause_s = min(_RETRY_S, interval_s)
            except Exception:  # noqa: BLE001 - the edge
                # A server that never clears away again would go unnoticed for long.
                _log.exception("reconciler_crashed")
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await stop.wait()

    async def plan(self) -> list[Difference]:
        """What there is to do, and to report. Changes nothing.

        Raises:
            EngineUnavailableError, StoreUnavailableError: nobody can tell.
        """
        return differences(await self._look()) + strays(await self._strays.find(await self._accounts.list()))

    async def reconcile(self, *, by: Actor = OPERATOR) -> list[Outcome]:
        """Do what there is to do. What fails is told, and is tried again the next time. Raises as `plan`."""
        outcomes = await self._mend_all(differences(await self._look()), by)
        # Last: an environment that hangs lets itself be waited for.
        found = await self._strays.find(await self._accounts.list())
        return outcomes + await self._mend_all(strays(found), by)

    async def _mend_all(self, plan: Sequence[Difference], by: Actor) -> list[Outcome]:
        outcomes: list[Outcome] = []
        unfinished: set[str | None] = set()
        for difference in plan:
            if difference.kind is DifferenceKind.PROCESS_KILLED and difference.server in unfinished:
                continue  # or nobody would know next time whose the rest is
            try:
                if difference.remedy is not Remedy.REPORT:
                    await self._mend(difference, by)
            except RootBloodError as error:
                unfinished.add(difference.server)
                outcomes.append(Outcome(difference, str(error)))
            else:
                outcomes.append(Outcome(difference))
        return outcomes

    async def _look(self) -> Seen:
        # In this order: a holding is younger than its account, and than its server's mark.
        holdings = await self._engine.holdings()
        volumes = await self._engine.volumes()
        lacks = await self._engine.lacks()
        leases = await self._leases.by_server()
        accounts = await self._accounts.list(include_deleted=True)
        return Seen(
            now=datetime.now(UTC),
            holdings=holdings,
            homes=[volume.userhash for volume in volumes if volume.userhash is not None],
            lacks=lacks,
            leases=leases,
            accounts=accounts,
            living=await asyncio.to_thread(self._servers.living),
            dead=await asyncio.to_thread(self._servers.dead),
        )

    async def _discard(self, holding: Holding, difference: Difference) -> bool:
        """Whether it was there, and still one too many."""
        if holding.kind is not HoldingKind.CONTAINER:
            return await self._engine.discard(holding)
        async with self._locks.hold(holding.userhash or holding.id):
            return difference in differences(await self._look()) and await self._engine.discard(holding)

    async def _mend(self, difference: Difference, by: Actor) -> None:
        account, holding = difference.account, difference.holding
        done = True
        match difference.kind:
            case DifferenceKind.SHARED_MISSING:
                await self._environments.shared.publish(await self._accounts.list(include_deleted=True))
            case DifferenceKind.NAME_NOT_PUBLISHED if account is not None:
                await self._environments.shared.publish([account])
            case DifferenceKind.COMMANDS_LEFT if account is not None:
                await self._strays.end(account)
            case DifferenceKind.LEASES_LEFT:
                await self._leases.close(difference.leases)
            case DifferenceKind.PROCESS_KILLED if difference.server is not None:
                await asyncio.to_thread(self._servers.forget, difference.server)
            case _ if holding is not None:
                done = await self._discard(holding, difference)
        if done and account is not None and account.state is not AccountState.DELETED:
            self._record(account, Action.RECONCILED, by, f"{difference.kind}: {difference.detail}")


def _tell(outcome: Outcome) -> None:
    found = outcome.difference
    log = _log.bind(kind=found.kind.value, subject=found.subject, remedy=found.remedy.value)
    if outcome.error is None:
        log.info("difference", detail=found.detail)
    else:
        log.warning("difference_not_mended", cause=outcome.error)
