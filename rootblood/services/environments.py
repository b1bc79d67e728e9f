"""From an account to a link into its running environment: what both doors do after authentication.

The way there heals as it goes: what all environments share is installed at the first need, an account's name
is published before its environment is made, the environment is found, made, started or resumed, and a link
that died is replaced. Nothing here knows Docker.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.environments import Environment, Identity, StopReason
from rootblood.engines.base import Engine
from rootblood.errors import EnvironmentFailedError
from rootblood.link.keys import LinkKeys
from rootblood.link.link import Link, open_link
from rootblood.link.pool import LinkPool, StepListener
from rootblood.services.visits import Visits
from rootblood.settings import LinkSettings
from rootblood.stores.base import AccountStore

_log = structlog.stdlib.get_logger(__name__)


class Environments:
    """Environments of accounts, and the way into them."""

    def __init__(
        self, *, engine: Engine, store: AccountStore, visits: Visits, keys: LinkKeys, settings: LinkSettings
    ) -> None:
        self._engine = engine
        self._store = store
        self._visits = visits
        self._keys = keys
        self._settings = settings
        self._pool = LinkPool(settings.idle_grace_s)
        self._installing = asyncio.Lock()
        self._installed = False
        self._published: set[str] = set()

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

    @asynccontextmanager
    async def link(
        self, account: Account, *, on_step: StepListener | None = None, agent_path: str | None = None
    ) -> AsyncIterator[Link]:
        """Lend a link into the account's environment, which runs from then on.

        Args:
            account: whose environment.
            on_step: called before each step that takes time, for a line of progress.
            agent_path: socket of the ssh-agent of one connection; the link is that connection's own then.

        Raises:
            EngineUnavailableError, ImageMissingError, EnvironmentFailedError: there is no way in.
            StoreUnavailableError: the name could not be published.
        """
        key = account.userhash if agent_path is None else f"{account.userhash} {agent_path}"
        async with self._pool.link(key, lambda tell: self._enter(account, tell, agent_path), on_step) as link:
            yield link

    async def stop(self, account: Account, reason: StopReason | None = None) -> bool:
        """Stop the account's environment; False when it was not running. Its home stays.

        Args:
            account: whose environment.
            reason: what the account is told of it at its next visit; None leaves that to the engine.
        """
        return await self._end(account, reason, self._engine.stop)

    async def remove(self, account: Account, reason: StopReason | None = None) -> bool:
        """Remove the account's container; False when there was none. Arguments as `stop`; the home stays."""
        return await self._end(account, reason, self._engine.remove)

    async def purge(self, account: Account) -> None:
        """Remove the account's container, and its home with all that is in it."""
        await self._engine.remove(account.userhash)
        await self._engine.purge_home(account.userhash)

    async def list(self) -> list[Environment]:
        """All environments of this installation."""
        return await self._engine.list()

    async def close(self) -> None:
        """Close all links. Environments keep running."""
        await self._pool.close()

    async def _enter(self, account: Account, on_step: StepListener, agent_path: str | None) -> Link:
        await self.prepare()
        if not account.published and account.userhash not in self._published:
            await self.publish([account])
        identity = Identity.of(account)
        environment = await self._ensure(account, identity, on_step)
        try:
            return await self._open_link(environment, identity, agent_path)
        except EnvironmentFailedError:
            # Somebody else may have stopped it since: once more, and then it is the user's to know.
            _log.info("link_retried", userhash=account.userhash)
            environment = await self._ensure(account, identity, on_step)
            return await self._open_link(environment, identity, agent_path)

    async def _ensure(
        self, account: Account, identity: Identity, on_step: StepListener | None
    ) -> Environment:
        environment = await self._engine.ensure(identity, on_step=on_step)
        if environment.restarted is not None:
            _log.info("environment_restarted", userhash=account.userhash, reason=environment.restarted.value)
            self._visits.restarted(account, environment.restarted)
        return environment

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
        return await open_link(
            self._engine,
            environment,
            identity,
            keys=self._keys,
            settings=self._settings,
            agent_path=agent_path,
        )

    async def _publish(self, accounts: Sequence[Account]) -> None:
        await self._engine.install(self._keys.files, [Identity.of(account) for account in accounts])
        await self._store.mark_published([account.userhash for account in accounts])
        self._published.update(account.userhash for account in accounts)
