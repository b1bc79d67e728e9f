"""From an account to a link into its running environment: what both doors do after authentication.

The way there heals as it goes: what all environments share is installed at the first need, an account's name
is published before its environment is made, the environment is found, made, started or resumed, and a link
that died is replaced. Nothing here knows Docker. What is there before any environment is in `shared`, the
links are in `environment_links`, and what is run inside for the front door's own ends is in `programs`.

What makes or ends an environment holds the account's lock meanwhile, so that several servers are never at it
at once. One that runs already is entered without it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.audit import OPERATOR, Action, Actor, Door
from rootblood.domain.environments import (
    EnsureStep,
    Environment,
    EnvironmentDetails,
    EnvironmentState,
    Identity,
    Process,
    RestartReason,
    StopReason,
    Usage,
)
from rootblood.domain.images import short_id
from rootblood.domain.leases import LeaseKind
from rootblood.engines.base import STOP_GRACE_S, Engine
from rootblood.errors import ImageMissingError, NotFoundError, StoreUnavailableError
from rootblood.link.keys import LinkKeys
from rootblood.link.link import Link
from rootblood.link.pool import StepListener
from rootblood.services.audit import Record, unrecorded
from rootblood.services.crashes import CrashLoops
from rootblood.services.ends import Ends
from rootblood.services.environment_links import EnvironmentLinks
from rootblood.services.leases import Hold, IfUnused, always_unused, unheld
from rootblood.services.metrics import UNMEASURED, Metrics
from rootblood.services.programs import Programs
from rootblood.services.shared import Shared
from rootblood.services.visits import Visits
from rootblood.settings import CrashLoopSettings, LinkSettings
from rootblood.stores.base import AccountLocks, AccountStore
from rootblood.stores.locks import ProcessLocks

_log = structlog.stdlib.get_logger(__name__)

RESTART_GRACE_S = 3.0
"""What programs have to end in order at a restart: who asks for one does not want to wait for them."""

Condition = Callable[[], Awaitable[bool]]


async def always() -> bool:
    """Set no condition."""
    return True


@dataclass(slots=True)
class _Lending:
    """An environment that runs for as long as somebody borrows it."""

    borrowers: int = 0
    started: bool = False
    """Whether it did not run before the first of them."""


class Environments:
    """Environments of accounts, and the way into them. `by` is who asks, for the account's trail."""

    def __init__(
        self,
        *,
        engine: Engine,
        store: AccountStore,
        visits: Visits,
        keys: LinkKeys,
        settings: LinkSettings,
        metrics: Metrics = UNMEASURED,
        record: Record = unrecorded,
        hold: Hold = unheld,
        if_unused: IfUnused = always_unused,
        locks: AccountLocks | None = None,
        crash_loop: CrashLoopSettings | None = None,
    ) -> None:
        """Take the parts; without `locks`, no other process may use the same ones."""
        self._engine = engine
        self._visits = visits
        self._record = record
        self._hold = hold
        self._if_unused = if_unused
        self._locks = locks or ProcessLocks()
        self.ends = Ends()
        """How environments have just come to their ends: see `rootblood.services.watch`."""

        self.crash_loops = CrashLoops(crash_loop)
        """Which of them no login starts for a while; the same counts their ends."""

        self.shared = Shared(engine, store, keys)
        """Files and names, which are there before any environment."""

        self.links = EnvironmentLinks(engine, keys, settings, metrics)
        """Links into those that run."""

        self.programs = Programs(engine)
        """Programs run in those that run, past any link."""

        self._lent: dict[str, _Lending] = {}

    def used(self, account: Account, kind: LeaseKind, detail: str = "") -> AbstractAsyncContextManager[None]:
        """Say that somebody uses the account's environment for the length of a block.

        It is not stopped as idle meanwhile. Whoever lets somebody in says so first, as otherwise it might be
        stopped while it is entered. Arguments and errors as `rootblood.services.leases.Leases.hold`.
        """
        return self._hold(account, kind, detail)

    @asynccontextmanager
    async def link(
        self,
        account: Account,
        *,
        on_step: StepListener | None = None,
        agent_path: str | None = None,
        by: Actor = OPERATOR,
    ) -> AsyncIterator[Link]:
        """Lend a link into the account's environment, which runs from then on.

        Args:
            account: whose environment.
            on_step: called before each step that takes time, for a line of progress.
            agent_path: socket of the ssh-agent of one connection; the link is that connection's own then.
            by: who asks.

        Raises:
            EngineUnavailableError, ImageMissingError, EnvironmentFailedError: there is no way in.
            StoreUnavailableError: the name could not be published.
        """
        start = partial(self._start, account, by)
        async with self.links.lend(account, start, on_step, agent_path) as link:
            yield link

    @asynccontextmanager
    async def fresh_link(
        self, account: Account, *, on_step: StepListener | None = None, by: Actor = OPERATOR
    ) -> AsyncIterator[Link]:
        """Open a link that nobody shares, and close it. Raises as `link`.

        For when the shared one may be what is broken.
        """
        link = await self.links.open(account, partial(self._start, account, by), on_step)
        try:
            yield link
        finally:
            await link.close()

    async def start(
        self, account: Account, *, on_step: StepListener | None = None, by: Actor = OPERATOR
    ) -> Environment:
        """Make, start or resume the account's environment, if it does not run already.

        Whoever asks for that as such is not held up by a crash loop; those who come in by `link` are.

        Raises:
            EngineUnavailableError, ImageMissingError, EnvironmentFailedError: it does not run.
            StoreUnavailableError: the name could not be published.
        """
        self.crash_loops.forget(account.userhash)
        async with self.used(account, _kind_of(by), "start"):
            return await self._start(account, by, on_step)

    async def _start(self, account: Account, by: Actor, on_step: StepListener | None) -> Environment:
        steps: list[EnsureStep] = []

        def note(step: EnsureStep) -> None:
            steps.append(step)
            if on_step is not None:
                on_step(step)

        environment = await self._ensure(account, note)
        if steps:  # it did not run before
            changed = environment.restarted is RestartReason.CHANGED
            detail = f"{steps[-1]}, of image {short_id(environment.image_id)}" if changed else steps[-1].value
            self._record(account, Action.ENVIRONMENT_STARTED, by, detail)
        return environment

    async def _ensure(self, account: Account, on_step: StepListener | None) -> Environment:
        await self.shared.prepare_for(account)
        details = await self._engine.inspect(account.userhash)
        if details is not None and details.environment.state is EnvironmentState.RUNNING:
            return details.environment
        self.crash_loops.let_in(account.userhash)
        async with self._locks.hold(account.userhash):
            return await self._ensure_locked(account, on_step)

    async def _ensure_locked(self, account: Account, on_step: StepListener | None) -> Environment:
        await self.shared.heal()
        environment = await self._engine.ensure(Identity.of(account), on_step=on_step)
        if environment.restarted is not None:
            _log.info("environment_restarted", userhash=account.userhash, reason=environment.restarted.value)
            self._visits.restarted(account, environment.restarted)
        return environment

    async def restart(
        self,
        account: Account,
        reason: StopReason = StopReason.OWNER,
        *,
        grace_s: float = RESTART_GRACE_S,
        detail: str = "",
        on_step: StepListener | None = None,
        by: Actor = OPERATOR,
    ) -> Environment:
        """Stop the account's environment, killing what does not end in time, and start it. Raises as `start`.

        Without an image nothing is stopped, as nothing could be started again.

        Args:
            account: whose environment.
            reason: what the account is told of it at its next visit.
            grace_s: what its programs have to end in order.
            detail: what it is done for, for the account's trail.
            on_step: called before each step that takes time.
            by: who asks.
        """
        if not await self.image_present():
            raise ImageMissingError(
                "the image of the environments is missing, so nothing was stopped; ask your administrator"
            )
        await self.shared.prepare_for(account)
        self.crash_loops.forget(account.userhash)
        async with self.used(account, _kind_of(by), "restart"), self._locks.hold(account.userhash):
            await self._end(account, reason, partial(self._engine.stop, grace_s=grace_s))
            environment = await self._ensure_locked(account, on_step)
        self._record(account, Action.ENVIRONMENT_RESTARTED, by, detail)
        return environment

    async def stop(
        self,
        account: Account,
        reason: StopReason | None = None,
        *,
        grace_s: float = STOP_GRACE_S,
        only_if: Condition = always,
        by: Actor = OPERATOR,
    ) -> bool:
        """Stop the account's environment; False when it was not running, or not to be. Its home stays.

        Args:
            account: whose environment.
            reason: what the account is told of it at its next visit; None leaves that to the engine.
            grace_s: what its programs have to end in order.
            only_if: asked under the account's lock, when nobody else makes or ends it any more.
            by: who asks.
        """
        async with self._locks.hold(account.userhash):
            stopped = await only_if() and await self._end(
                account, reason, partial(self._engine.stop, grace_s=grace_s)
            )
        if stopped:
            self._record(account, Action.ENVIRONMENT_STOPPED, by, reason.value if reason is not None else "")
        return stopped

    async def image_present(self) -> bool:
        """Whether environments can be made at all."""
        return (await self._engine.info()).image_present

    async def inspect(self, account: Account) -> EnvironmentDetails | None:
        """What is known of the account's environment; None when there is none."""
        return await self._engine.inspect(account.userhash)

    async def usage(self, account: Account) -> Usage | None:
        """What the account's environment uses now; None when it does not run."""
        return await self._engine.stats(account.userhash)

    async def processes(self, account: Account) -> Sequence[Process]:
        """What runs in the account's environment, those that use most first."""
        found = await self._engine.processes(account.userhash)
        return sorted(found, key=lambda process: (-process.cpu_percent, -process.memory_bytes, process.pid))

    @asynccontextmanager
    async def lent(
        self, account: Account, kind: LeaseKind, detail: str = "", *, on_step: StepListener | None = None
    ) -> AsyncIterator[None]:
        """Use the account's environment for the length of a block, and leave it as it was found.

        One that had to be started is stopped again at the end, unless somebody else uses it by then, at this
        server or another. Neither is in the account's trail: whatever borrows it is. Arguments as `used`.
        Raises as `start`.
        """
        details = await self._engine.inspect(account.userhash)
        was_running = details is not None and details.environment.state is EnvironmentState.RUNNING
        lending = self._lent.setdefault(account.userhash, _Lending())
        lending.borrowers += 1
        lending.started |= not was_running
        try:
            async with self.used(account, kind, detail):
                await self._ensure(account, on_step)
                yield
        finally:
            lending.borrowers -= 1
            if lending.borrowers == 0 and not lending.started:
                del self._lent[account.userhash]
            elif lending.borrowers == 0:
                async with self._locks.hold(account.userhash):
                    await self._give_back(account, lending)

    async def _give_back(self, account: Account, lending: _Lending) -> None:
        if lending.borrowers or self._lent.get(account.userhash) is not lending:
            return  # somebody has borrowed it while the lock was waited for, and gives it back
        del self._lent[account.userhash]
        if not self.links.is_used(account.userhash):
            try:
                async with self._if_unused(account) as unused:
                    if unused:
                        await self._engine.stop(account.userhash, grace_s=RESTART_GRACE_S)
            except (StoreUnavailableError, NotFoundError) as error:  # it runs on, then
                _log.warning("environment_not_given_back", userhash=account.userhash, cause=str(error))

    async def remove(
        self,
        account: Account,
        reason: StopReason | None = None,
        *,
        only_if: Condition = always,
        by: Actor = OPERATOR,
    ) -> bool:
        """Remove the account's container; False when there was none, or it is to stay. The home stays.

        Arguments as `stop`.
        """
        async with self._locks.hold(account.userhash):
            removed = await only_if() and await self._end(account, reason, self._engine.remove)
        if removed:
            self._record(account, Action.ENVIRONMENT_REMOVED, by)
        return removed

    async def purge(self, account: Account) -> None:
        """Remove the account's container, and its home with all that is in it."""
        async with self._locks.hold(account.userhash):
            await self._engine.remove(account.userhash)
            await self._engine.purge_home(account.userhash)

    async def list(self) -> list[Environment]:
        """All environments of this installation."""
        return await self._engine.list()

    async def close(self) -> None:
        """Close all links. Environments keep running."""
        await self.links.close()

    async def _end(
        self, account: Account, reason: StopReason | None, end: Callable[[str], Awaitable[bool]]
    ) -> bool:
        if reason is None:
            return await end(account.userhash)
        # Ahead of it: whoever was thrown out may be back before the call returns.
        before = await self._visits.stopping(account, reason)
        ended = False
        try:
            ended = await end(account.userhash)
        finally:
            if not ended:
                await self._visits.not_stopped(account, before)
        return ended


def _kind_of(by: Actor) -> LeaseKind:
    return LeaseKind.SSH if by.door is Door.SSH else LeaseKind.WEB
