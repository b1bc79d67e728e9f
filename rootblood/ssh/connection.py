"""One SSH connection: what asyncssh asks about it, and the tasks of what goes on over it.

Who is logged in is in `login`, what is done for a session channel in `sessions`, for a forwarded one in
`forwarding`; whether a proof is good is decided in `auth`.
"""

import asyncio
import itertools
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh
import structlog
from typing_extensions import override

from rootblood.domain.audit import Actor, Door
from rootblood.link.channel import bound_connection
from rootblood.link.relay import RelayEnd
from rootblood.services.accounts import Accounts
from rootblood.services.bans import Bans
from rootblood.services.environments import Environments
from rootblood.services.exports import Exports
from rootblood.services.metrics import LoginOutcome, Metrics
from rootblood.services.penalties import Penalties
from rootblood.services.visits import Visits
from rootblood.settings import ForwardingSettings, SSHSettings
from rootblood.ssh.acknowledgement import PromptAcknowledgement
from rootblood.ssh.auth import Authentication
from rootblood.ssh.channel import SessionChannel
from rootblood.ssh.failures import explanation
from rootblood.ssh.forwarding import Forwarding, forwarding_settings
from rootblood.ssh.greeting import Texts
from rootblood.ssh.keyexchange import RekeyTimer, ignore_wrong_guesses
from rootblood.ssh.login import Login
from rootblood.ssh.requested import RequestedSession
from rootblood.ssh.selectors import Selector, parse_username
from rootblood.ssh.sessions import Sessions

if TYPE_CHECKING:
    from rootblood.ssh.server import SSHDoor

_log = structlog.stdlib.get_logger(__name__)
_numbers = itertools.count(1)

_Result = TypeVar("_Result")
_BANNED = "this network may not come in; ask your administrator"

_NOTHING = ForwardingSettings(local=False, remote=False, streamlocal=False, agent=False)
"""What a connection to the front door itself, rescue or export, may forward."""


class Connection(asyncssh.SSHServer):
    """What asyncssh asks about a connection, answered.

    Args:
        door: whose connection this is; it keeps the set of open ones and a task for each.
    """

    def __init__(
        self,
        door: "SSHDoor",
        *,
        accounts: Accounts,
        environments: Environments,
        exports: Exports,
        visits: Visits,
        penalties: Penalties,
        bans: Bans,
        metrics: Metrics,
        texts: Texts,
        settings: SSHSettings,
    ) -> None:
        self._door = door
        self._accounts = accounts
        self.environments = environments
        self.exports = exports
        self.visits = visits
        self._penalties = penalties
        self._bans = bans
        self._metrics = metrics
        self.texts = texts
        self.settings = settings
        self.log = _log.bind(connection_id=next(_numbers))
        self._connection: asyncssh.SSHServerConnection
        self._auth: Authentication
        self._acknowledgement: PromptAcknowledgement
        self._rekey_timer: RekeyTimer | None = None
        self._tasks = asyncio.TaskGroup()
        self._policy: ForwardingSettings
        self._forwarding: Forwarding
        self._banner_sent = False
        self.login = Login(self, accounts)
        self.sessions = Sessions(self)
        self.peer = "?"
        """Address of the client."""

        self.since = datetime.now(UTC)
        self.closed = asyncio.Event()

    @override
    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self.peer = str(conn.get_extra_info("peername", ("?",))[0])
        self.log = self.log.bind(peer=self.peer)
        if self._bans.on(self.peer) is not None:
            # Not a byte, and no task: a flood from there is to cost next to nothing.
            self._metrics.turned_away(Door.SSH)
            conn.abort()
            return
        self._metrics.connected(Door.SSH)
        ignore_wrong_guesses(conn)
        self._acknowledgement = PromptAcknowledgement(conn)
        self._rekey_timer = RekeyTimer(conn, self.settings.rekey_timeout_s)
        self._auth = Authentication(
            self._accounts,
            self._penalties,
            self.peer,
            self.settings.max_auth_tries,
            self.log,
            metrics=self._metrics,
        )
        bound_connection(conn)
        self._door.opened(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._rekey_timer is None:  # turned away
            self.log.debug("connection_turned_away")
            return
        self._rekey_timer.cancel()
        self.sessions.departure.over()
        self.log.info("connection_closed", cause=str(exc) if exc else None)
        self.closed.set()

    async def run(self) -> None:
        """Hold the tasks of this connection's sessions until it is closed and they have cleaned up."""
        try:
            async with self._tasks:
                await self.closed.wait()
        except Exception:
            # The edge: a defect that one connection brought to light must not end the others.
            self.log.exception("connection_crashed")
            self._connection.abort()

    def start(self, work: Coroutine[Any, Any, _Result]) -> "asyncio.Task[_Result]":
        """Run a session's work as a task of this connection."""
        return self._tasks.create_task(work)

    @property
    def account_name(self) -> str:
        """Name of the account that logged in; empty before that."""
        return self.login.account_name

    @property
    def actor(self) -> Actor:
        """Who asks for what is done over this connection."""
        return Actor(Door.SSH, self.peer)

    @property
    def activities(self) -> Sequence[str]:
        """What the sessions of this connection run; commands are the client's own text."""
        return self.sessions.activities

    def siblings(self) -> "Sequence[Connection]":
        """The connections of this account at this server, this one among them, oldest first."""
        return self._door.connections_of(self.account_name)

    def drain(self, drain_s: float) -> None:
        """Leave as soon as nothing is lost with it; as `Departure.begin`."""
        self.sessions.departure.begin(drain_s)

    def close(self) -> None:
        """Tell the client that the server stops, and close; as `Departure.finish`."""
        self.sessions.departure.finish()

    def disconnect(self, code: int, reason: str) -> None:
        """Close it, with what is open on it.

        Args:
            code: RFC 4253 section 11.1.
            reason: told to the client.
        """
        self._connection.disconnect(code, reason)

    def leave_if_banned(self) -> None:
        """Close the connection, should it come from a network that is banned by now."""
        if self._bans.on(self.peer) is None:
            return
        self.log.info("banned_shown_out", account=self.account_name)
        if self.login.is_complete:
            self.disconnect(asyncssh.DISC_BY_APPLICATION, _BANNED)
        else:
            self._connection.abort()

    # Authentication. What is decided here is only ever yes or no: see rootblood.ssh.auth.

    @override
    def begin_auth(self, username: str) -> bool:
        if self.texts.banner is not None and not self._banner_sent:  # asked again for each other name
            self._banner_sent = True
            self._connection.send_auth_banner(self.texts.banner)
        return True

    @override
    def public_key_auth_supported(self) -> bool:
        return True

    @override
    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._counted(await self._auth.key(_account_name(username), key.public_data))

    @override
    def password_auth_supported(self) -> bool:
        return True

    @override
    async def validate_password(self, username: str, password: str) -> bool:
        return self._counted(await self._auth.password(_account_name(username), password))

    @override
    def kbdint_auth_supported(self) -> bool:
        return True

    @override
    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, list[tuple[str, bool]]]:
        del username, lang, submethods
        return "", "", "en", [("Password: ", False)]

    @override
    async def validate_kbdint_response(
        self, username: str, responses: "asyncssh.auth.KbdIntResponse"
    ) -> bool:
        # Another number of answers than was asked for is a wrong password, and counts as one.
        password = responses[0] if len(responses) == 1 else ""
        return self._counted(await self._auth.password(_account_name(username), password))

    @override
    def auth_completed(self) -> None:
        self.login.complete(parse_username(self._connection.get_extra_info("username")), self._auth.method)
        name, place = self.account_name, self.login.selector
        inside = place is Selector.ENVIRONMENT
        self._policy = forwarding_settings(self.settings, name) if inside else _NOTHING
        self._forwarding = Forwarding(self, self._policy)
        self._metrics.login(Door.SSH, LoginOutcome.ACCEPTED)
        self.log.info("login", account=name, place=place.value, method=self._auth.method)

    def _counted(self, accepted: bool) -> bool:  # noqa: FBT001 - a filter on the answer
        if self._auth.exhausted:
            self.disconnect(asyncssh.DISC_PROTOCOL_ERROR, "Too many authentication failures")
        elif self._auth.unavailable is not None:
            self.disconnect(
                asyncssh.DISC_SERVICE_NOT_AVAILABLE, explanation(self._auth.unavailable, self.account_name)
            )
        return accepted

    # Channels.

    def _begin_channel(self) -> None:
        """What comes before each channel that the client asks for. Raises as `Departure.require_channel`."""
        self._acknowledgement.stop()
        self.sessions.departure.require_channel()

    @override
    def session_requested(self) -> tuple[SessionChannel, RequestedSession]:
        self._begin_channel()
        return self.sessions.open(self._connection, allow_agent=self._policy.agent)

    @override
    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Any:  # an awaitable session, which asyncssh takes but does not declare
        del orig_host, orig_port
        self._begin_channel()
        return self._forwarding.dial(dest_host, dest_port)

    @override
    def unix_connection_requested(self, dest_path: str) -> Any:
        self._begin_channel()
        return self._forwarding.dial_unix(dest_path)

    @override
    async def server_requested(self, listen_host: str, listen_port: int) -> asyncssh.SSHListener | bool:
        return await self._forwarding.listen(listen_host, listen_port)

    async def accept_forwarded(
        self, end: RelayEnd, listening: tuple[str, int], origin: tuple[str, int]
    ) -> None:
        """Open a stream to the client for a connection to a port that it had us listen on.

        Raises:
            asyncssh.ChannelOpenError: the client does not want it.
        """
        await self._connection.create_connection(lambda: end, *listening, *origin)


def _account_name(username: str) -> str:
    """The account that a client names, or what is no account's name and is refused as such."""
    target = parse_username(username)
    return target.account_name if target is not None else ""
