"""Terminals in an account's environment, for doors whose users bring no SSH client.

They are ttyd's, which runs in the environment while somebody uses it, on a UNIX socket that only the link
and the account itself reach. Each shows the same tmux sessions as a login over SSH, so what closes a
terminal ends no work.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Actor, Door
from rootblood.domain.environments import RestartReason
from rootblood.domain.leases import LeaseKind
from rootblood.errors import EnvironmentBrokenError
from rootblood.link.link import Link
from rootblood.link.pool import StepListener
from rootblood.link.stream import connect_unix
from rootblood.services.environments import Environments
from rootblood.services.ttyd import Terminal, TerminalSize, connect

_log = structlog.stdlib.get_logger(__name__)

WEB_TERMINAL_PROGRAM = "/usr/lib/rootblood/web-terminal"
TTYD_SOCKET = "/run/rootblood/ttyd.sock"

_CONNECT_TIMEOUT_S = 5.0
"""From the stream to an open terminal, which takes milliseconds."""

_START_TIMEOUT_S = 15.0
"""What the program gives itself, and a little."""

_MAX_STARTS = 3
"""A ttyd that ends with its last client may do so between its start and the next client."""


class Terminals:
    """Opens terminals.

    Args:
        environments: where.
        motd: what a new terminal shows before its first prompt, safe to show; None leaves that to the image.
            It may be set anew.
    """

    def __init__(self, environments: Environments, motd: str | None = None) -> None:
        self._environments = environments
        self.motd = motd
        self._starting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def open(
        self,
        account: Account,
        size: TerminalSize,
        *,
        session: str | None = None,
        on_step: StepListener | None = None,
    ) -> AsyncIterator[Terminal]:
        """Lend a terminal in the account's environment, which runs from then on.

        Args:
            account: whose.
            size: of the terminal.
            session: number of the tmux session to show, or `NEW`, see `rootblood.domain.tmux`; None, or the
                number of one that is gone, takes the one detached last, or a new one.
            on_step: called before each step that takes time, for a line of progress.

        Raises:
            EngineUnavailableError, ImageMissingError, EnvironmentFailedError, StoreUnavailableError: as
                `Environments.link`.
            EnvironmentBrokenError: there is a way in, but no terminal.
        """
        async with (
            self._environments.used(account, LeaseKind.WEB, "terminal"),
            self._environments.link(account, on_step=on_step, by=Actor(Door.WEB)) as link,
        ):
            terminal = await self._connect(link, account, size, session)
            try:
                yield terminal
            finally:
                terminal.close()

    async def why_ended(self, userhash: str, *, since: float, patience_s: float) -> RestartReason | None:
        """Why an environment has ended since somebody came in: see `Ends.since`."""
        return await self._environments.ends.since(userhash, since, patience_s=patience_s)

    async def _connect(
        self, link: Link, account: Account, size: TerminalSize, session: str | None
    ) -> Terminal:
        try:
            return await _dial(link, size, session)
        except OSError as error:
            _log.debug("ttyd_not_there", userhash=account.userhash, cause=str(error))
        lock = self._starting.setdefault(account.userhash, asyncio.Lock())
        async with lock:
            for _ in range(_MAX_STARTS):
                try:
                    # Somebody else may have started it meanwhile.
                    return await _dial(link, size, session)
                except OSError as error:
                    cause = error
                await self._environments.programs.run(
                    account,
                    [WEB_TERMINAL_PROGRAM],
                    timeout_s=_START_TIMEOUT_S,
                    max_bytes=1,
                    stdin=(self.motd or "").encode(),
                )
            try:
                return await _dial(link, size, session)
            except OSError as error:
                cause = error
        _log.warning("ttyd_does_not_start", userhash=account.userhash, cause=str(cause))
        raise EnvironmentBrokenError("the terminal of your environment does not start") from cause


async def _dial(link: Link, size: TerminalSize, session: str | None) -> Terminal:
    """Open a terminal of the ttyd that runs; an OSError, TimeoutError included, where none does."""
    async with asyncio.timeout(_CONNECT_TIMEOUT_S):
        return await connect(await connect_unix(link, TTYD_SOCKET), size, session)
