"""The garbage collector of environments: stops those that nobody uses, and removes old containers.

Every minute one server looks at each environment that runs. Who has a lease of it uses it, and that is all
there is to say. Otherwise it has done something since the last look, or it was idle; the times of either are
added up in the database, so that they go on where another server looks the next time.

No clock is believed alone. Between two looks of one process its monotonic clock bounds what the database's
says, so a clock that is set ahead makes nothing idle for a day. A lease that has lapsed is given up only
after this process has seen it stand still for as long as it takes to lapse: its server may well be alive, and
the clock have jumped. What `rb keep` asked for is counted on the monotonic clock from the first look on. And
a stop is decided under the account's lock, when nothing else has to be waited for any more, in a transaction
of its own, which whoever comes in meets; see `rootblood.stores.sql.leases`.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.audit import SERVER
from rootblood.domain.environments import EnvironmentState, StopReason
from rootblood.domain.leases import Idleness, Known, Lease, LeaseKind
from rootblood.domain.rendering import span
from rootblood.engines.base import STOP_GRACE_S
from rootblood.errors import RootBloodError, StoreUnavailableError
from rootblood.services.accounts import Accounts
from rootblood.services.activity import Activity
from rootblood.services.environments import Environments
from rootblood.services.leases import STOP_BOUND_S
from rootblood.services.notices import Notices
from rootblood.settings import LeaseSettings, ReaperSettings
from rootblood.stores.base import IdlenessStore, LeaseStore

_log = structlog.stdlib.get_logger(__name__)

_TURN = "reaper"
_TURNS_MISSED = 3
"""So many looks another server waits before it takes over."""

_MAX_CONCURRENT = 4
"""Environments looked at at one time; each look takes a quarter of a second."""


class Verdict(StrEnum):
    """What becomes of an environment."""

    USED = "used"
    ACTIVE = "active"
    IDLE = "idle"
    STOPPED = "stopped"
    """In a dry run: it would be."""

    REMOVED = "removed"
    """Its container; in a dry run, it would be."""

    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at one environment gave."""

    name: str
    userhash: str
    verdict: Verdict
    why: str
    """In a few words, the account's own among them."""

    stops_in_s: float | None = None
    """None where that is not to be foreseen."""

    doubtful: bool = False
    """Whether it counts as used only because a lease that has lapsed has not stood still for long enough."""


class Reaper:
    """Looks, and acts on what it sees.

    Args:
        accounts: whose environments these are.
        environments: what is looked at.
        activity: tells what they do.
        notices: told of a stop ahead of it.
        leases: who uses them.
        store: what is remembered between looks.
        server: what this process is called.
        lease_settings: how long leases hold.
        settings: when what is stopped.
        monotonic: seconds that only ever grow; a test's own.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        environments: Environments,
        activity: Activity,
        notices: Notices,
        leases: LeaseStore,
        store: IdlenessStore,
        server: str,
        lease_settings: LeaseSettings,
        settings: ReaperSettings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = accounts
        self._environments = environments
        self._activity = activity
        self._notices = notices
        self._leases = leases
        self._store = store
        self._server = server
        self._ttl_s = lease_settings.ttl_s
        self._settings = settings
        self._monotonic = monotonic
        self._looked_at: dict[str, float] = {}
        """By userhash: the last look of this process, by its own clock."""

        self._standing: dict[str, tuple[datetime, float]] = {}
        """Leases that look as if they had lapsed, by ID: their end, and since when it has been that."""

        self._kept_until: dict[str, float] = {}
        """Keeps that were seen, by ID: when they end, by this process's own clock."""

    def apply(self, settings: ReaperSettings) -> None:
        """Go by these settings from the next look on."""
        self._settings = settings
        self._activity.apply(settings)

    async def watch(self, stop: asyncio.Event) -> None:
        """Look at intervals, whenever it is this server's turn, until `stop`."""
        while not stop.is_set():
            interval_s = self._settings.interval_s
            try:
                if await self._store.take_turn(_TURN, server=self._server, for_s=_TURNS_MISSED * interval_s):
                    await self.look()
                else:
                    self._looked_at.clear()
            except RootBloodError as error:  # the next time, then
                _log.warning("reaper_could_not_look", cause=str(error))
            except Exception:  # noqa: BLE001 - the edge
                # A server without its reaper would go on for months with nobody noticing.
                _log.exception("reaper_crashed")
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await stop.wait()

    async def look(self, *, dry_run: bool = False) -> list[Finding]:
        """Look at all environments once, and stop or remove what is due.

        Args:
            dry_run: change nothing, and remember nothing.

        Returns:
            What was found, by account.

        Raises:
            EngineUnavailableError, StoreUnavailableError: nobody can look.
        """
        accounts = {account.userhash: account for account in await self._accounts.list()}
        there = await self._environments.list()
        turns = asyncio.Semaphore(_MAX_CONCURRENT)
        findings: list[Finding] = []

        async def look_at(account: Account, state: EnvironmentState) -> None:
            async with turns:
                try:
                    found = await self._look_at(account, state, dry_run=dry_run)
                except RootBloodError as error:
                    _log.warning("environment_not_looked_at", userhash=account.userhash, cause=str(error))
                    found = _finding(account, Verdict.FAILED, str(error))
            if found is not None:
                findings.append(found)

        async with asyncio.TaskGroup() as looks:
            for environment in there:
                if environment.userhash in accounts:
                    looks.create_task(look_at(accounts[environment.userhash], environment.state))
        return sorted(findings, key=lambda found: found.name)

    async def _look_at(self, account: Account, state: EnvironmentState, *, dry_run: bool) -> Finding | None:
        if state not in {EnvironmentState.RUNNING, EnvironmentState.STOPPED}:
            return None  # paused by hand, or broken: others' business
        known = await self._store.known(account.userhash)
        over = [lease for lease in known.leases if self._is_over(lease, known)]
        uses = [lease for lease in known.leases if lease not in over]
        if over and not dry_run:
            await self._leases.close([lease.id for lease in over])
            for lease in over:
                self._standing.pop(lease.id, None)
                self._kept_until.pop(lease.id, None)
            known = await self._store.known(account.userhash)
        if uses:
            self._looked_at.pop(account.userhash, None)
            doubtful = not any(known.is_live(lease, self._ttl_s) for lease in uses)
            return _finding(account, Verdict.USED, _words(uses), doubtful=doubtful)
        if state is EnvironmentState.STOPPED:
            return await self._look_at_stopped(account, known, dry_run=dry_run)
        return await self._look_at_running(account, known, dry_run=dry_run)

    def _is_over(self, lease: Lease, known: Known) -> bool:
        """Whether nobody holds that lease any more."""
        if lease.kind is LeaseKind.KEEP:
            left_s = (lease.expires_at - known.now).total_seconds()
            return self._monotonic() >= self._kept_until.setdefault(lease.id, self._monotonic() + left_s)
        if known.is_live(lease, self._ttl_s):
            self._standing.pop(lease.id, None)
            return False
        end, since = self._standing.get(lease.id, (None, 0.0))
        if end != lease.expires_at:
            self._standing[lease.id] = (lease.expires_at, self._monotonic())
            return False
        return self._monotonic() - since >= self._ttl_s

    async def _look_at_running(self, account: Account, known: Known, *, dry_run: bool) -> Finding | None:
        usage = await self._environments.usage(account)
        if usage is None:
            return None  # stopped meanwhile
        before = known.idleness
        elapsed_s = self._elapsed_s(account, known)
        doing = await self._activity.since(account, before, usage, elapsed_s)
        now = Idleness(
            looked_at=known.now,
            idle_s=0.0 if doing else (before.idle_s if before is not None else 0.0) + elapsed_s,
            unattended_s=(before.unattended_s if before is not None else 0.0) + elapsed_s,
            cpu_ns=usage.cpu_ns,
            network_bytes=usage.network_bytes,
            doing=doing,
        )
        left_s = remaining_s(now, self._settings)
        finding = _finding(
            account,
            Verdict.ACTIVE if doing else Verdict.IDLE,
            doing or f"idle for {now.idle_s:.0f} s",
            stops_in_s=None if left_s is None else max(0.0, left_s),
        )
        due = left_s is not None and left_s <= 0
        if dry_run:
            return _finding(account, Verdict.STOPPED, finding.why) if due else finding
        looked_at = before.looked_at if before is not None else None
        if not await self._store.remember(account.userhash, now, before=looked_at):
            return _finding(account, Verdict.USED, "somebody came in a moment ago")
        self._looked_at[account.userhash] = self._monotonic()
        if due:
            return await self._stop(account, now, finding.why)
        if left_s is not None and left_s <= self._settings.warning_s:
            text = f"rootblood: nobody uses this environment; it will be stopped in {span(left_s)}"
            await self._notices.tell(account, text)
        return finding

    def _elapsed_s(self, account: Account, known: Known) -> float:
        """Since the last look, or the last use, as far as both clocks agree on it."""
        if known.idleness is None:
            return 0.0
        by_database_s = (known.now - known.idleness.looked_at).total_seconds()
        last = self._looked_at.get(account.userhash)
        own_s = by_database_s if last is None else self._monotonic() - last
        return max(0.0, min(by_database_s, own_s))

    async def _stop(self, account: Account, idleness: Idleness, why: str) -> Finding:
        log = _log.bind(userhash=account.userhash, why=why)
        decision = self._decision(account, idleness.looked_at)
        stopped = False
        try:
            stopped = await self._environments.stop(
                account, StopReason.IDLE, grace_s=STOP_GRACE_S, only_if=decision.make, by=SERVER
            )
        finally:
            await decision.end(done=stopped)
        if not decision.made:
            return _finding(account, Verdict.USED, "somebody came in a moment ago")
        log.info("idle_environment_stopped", it_ran=stopped)
        self._looked_at.pop(account.userhash, None)
        return _finding(account, Verdict.STOPPED, why)

    async def _look_at_stopped(self, account: Account, known: Known, *, dry_run: bool) -> Finding | None:
        after_s = self._settings.idle_remove_s
        age_s = await self._stopped_for_s(account, known)
        if not after_s or age_s is None or age_s < after_s:
            return None
        why = f"stopped for {age_s:.0f} s"
        if dry_run:
            return _finding(account, Verdict.REMOVED, why)
        decision = self._decision(account, known.idleness.looked_at if known.idleness is not None else None)

        async def is_due() -> bool:
            # Somebody may have started it, and left, between the list and the decision.
            return await decision.make() and await self._stopped_for_s(account, known) is not None

        removed = False
        try:
            removed = await self._environments.remove(account, only_if=is_due, by=SERVER)
        finally:
            await decision.end(done=removed)
        if not removed:
            return None
        _log.info("old_container_removed", userhash=account.userhash, why=why)
        return _finding(account, Verdict.REMOVED, why)

    async def _stopped_for_s(self, account: Account, known: Known) -> float | None:
        details = await self._environments.inspect(account)
        if (
            details is None
            or details.environment.state is not EnvironmentState.STOPPED
            or details.stopped_at is None
        ):
            return None
        return (known.now - details.stopped_at).total_seconds()

    def _decision(self, account: Account, looked_at: datetime | None) -> "_Decision":
        return _Decision(self._store, account.userhash, looked_at)


class _Decision:
    """To stop or to remove an environment: made once nobody else is at it, and then nobody comes in.

    Args:
        store: where whoever wants to come in sees it.
        userhash: whose environment.
        looked_at: when it was last seen, or used; whoever has used it since has the decision not be made.
    """

    def __init__(self, store: IdlenessStore, userhash: str, looked_at: datetime | None) -> None:
        self._store = store
        self._userhash = userhash
        self._looked_at = looked_at
        self.made = False

    async def make(self) -> bool:
        """Whether nobody has come in; raises `StoreUnavailableError`."""
        self.made = await self._store.begin_stop(
            self._userhash, looked_at=self._looked_at, for_s=STOP_BOUND_S
        )
        return self.made

    async def end(self, *, done: bool) -> None:
        """Let in whoever waits, where anybody has to."""
        if not self.made:
            return
        try:
            await self._store.end_stop(self._userhash, done=done)
        except StoreUnavailableError as error:  # it lapses
            _log.warning("stop_not_ended", userhash=self._userhash, cause=str(error))


def remaining_s(idleness: Idleness, settings: ReaperSettings) -> float | None:
    """How long until it is stopped, as it was at that look; None where nothing stops it."""
    bounds = []
    if settings.idle_stop_s and not idleness.doing:
        bounds.append(settings.idle_stop_s - idleness.idle_s)
    if settings.max_unattended_s:
        bounds.append(settings.max_unattended_s - idleness.unattended_s)
    return min(bounds, default=None)


def _words(uses: list[Lease]) -> str:
    return ", ".join(f"{lease.kind} {lease.detail}".rstrip() for lease in uses[:5])


def _finding(
    account: Account,
    verdict: Verdict,
    why: str,
    *,
    stops_in_s: float | None = None,
    doubtful: bool = False,
) -> Finding:
    return Finding(account.name, account.userhash, verdict, why, stops_in_s, doubtful)
