"""From an account to a link into its running environment: what both doors do after authentication.

The way there heals as it goes: what all environments share is installed at the first need, an account's name
is published before its environment is made, the environment is found, made, started or resumed, and a link
that died is replaced. Nothing here knows Docker.

What makes or ends an environment holds the account's lock meanwhile, so that several servers are never at it
at once. One that runs already is entered without it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

import structlog
from typing_extensions import override

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
from rootblood.engines.base import STOP_GRACE_S, Engine, StreamProtocol
from rootblood.errors import (
    EnvironmentFailedError,
    ImageMissingError,
    NotFoundError,
    RootBloodError,
    StoreUnavailableError,
)
from rootblood.link.calls import answer_calls
from rootblood.link.keys import LinkKeys
from rootblood.link.link import Link, open_link
from rootblood.link.pool import LinkPool, StepListener
from rootblood.services.audit import Record, unrecorded
from rootblood.services.crashes import CrashLoops
from rootblood.services.ends import Ends
from rootblood.services.leases import Hold, IfUnused, always_unused, unheld
from rootblood.services.metrics import UNMEASURED, Metrics
from rootblood.services.visits import Visits
from rootblood.settings import CrashLoopSettings, LinkSettings
from rootblood.stores.base import AccountLocks, AccountStore
from rootblood.stores.locks import ProcessLocks

_log = structlog.stdlib.get_logger(__name__)

Answer = Callable[[Account], asyncio.Protocol | None]
"""Serves one connection that a program of the account's environment makes."""

RESTART_GRACE_S = 3.0
"""What programs have to end in order at a restart: who asks for one does not want to wait for them."""


_DELETE_BELOW = ("/bin/sh", "-c", 'find "$1" -mindepth 1 -delete 2>&1; ls -A "$1" 2>&1', "sh")
"""Prints what it could not delete, and nothing when it could; the directory comes last."""

_DELETE_S = 600.0


class _Output(asyncio.Protocol):
    """Keeps the beginning of what a program writes, and notices its end."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._transport: asyncio.Transport
        self.data = bytearray()
        self.ended = asyncio.Event()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # what every engine gives

    @override
    def data_received(self, data: bytes) -> None:
        self.data += data[: self._max_bytes - len(self.data)]
        if len(self.data) >= self._max_bytes:
            self._transport.abort()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


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
        self._store = store
        self._visits = visits
        self._keys = keys
        self._settings = settings
        self._metrics = metrics
        self._record = record
        self._hold = hold
        self._if_unused = if_unused
        self._locks = locks or ProcessLocks()
        self.ends = Ends()
        """How environments have just come to their ends: see `rootblood.services.watch`."""

        self.crash_loops = CrashLoops(crash_loop)
        """Which of them no login starts for a while; the same counts their ends."""

        self._pool = LinkPool(settings.idle_grace_s)
        self._installing = asyncio.Lock()
        self._installed = False
        self._published: set[str] = set()
        self._lent: dict[str, _Lending] = {}
        self._answer: Answer | None = None
        self._answering: set[asyncio.Task[None]] = set()

    def apply(self, settings: LinkSettings) -> None:
        """Go by these settings from the next link on; `idle_grace_s` counts for open ones too."""
        self._settings = settings
        self._pool.idle_grace_s = settings.idle_grace_s

    def answer_calls(self, answer: Answer) -> None:
        """From now on, take what programs in environments have to say to the front door.

        Args:
            answer: gives what serves one connection of the account's; None while nobody can.
        """
        self._answer = answer

    async def prepare(self) -> None:
        """Install what all environments share, once in the life of this process.

        Raises:
            EngineUnavailableError, ImageMissingError, EnvironmentFailedError: it is tried again at the next
                need.
        """
        async with self._installing:
            if not self._installed:
                await self._publish(await self._store.list(include_deleted=True))
                self._installed = True

    async def publish(self, accounts: Sequence[Account]) -> None:
        """Let environments resolve these accounts' names, and give each its /global directory."""
        async with self._installing:
            await self._publish(accounts)

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
        if agent_path is None:
            open_new = partial(self._enter_to_share, account, by)
            async with self._pool.link(account.userhash, open_new, on_step) as link:
                yield link
            return
        key = f"{account.userhash} {agent_path}"
        with self._pool.hold(account.userhash):  # it is the one that takes calls
            async with self._pool.link(
                key, lambda tell: self._enter(account, by, tell, agent_path), on_step
            ) as link:
                yield link

    @asynccontextmanager
    async def fresh_link(
        self, account: Account, *, on_step: StepListener | None = None, by: Actor = OPERATOR
    ) -> AsyncIterator[Link]:
        """Open a link that nobody shares, and close it. Raises as `link`.

        For when the shared one may be what is broken.
        """
        link = await self._enter(account, by, on_step, None)
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
            return await self._start(account, on_step, by)

    async def _start(self, account: Account, on_step: StepListener | None, by: Actor) -> Environment:
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
        await self._make_known(account)
        details = await self._engine.inspect(account.userhash)
        if details is not None and details.environment.state is EnvironmentState.RUNNING:
            return details.environment
        self.crash_loops.let_in(account.userhash)
        async with self._locks.hold(account.userhash):
            return await self._ensure_locked(account, on_step)

    async def _make_known(self, account: Account) -> None:
        """Install what its environment needs to be made."""
        await self.prepare()
        if not account.published and account.userhash not in self._published:
            await self.publish([account])

    async def _ensure_locked(self, account: Account, on_step: StepListener | None) -> Environment:
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
        await self._make_known(account)
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
        by: Actor = OPERATOR,
    ) -> bool:
        """Stop the account's environment; False when it was not running. Its home stays.

        Args:
            account: whose environment.
            reason: what the account is told of it at its next visit; None leaves that to the engine.
            grace_s: what its programs have to end in order.
            by: who asks.
        """
        async with self._locks.hold(account.userhash):
            stopped = await self._end(account, reason, partial(self._engine.stop, grace_s=grace_s))
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

    async def open_program(
        self,
        account: Account,
        argv: Sequence[str],
        protocol_factory: Callable[[], StreamProtocol],
        *,
        timeout_s: float,
    ) -> tuple[asyncio.Transport, StreamProtocol]:
        """Begin a program of the image in the running environment, as the account, without its shell.

        Args:
            account: whose environment.
            argv: the program's absolute path, and its arguments.
            protocol_factory: makes what its output goes to; see `Engine.open_stream`.
            timeout_s: from here to a program that runs.

        Raises:
            EnvironmentFailedError: the environment does not run, or does not answer.
            EngineUnavailableError: as `Engine.open_stream`.
        """
        details = await self._engine.inspect(account.userhash)
        if details is None or details.environment.state is not EnvironmentState.RUNNING:
            raise EnvironmentFailedError("your environment does not run")
        try:
            async with asyncio.timeout(timeout_s):
                return await self._engine.open_stream(details.environment, argv, protocol_factory)
        except TimeoutError as error:
            raise EnvironmentFailedError("your environment does not answer") from error
        except OSError as error:
            raise EnvironmentFailedError("your environment could not be entered") from error

    async def run(
        self,
        account: Account,
        argv: Sequence[str],
        *,
        timeout_s: float,
        max_bytes: int,
        stdin: bytes = b"",
    ) -> str:
        """Run such a program to its end. Arguments and errors as `open_program`.

        Args:
            account: whose environment.
            argv: the program's absolute path, and its arguments.
            timeout_s: from here to a program that runs, and again to its end.
            max_bytes: of its output that are taken; one that says more is broken off.
            stdin: all that it is given to read.

        Returns:
            The beginning of what it wrote to stdout: hostile text, as the account may have meddled.
        """
        transport, output = await self.open_program(
            account, argv, lambda: _Output(max_bytes), timeout_s=timeout_s
        )
        try:
            transport.write(stdin)
            transport.write_eof()
            async with asyncio.timeout(timeout_s):
                await output.ended.wait()
        except TimeoutError as error:
            raise EnvironmentFailedError("your environment does not answer") from error
        finally:
            transport.abort()
        return output.data.decode(errors="replace")

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
        if not self._pool.is_used(account.userhash):
            try:
                async with self._if_unused(account) as unused:
                    if unused:
                        await self._engine.stop(account.userhash, grace_s=RESTART_GRACE_S)
            except (StoreUnavailableError, NotFoundError) as error:  # it runs on, then
                _log.warning("environment_not_given_back", userhash=account.userhash, cause=str(error))

    async def remove(
        self, account: Account, reason: StopReason | None = None, *, by: Actor = OPERATOR
    ) -> bool:
        """Remove the account's container; False when there was none. Arguments as `stop`; the home stays."""
        async with self._locks.hold(account.userhash):
            removed = await self._end(account, reason, self._engine.remove)
        if removed:
            self._record(account, Action.ENVIRONMENT_REMOVED, by)
        return removed

    async def empty_shared(self, account: Account) -> None:
        """Delete what is in the account's /global directory, which itself stays, as its name does.

        By the account's own right, so in its environment. Raises as `start`, and

        Raises:
            EnvironmentFailedError: something is there still.
        """
        async with self.lent(account, LeaseKind.EXPORT, "deletion"):
            left = await self.run(
                account, [*_DELETE_BELOW, f"/global/{account.name}"], timeout_s=_DELETE_S, max_bytes=4096
            )
        if left:
            _log.warning("shared_not_emptied", userhash=account.userhash, said=left)
            raise EnvironmentFailedError(f"not all of /global/{account.name} could be deleted")

    async def purge(self, account: Account) -> None:
        """Remove the account's container, and its home with all that is in it."""
        async with self._locks.hold(account.userhash):
            await self._engine.remove(account.userhash)
            await self._engine.purge_home(account.userhash)

    async def list(self) -> list[Environment]:
        """All environments of this installation."""
        return await self._engine.list()

    def linked(self) -> set[str]:
        """Into whose environments there are links."""
        return self._pool.linked()

    def renew_links(self, userhash: str) -> None:
        """Have the next login make sure that the environment runs, whatever the links there are look like."""
        self._pool.retire(userhash)

    async def drop_links(self, userhash: str) -> None:
        """Give up the links into an environment that has ended, unless it has been started again since."""
        details = await self._engine.inspect(userhash)
        if details is None or not details.environment.state.is_alive:
            self._pool.drop(userhash)

    async def close(self) -> None:
        """Close all links. Environments keep running."""
        await self._pool.close()
        if self._answering:  # each until its link is lost
            await asyncio.wait(self._answering)

    async def _enter_to_share(self, account: Account, by: Actor, on_step: StepListener | None) -> Link:
        """As `_enter`, and the link takes calls from then on; nobody waits for that."""
        link = await self._enter(account, by, on_step, None)
        if self._answer is not None:
            task = asyncio.get_running_loop().create_task(
                answer_calls(link, partial(self._answer, account), self._settings)
            )
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        return link

    async def _enter(
        self, account: Account, by: Actor, on_step: StepListener | None, agent_path: str | None
    ) -> Link:
        identity = Identity.of(account)
        environment = await self._start(account, on_step, by)
        try:
            return await self._open_link(environment, identity, agent_path)
        except EnvironmentFailedError:
            # Somebody else may have stopped it since: once more, and then it is the user's to know.
            _log.info("link_retried", userhash=account.userhash)
            environment = await self._start(account, on_step, by)
            return await self._open_link(environment, identity, agent_path)

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

    async def _open_link(self, environment: Environment, identity: Identity, agent_path: str | None) -> Link:
        begin = time.monotonic()
        try:
            link = await open_link(
                self._engine,
                environment,
                identity,
                keys=self._keys,
                settings=self._settings,
                agent_path=agent_path,
            )
        except RootBloodError:
            self._metrics.link_opening(time.monotonic() - begin, opened=False)
            raise
        self._metrics.link_opening(time.monotonic() - begin, opened=True)
        return link

    async def _publish(self, accounts: Sequence[Account]) -> None:
        await self._engine.install(self._keys.files, [Identity.of(account) for account in accounts])
        await self._store.mark_published([account.userhash for account in accounts])
        self._published.update(account.userhash for account in accounts)


def _kind_of(by: Actor) -> LeaseKind:
    return LeaseKind.SSH if by.door is Door.SSH else LeaseKind.WEB
