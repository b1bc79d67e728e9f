"""The SSH door: listens, and keeps the connections that came in.

When the server stops, each connection leaves as soon as nothing is lost with it; see
`rootblood.ssh.connection.Connection.drain`.
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import asyncssh
import structlog

from rootblood.domain.accounts import Account
from rootblood.listening import Listener
from rootblood.services.accounts import Accounts
from rootblood.services.bans import Bans
from rootblood.services.environments import Environments
from rootblood.services.exports import Exports
from rootblood.services.metrics import UNMEASURED, Metrics
from rootblood.services.penalties import Penalties
from rootblood.services.visits import Visits
from rootblood.settings import SSHSettings
from rootblood.ssh import algorithms
from rootblood.ssh.connection import Connection
from rootblood.ssh.greeting import Texts
from rootblood.stopping import Stop

_log = structlog.stdlib.get_logger(__name__)


class SSHDoor:
    """An SSH server in front of the services.

    Args:
        accounts: who may come in.
        environments: where they go.
        exports: what they take away.
        visits: what they are told when they come back.
        penalties: from where too many wrong passwords came.
        bans: from where nobody may come.
        host_key: what clients know the door by.
        texts: what everybody is shown.
        settings: limits, and what is allowed.
        metrics: count what happens.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        environments: Environments,
        exports: Exports,
        visits: Visits,
        penalties: Penalties,
        bans: Bans,
        host_key: asyncssh.SSHKey,
        texts: Texts,
        settings: SSHSettings,
        metrics: Metrics = UNMEASURED,
    ) -> None:
        self._accounts = accounts
        self._environments = environments
        self._exports = exports
        self._visits = visits
        self._penalties = penalties
        self._bans = bans
        self._metrics = metrics
        self._host_key = host_key
        self._texts = texts
        self._settings = settings
        self._connections: set[Connection] = set()
        self._acceptors: list[asyncssh.SSHAcceptor] = []
        self._tasks = asyncio.TaskGroup()
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._stop = Stop()

    def apply(self, settings: SSHSettings, texts: Texts) -> None:
        """Take both for the connections to come; those that are open keep what they began with."""
        if texts != self._texts:
            _log.info("texts_changed")
        self._settings = settings
        self._texts = texts
        for acceptor in self._acceptors:
            acceptor.update(**_options(settings))

    async def serve(self, listener: Listener, ready: "asyncio.Future[str]", stop: Stop) -> None:
        """Accept connections until `stop`, then wait for what they transfer, close them all and return.

        Args:
            listener: where it accepts.
            ready: gets `HOST:PORT` once the door accepts.
            stop: ends it.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._stop = stop
        async with self._tasks:
            try:
                self._acceptors += [await self._accept_on(sock) for sock in await listener.open()]
                ready.set_result(listener.address)
                await stop.told.wait()
                for connection in list(self._connections):
                    connection.drain(stop.remaining_s)
                await listener.retire()
                for acceptor in self._acceptors:
                    acceptor.close()
                await stop.wait_for(self._none_open.wait())
            finally:
                for acceptor in self._acceptors:
                    acceptor.close()
                listener.close()
                for connection in list(self._connections):
                    connection.close()
                for acceptor in self._acceptors:
                    await acceptor.wait_closed()  # from Python 3.12.1 on it waits for connections too

    async def _accept_on(self, sock: socket.socket) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            sock=sock,
            server_factory=self._new_connection,
            server_host_keys=[self._host_key],
            send_server_host_keys=True,  # hostkeys-00@openssh.com: how clients learn of a rotation
            server_version="RootBlood",
            kex_algs=algorithms.KEY_EXCHANGE,
            encryption_algs=algorithms.ENCRYPTION,
            mac_algs=algorithms.MAC,
            signature_algs=algorithms.SIGNATURE,
            compression_algs=None,
            agent_forwarding=True,
            x11_forwarding=False,
            allow_scp=False,
            gss_host=None,
            **_options(self._settings),
        )

    def opened(self, connection: Connection) -> None:
        """Keep a new connection until it is closed."""
        self._connections.add(connection)
        self._none_open.clear()
        self._tasks.create_task(connection.run()).add_done_callback(lambda _: self._closed(connection))
        if self._stop.told.is_set():
            connection.drain(self._stop.remaining_s)

    def _closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._none_open.set()

    def connections_of(self, account_name: str) -> Sequence[Connection]:
        """The open connections of an account, oldest first."""
        mine = [found for found in self._connections if found.account_name == account_name]
        return sorted(mine, key=lambda found: found.since)

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def session_count(self) -> int:
        """How many sessions are open on all of them."""
        return sum(len(connection.sessions) for connection in self._connections)

    def close_banned(self) -> None:
        """Close the connections that come from networks that are banned by now."""
        for connection in list(self._connections):
            connection.leave_if_banned()

    def show(self, userhash: str, text: str) -> None:
        """Show a line on the terminals that an account has open in its environment."""
        for connection in self._connections:
            if connection.login.userhash == userhash:
                connection.sessions.show(text)

    def ask_again(self, account: Account) -> None:
        """Have the connections of an account closed at once, should it not be allowed in any more."""
        for connection in self.connections_of(account.name):
            connection.login.ask_again()

    def _new_connection(self) -> Connection:
        return Connection(
            self,
            accounts=self._accounts,
            environments=self._environments,
            exports=self._exports,
            visits=self._visits,
            penalties=self._penalties,
            bans=self._bans,
            metrics=self._metrics,
            texts=self._texts,
            settings=self._settings,
        )


def _options(settings: SSHSettings) -> dict[str, Any]:
    """Those of asyncssh that may change while the door serves, for connections to come."""
    return {
        "login_timeout": settings.login_grace_s,
        "keepalive_interval": settings.keepalive_interval_s,
        "keepalive_count_max": settings.keepalive_count_max,
        "rekey_bytes": settings.rekey_bytes,
        "rekey_seconds": settings.rekey_s,
    }
