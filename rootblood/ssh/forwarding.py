"""Port forwarding: streams of the client's connection relayed onto the link.

Every destination is one inside the account's environment, as its own processes see it; nothing is connected
to, or listened on, by the front door itself.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import asyncssh
from asyncssh.constants import OPEN_RESOURCE_SHORTAGE

from rootblood.errors import RootBloodError
from rootblood.link.link import Link
from rootblood.link.relay import RelayEnd, relay
from rootblood.link.waiting import first_of
from rootblood.settings import ForwardingSettings, SSHSettings
from rootblood.ssh.failures import explanation
from rootblood.ssh.places import Places

if TYPE_CHECKING:
    from rootblood.ssh.connection import Connection


def forwarding_settings(settings: SSHSettings, account_name: str) -> ForwardingSettings:
    """What that account may forward."""
    return settings.forwarding_of.get(account_name, settings.forwarding)


def is_loopback(host: str) -> bool:
    """Whether `host` names the environment's own loopback, without asking a resolver."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Forwarding:
    """The forwarded streams and listening ports of one connection.

    Args:
        connection: the client's.
        policy: what its account may forward.
    """

    def __init__(self, connection: "Connection", policy: ForwardingSettings) -> None:
        self._connection = connection
        self._policy = policy
        self._places = Places(connection.settings.max_forwards)

    def dial(self, host: str, port: int) -> Awaitable[RelayEnd]:
        """Open a stream to a TCP port (RFC 4254 section 7.2).

        Raises:
            asyncssh.ChannelOpenError: it is not allowed; from the awaitable: it cannot be reached.
        """
        if not self._policy.local:
            raise _prohibited("forwarding to TCP ports is not allowed; ask your administrator")
        if self._policy.destinations == "loopback" and not is_loopback(host):
            raise _prohibited("forwarding is limited to localhost, which is your environment's")
        return self._dial(lambda link, end: link.dial(end, host, port))

    def dial_unix(self, path: str) -> Awaitable[RelayEnd]:
        """Open a stream to a UNIX socket (OpenSSH's PROTOCOL, section 2.4). Raises as `dial`."""
        if not self._policy.streamlocal:
            raise _prohibited("forwarding to UNIX sockets is not allowed; ask your administrator")
        return self._dial(lambda link, end: link.dial_unix(end, path))

    async def listen(self, host: str, port: int) -> asyncssh.SSHListener | bool:
        """Listen on a TCP port inside the environment (RFC 4254 section 7.1); False where it is refused."""
        closed = asyncio.Event()
        if not self._policy.remote or not await self._take_place(closed):
            return False
        opened: asyncio.Future[asyncssh.SSHListener] = asyncio.get_running_loop().create_future()
        self._start(self._hold_listener(host, port, opened), closed)
        try:
            return await opened
        except (RootBloodError, OSError) as error:
            self._connection.log.info("listen_refused", cause=str(error))
            return False

    def _start(self, holding: Coroutine[Any, Any, None], closed: asyncio.Event) -> None:
        """Run what holds a stream or a listening port open, and give its place back when it is over."""

        async def in_its_place() -> None:
            try:
                await holding
            finally:
                self._places.give_back(closed)

        self._connection.start(in_its_place())

    async def _take_place(self, closed: asyncio.Event) -> bool:
        if not await self._places.take(closed):
            self._connection.log.warning("forward_refused", cause="too many forwards")
            return False
        if self._connection.closed.is_set():  # meanwhile: its tasks are over, or will be
            self._places.give_back(closed)
            return False
        return True

    async def _dial(self, open_far: Callable[[Link, RelayEnd], Awaitable[None]]) -> RelayEnd:
        near, far = relay()
        if not await self._take_place(near.closed):
            raise _shortage()
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._start(self._hold_stream(open_far, far, opened), near.closed)
        await opened
        return near

    async def _hold_stream(
        self,
        open_far: Callable[[Link, RelayEnd], Awaitable[None]],
        far: RelayEnd,
        opened: "asyncio.Future[None]",
    ) -> None:
        """Open the link's end of a stream, and keep the link for as long as the stream lives."""
        try:
            account = await self._connection.login.entering()
            async with self._connection.environments.link(account, by=self._connection.actor) as link:
                await open_far(link, far)
                if not opened.done():
                    opened.set_result(None)
                await first_of(far.closed.wait(), self._connection.closed.wait())
                far.finish()
        except RootBloodError as error:
            reason = explanation(error, self._connection.account_name)
            _fail(opened, asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, reason))
        except asyncssh.ChannelOpenError as error:
            # The reason is the environment's own text: a client's terminal should not show it.
            _fail(
                opened,
                asyncssh.ChannelOpenError(
                    error.code, "nothing accepts the connection there; is your program running?"
                ),
            )
        except (asyncssh.Error, OSError) as error:
            self._connection.log.info("forward_failed", cause=str(error))
            _fail(
                opened,
                asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the link broke off; try again"),
            )

    async def _hold_listener(
        self, host: str, port: int, opened: "asyncio.Future[asyncssh.SSHListener]"
    ) -> None:
        """Open a listening port, and keep the link for as long as it listens."""
        try:
            account = await self._connection.login.entering()
            async with self._connection.environments.link(account, by=self._connection.actor) as link:
                bound = port

                async def accept(origin_host: str, origin_port: int) -> RelayEnd:
                    near, far = relay()
                    if not await self._take_place(near.closed):
                        raise _shortage()
                    self._start(first_of(far.closed.wait(), self._connection.closed.wait()), near.closed)
                    await self._connection.accept_forwarded(near, (host, bound), (origin_host, origin_port))
                    return far

                listener = await link.listen(accept, host, port)
                bound = listener.get_port()
                if not opened.done():
                    opened.set_result(listener)
                await first_of(listener.wait_closed(), link.wait_lost(), self._connection.closed.wait())
                listener.close()
        except (RootBloodError, OSError) as error:
            _fail(opened, error)


def _prohibited(reason: str) -> asyncssh.ChannelOpenError:
    return asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, reason)


def _shortage() -> asyncssh.ChannelOpenError:
    return asyncssh.ChannelOpenError(
        OPEN_RESOURCE_SHORTAGE, "too many forwarded streams on this connection; close some, or connect anew"
    )


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
