"""Links into environments: opened, shared, kept open for a while, and opened anew when they died.

Nothing here starts an environment: whoever asks for a link says how. One-time links for browsers are another
thing: see `links`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.environments import Environment, Identity
from rootblood.engines.base import Engine
from rootblood.errors import EnvironmentFailedError, RootBloodError
from rootblood.link.calls import answer_calls
from rootblood.link.keys import LinkKeys
from rootblood.link.link import Link, open_link
from rootblood.link.pool import LinkPool, StepListener
from rootblood.services.metrics import Metrics
from rootblood.settings import LinkSettings

_log = structlog.stdlib.get_logger(__name__)

Answer = Callable[[Account], asyncio.Protocol | None]
"""Serves one connection that a program of the account's environment makes."""

Start = Callable[[StepListener | None], Awaitable[Environment]]
"""Has the account's environment run, and calls what it is given before each step that takes time."""


class EnvironmentLinks:
    """The links of this process.

    Args:
        engine: has the environments.
        keys: open them.
        settings: how long things may take.
        metrics: told of each link that is opened.
    """

    def __init__(self, engine: Engine, keys: LinkKeys, settings: LinkSettings, metrics: Metrics) -> None:
        self._engine = engine
        self._keys = keys
        self._settings = settings
        self._metrics = metrics
        self._pool = LinkPool(settings.idle_grace_s)
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

    @asynccontextmanager
    async def lend(
        self, account: Account, start: Start, on_step: StepListener | None, agent_path: str | None
    ) -> AsyncIterator[Link]:
        """Lend a link into the account's environment. Raises as `Environments.link`.

        Args:
            account: whose environment.
            start: has it run.
            on_step: called before each step that takes time.
            agent_path: socket of the ssh-agent of one connection; the link is that connection's own then.
        """
        if agent_path is None:
            open_new = partial(self._open_to_share, account, start)
            async with self._pool.link(account.userhash, open_new, on_step) as link:
                yield link
            return
        key = f"{account.userhash} {agent_path}"
        with self._pool.hold(account.userhash):  # it is the one that takes calls
            async with self._pool.link(
                key, lambda tell: self.open(account, start, tell, agent_path), on_step
            ) as link:
                yield link

    async def open(
        self,
        account: Account,
        start: Start,
        on_step: StepListener | None = None,
        agent_path: str | None = None,
    ) -> Link:
        """Open a link that is the caller's to close. Arguments and errors as `lend`."""
        identity = Identity.of(account)
        environment = await start(on_step)
        try:
            return await self._open_link(environment, identity, agent_path)
        except EnvironmentFailedError:
            # Somebody else may have stopped it since: once more, and then it is the user's to know.
            _log.info("link_retried", userhash=account.userhash)
            environment = await start(on_step)
            return await self._open_link(environment, identity, agent_path)

    def is_used(self, userhash: str) -> bool:
        """Whether somebody has a link into the account's environment now."""
        return self._pool.is_used(userhash)

    def linked(self) -> set[str]:
        """Into whose environments there are links."""
        return self._pool.linked()

    def renew(self, userhash: str) -> None:
        """Have the next login make sure that the environment runs, whatever the links there are look like."""
        self._pool.retire(userhash)

    async def drop(self, userhash: str) -> None:
        """Give up the links into an environment that has ended, unless it has been started again since."""
        details = await self._engine.inspect(userhash)
        if details is None or not details.environment.state.is_alive:
            self._pool.drop(userhash)

    async def close(self) -> None:
        """Close all of them."""
        await self._pool.close()
        if self._answering:  # each until its link is lost
            await asyncio.wait(self._answering)

    async def _open_to_share(self, account: Account, start: Start, on_step: StepListener | None) -> Link:
        """As `open`, and the link takes calls from then on; nobody waits for that."""
        link = await self.open(account, start, on_step)
        if self._answer is not None:
            task = asyncio.get_running_loop().create_task(
                answer_calls(link, partial(self._answer, account), self._settings)
            )
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        return link

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
