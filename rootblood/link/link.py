"""One inner SSH connection into a running environment.

The engine opens one stream into the environment, to `sshd -i` running there as the account's own UID, and
asyncssh speaks SSH over it as a client. Channels of the outer connection are opened on the inner one, so that
terminals, signals, exit statuses and subsystems are OpenSSH's and not imitations.

Everything that comes up a link is hostile input: the account's own processes can ptrace that sshd. The inner
connection accepts no channel that the peer opens.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import asyncssh
import structlog
from asyncssh.packet import PacketDecodeError
from typing_extensions import override

from rootblood.domain.environments import Environment, Identity
from rootblood.engines.base import Engine
from rootblood.errors import EnvironmentBrokenError
from rootblood.link.channel import WINDOW_BYTES, LinkChannel, bound_connection
from rootblood.link.keys import LinkKeys
from rootblood.settings import LinkSettings

_log = structlog.stdlib.get_logger(__name__)

ENTER_PROGRAM = "/usr/lib/rootblood/enter"

SessionType = TypeVar("SessionType", bound="asyncssh.SSHClientSession[bytes]")


@dataclass(frozen=True, slots=True)
class Pty:
    """A terminal to ask for: RFC 4254 section 6.2."""

    term: str
    size: tuple[int, int, int, int]
    """Columns, rows, width and height in pixels."""

    modes: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """What a session channel is to run: a command, a subsystem, or, with neither, the account's shell."""

    command: bytes | None = None
    """Handed to the account's shell byte for byte."""

    subsystem: str | None = None
    pty: Pty | None = None
    env: Mapping[bytes, bytes] = field(default_factory=dict)


class _EngineTunnel:
    """What asyncssh calls a tunnel: connects its protocol over the engine's stream, with no pump between."""

    def __init__(self, engine: Engine, environment: Environment) -> None:
        self._engine = engine
        self._environment = environment

    async def create_connection(
        self, session_factory: Callable[[], Any], _host: str, _port: int
    ) -> tuple[asyncio.Transport, Any]:
        return await self._engine.open_stream(self._environment, [ENTER_PROGRAM], session_factory)

    def close(self) -> None:
        """The connection closes its own transport."""

    async def wait_closed(self) -> None:
        """As `close`."""


class _LinkClient(asyncssh.SSHClient):
    def __init__(self) -> None:
        self.lost = asyncio.Event()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class Link:
    """An open inner connection."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        lost: asyncio.Event,
        *,
        forwards_agent: bool,
        session_timeout_s: float,
    ) -> None:
        self._connection = connection
        self._lost = lost
        self._forwards_agent = forwards_agent
        self._session_timeout_s = session_timeout_s
        self._stalled = False

    @property
    def is_open(self) -> bool:
        """Whether a channel can still be opened."""
        return not self._stalled and not self._lost.is_set()

    async def open_session(
        self, session_factory: Callable[[], SessionType], request: SessionRequest
    ) -> tuple[LinkChannel, SessionType]:
        """Open a session channel and start what `request` says.

        Raises:
            EnvironmentBrokenError: the environment's sshd refuses, does not answer, or the link is gone.
                Without an answer (a paused container, a stopped sshd) the link takes no new session from
                then on, and those on it stay.
        """
        pty = request.pty
        try:
            channel = LinkChannel(self._connection)
            async with asyncio.timeout(self._session_timeout_s):
                session = await channel.create(
                    session_factory,
                    # asyncssh puts bytes on the wire as they are; its annotation only knows text.
                    cast("str | None", request.command),
                    request.subsystem,
                    dict(request.env),
                    request_pty=pty is not None,
                    term_type=pty.term if pty else None,
                    term_size=pty.size if pty else (0, 0, 0, 0),
                    term_modes=dict(pty.modes) if pty else {},
                    x11_forwarding=False,
                    x11_display=None,
                    x11_auth_path=None,
                    x11_single_connection=False,
                    agent_forwarding=self._forwards_agent,
                )
        except TimeoutError as error:
            self._stalled = True
            _log.warning("link_stalled", timeout_s=self._session_timeout_s)
            raise EnvironmentBrokenError("your environment does not answer; try again in a moment") from error
        except (asyncssh.Error, OSError, PacketDecodeError) as error:
            _log.warning("link_refused_session", cause=str(error))
            raise EnvironmentBrokenError("your environment did not accept the session; try again") from error
        return channel, cast("SessionType", session)

    async def dial(self, session: "asyncssh.SSHTCPSession[bytes]", host: str, port: int) -> None:
        """Connect `session` to a TCP port as seen from inside the environment.

        Raises:
            asyncssh.ChannelOpenError: nobody listens there, or sshd refuses.
        """
        with _malformed_answers_refused():
            await self._connection.create_connection(lambda: session, host, port)

    async def dial_unix(self, session: "asyncssh.SSHTCPSession[bytes]", path: str) -> None:
        """Connect `session` to a UNIX socket of the environment. Raises `asyncssh.ChannelOpenError`."""
        # To asyncssh the sessions of TCP and UNIX channels differ in name only.
        with _malformed_answers_refused():
            await self._connection.create_unix_connection(
                lambda: cast("asyncssh.SSHUNIXSession[bytes]", session), path
            )

    async def listen(
        self,
        accept: Callable[[str, int], Awaitable["asyncssh.SSHTCPSession[bytes]"]],
        host: str,
        port: int,
        *,
        window_bytes: int = WINDOW_BYTES,
    ) -> asyncssh.SSHListener:
        """Listen on a TCP port inside the environment; port 0 lets it choose.

        Args:
            accept: called with the address of whoever connects, gives the session for the connection.
            host: address to listen on; the environment's sshd allows loopback only.
            port: to listen on.
            window_bytes: what may be sent ahead on each connection.

        Raises:
            OSError: the port is taken, sshd refuses, or the link is gone.
        """
        try:
            return await self._connection.create_server(accept, host, port, window=window_bytes)
        except (asyncssh.Error, asyncssh.ChannelListenError, PacketDecodeError) as error:
            raise OSError(str(error)) from error

    async def wait_lost(self) -> None:
        """Return when the link is closed, by either end."""
        await self._lost.wait()

    def abort(self) -> None:
        """Give up a link whose other end is gone; whoever is on it learns of that."""
        self._connection.abort()

    async def close(self) -> None:
        """Close the link and what still runs on its channels."""
        self._connection.close()
        await self._connection.wait_closed()


@contextmanager
def _malformed_answers_refused() -> Iterator[None]:
    """Take an answer that cannot be decoded for a refusal: the account's processes may have written it."""
    try:
        yield
    except PacketDecodeError as error:
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "malformed answer") from error


async def open_link(
    engine: Engine,
    environment: Environment,
    identity: Identity,
    *,
    keys: LinkKeys,
    settings: LinkSettings,
    agent_path: str | None = None,
) -> Link:
    """Open a link into a running environment.

    Args:
        engine: runs the environment.
        environment: to enter.
        identity: of its account.
        keys: of both ends.
        settings: how long to wait.
        agent_path: socket, on this side, of the ssh-agent that sessions on this link may use. A link cannot
            tell whose session asks, so one with an agent must not be shared between connections.

    Raises:
        EnvironmentBrokenError: its sshd does not answer in time, or as it should.
        EngineUnavailableError: as `Engine.open_stream`.
    """
    client = _LinkClient()
    try:
        async with asyncio.timeout(settings.open_timeout_s):
            connection = await asyncssh.connect(
                "environment",
                tunnel=cast("str", _EngineTunnel(engine, environment)),  # any object with create_connection
                client_factory=lambda: client,
                username=identity.name,
                client_keys=[keys.client],
                known_hosts=([keys.host.convert_to_public()], [], []),
                server_host_key_algs=["ssh-ed25519"],
                kex_algs=["curve25519-sha256"],
                encryption_algs=["aes128-gcm@openssh.com"],
                compression_algs=None,
                # Rekeying is left to asyncssh's defaults, 1 GiB and 1 h: rare enough to cost no speed.
                preferred_auth=["publickey"],
                agent_path=None,
                agent_forwarding=agent_path or False,
                config=None,
            )
            bound_connection(connection)
    except TimeoutError as error:
        _log.warning("link_timed_out", userhash=identity.userhash, timeout_s=settings.open_timeout_s)
        raise EnvironmentBrokenError("your environment does not answer; try again in a moment") from error
    except (asyncssh.Error, OSError) as error:
        _log.warning("link_failed", userhash=identity.userhash, cause=str(error))
        raise EnvironmentBrokenError("your environment cannot be entered") from error
    return Link(
        connection,
        client.lost,
        forwards_agent=agent_path is not None,
        session_timeout_s=settings.session_timeout_s,
    )
