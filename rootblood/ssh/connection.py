"""One SSH connection: its authentication, the account behind it, and the tasks of its sessions."""

import asyncio
import itertools
import math
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh
import structlog
from asyncssh.constants import OPEN_RESOURCE_SHORTAGE
from typing_extensions import override

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Actor, Door
from rootblood.domain.leases import LeaseKind
from rootblood.errors import NotFoundError, RootBloodError, StoreUnavailableError
from rootblood.link.channel import bound_connection
from rootblood.link.relay import RelayEnd
from rootblood.link.waiting import first_of
from rootblood.services.accounts import Accounts
from rootblood.services.bans import Bans
from rootblood.services.environments import Environments
from rootblood.services.exports import Exports
from rootblood.services.metrics import LoginOutcome, Metrics
from rootblood.services.penalties import Penalties
from rootblood.services.visits import Arrival, News, Visits
from rootblood.settings import ForwardingSettings, SSHSettings
from rootblood.ssh.acknowledgement import PromptAcknowledgement
from rootblood.ssh.auth import Authentication
from rootblood.ssh.channel import SessionChannel
from rootblood.ssh.departure import RESTARTING, Departure
from rootblood.ssh.drive_session import DriveSession
from rootblood.ssh.environment import ClientEnvironment
from rootblood.ssh.failures import explanation
from rootblood.ssh.forwarding import Forwarding, forwarding_settings
from rootblood.ssh.greeting import Texts
from rootblood.ssh.keyexchange import RekeyTimer, ignore_wrong_guesses
from rootblood.ssh.requested import RequestedSession
from rootblood.ssh.rescue import RescueSession
from rootblood.ssh.selectors import Selector, Target, parse_username
from rootblood.ssh.session import ClientSession

if TYPE_CHECKING:
    from rootblood.ssh.server import SSHDoor

_log = structlog.stdlib.get_logger(__name__)
_numbers = itertools.count(1)

_Result = TypeVar("_Result")
_ACCOUNT_FRESH_S = 1.0
_BANNED = "this network may not come in; ask your administrator"
_SHOWN_OUT = "this account may no longer log in; ask your administrator"

_NOTHING = ForwardingSettings(local=False, remote=False, streamlocal=False, agent=False)
"""What a connection to the front door itself, rescue or export, may forward."""

_SESSIONS: dict[Selector, type[RequestedSession]] = {
    Selector.ENVIRONMENT: ClientSession,
    Selector.EXPORT: DriveSession,
    Selector.RESCUE: RescueSession,
}


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
        self._arrival: asyncio.Task[Arrival | None]
        self._sessions: set[RequestedSession] = set()
        self._target: Target | None = None
        self._account: Account | None = None
        self._looked_up_at = -math.inf
        self._looking_up = asyncio.Lock()
        self._lease: asyncio.Future[None] | None = None
        """Done once others know of the use of the environment, an error where they cannot; None before it."""

        self.peer = "?"
        """Address of the client."""

        self.since = datetime.now(UTC)
        self._doubt = asyncio.Event()
        """Whether the account may be here has to be asked now."""

        self._departure = Departure(self._sessions, self._disconnect)
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
        self._departure.over()
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

    def session_started(self, session: RequestedSession) -> None:
        """Run what `session_requested` made."""
        if self._departure.has_begun and not session.is_waited_for:
            session.leave()
        else:
            self.start(session.run())

    def session_closed(self, session: RequestedSession) -> None:
        """Forget what `session_requested` made."""
        self._sessions.discard(session)
        self._departure.session_ended()

    @property
    def account_name(self) -> str:
        """Name of the account that logged in; empty before that."""
        return self._target.account_name if self._target is not None else ""

    @property
    def _selector(self) -> Selector:
        return self._target.selector if self._target is not None else Selector.ENVIRONMENT

    @property
    def actor(self) -> Actor:
        """Who asks for what is done over this connection."""
        return Actor(Door.SSH, self.peer)

    @property
    def activities(self) -> Sequence[str]:
        """What the sessions of this connection run; commands are the client's own text."""
        return [session.activity for session in self._sessions]

    def siblings(self) -> "Sequence[Connection]":
        """The connections of this account at this server, this one among them, oldest first."""
        return self._door.connections_of(self.account_name)

    def show(self, text: str) -> None:
        """Show a line on the terminals that are in the environment."""
        for session in self._sessions:
            if isinstance(session, ClientSession):
                session.show(text)

    @property
    def userhash(self) -> str:
        """Of the account that logged in; empty where that was not looked up yet."""
        return self._account.userhash if self._account is not None else ""

    def drain(self, drain_s: float) -> None:
        """Leave as soon as nothing is lost with it; as `Departure.begin`."""
        self._departure.begin(drain_s)

    def close(self) -> None:
        """Tell the client that the server stops, and close; as `Departure.finish`."""
        self._departure.finish()

    def _disconnect(self) -> None:
        self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, RESTARTING)

    def leave_if_banned(self) -> None:
        """Close the connection, should it come from a network that is banned by now."""
        if self._bans.on(self.peer) is None:
            return
        self.log.info("banned_shown_out", account=self.account_name)
        if self._target is None:
            self._connection.abort()
        else:
            self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, _BANNED)

    @property
    def session_count(self) -> int:
        """How many sessions are open on it."""
        return len(self._sessions)

    def ask_again(self) -> None:
        """Ask now whether the account may still be here."""
        self._looked_up_at = -math.inf
        self._doubt.set()

    async def account(self) -> Account:
        """The account that logged in, as it was a second ago at most: it may have been locked since.

        Raises:
            NotFoundError: it may no longer log in.
            StoreUnavailableError: nobody can tell.
        """
        async with self._looking_up:  # a login asks three times at once
            if time.monotonic() - self._looked_up_at > _ACCOUNT_FRESH_S:
                self._account = await self._accounts.active(self.account_name)
                self._looked_up_at = time.monotonic()
            account = self._account
        if account is None:
            raise NotFoundError(_SHOWN_OUT)
        return account

    async def entering(self) -> Account:
        """As `account`, for who is about to use its environment: that is known to the reaper from here on.

        Raises:
            NotFoundError, StoreUnavailableError: as `account`; the latter also where no lease can be had.
        """
        account = await self.account()
        await asyncio.shield(self._claim())
        return account

    def _claim(self) -> asyncio.Future[None]:
        """Say that this connection uses the environment, once, until it is closed; returns `_lease`."""
        if self._lease is None:
            self._lease = asyncio.get_running_loop().create_future()
            self.start(self._hold(self._lease))
        return self._lease

    async def _hold(self, lease: asyncio.Future[None]) -> None:
        """Hold a lease on the environment for as long as the connection is open."""
        try:
            account = await self.account()
            detail = f"{self._selector.value} from {self.peer}".lstrip()
            async with self.environments.used(account, LeaseKind.SSH, detail):
                lease.set_result(None)
                await self.closed.wait()
        except RootBloodError as error:
            self.log.warning("lease_not_held", cause=str(error))
            lease.set_exception(error)
            lease.exception()  # there may be nobody who wants to enter

    async def _watch_account(self) -> None:
        """Close the connection once its account may not be here any more."""
        while not self.closed.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.recheck_s):
                    await first_of(self._doubt.wait(), self.closed.wait())
            self._doubt.clear()
            try:
                await self.account()
            except NotFoundError:
                self.log.info("account_shown_out")
                self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, _SHOWN_OUT)
                return
            except StoreUnavailableError as error:  # who is in already stays while nobody can tell
                self.log.warning("account_not_asked_again", cause=str(error))

    async def news(self, account: Account) -> News:
        """What to tell the account on a terminal of this connection."""
        return await self.visits.news(account, self._arrival)

    async def _arrive(self) -> Arrival | None:
        try:
            account = await self.account()
        except RootBloodError:
            return None  # nobody to be told: every session fails, and says why
        place = self._selector.value
        method = f"{self._auth.method}, {place}" if place else self._auth.method
        return await self.visits.arrive(account, by=self.actor, method=method)

    async def _open_link_ahead(self) -> None:
        """Open the link that the client's first channel will ask for in a moment; the pool keeps it."""
        try:
            async with self.environments.link(await self.entering(), by=self.actor):
                pass
        except RootBloodError as error:
            # Whoever needs it tries again, and is told.
            self.log.info("link_not_opened_ahead", cause=str(error))

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
        self._target = parse_username(self._connection.get_extra_info("username"))
        name = self.account_name
        inside = self._selector is Selector.ENVIRONMENT
        self._policy = forwarding_settings(self.settings, name) if inside else _NOTHING
        self._forwarding = Forwarding(self, self._policy)
        self._metrics.login(Door.SSH, LoginOutcome.ACCEPTED)
        self.log.info("login", account=name, place=self._selector.value, method=self._auth.method)
        if self._selector is not Selector.EXPORT:  # each tarball holds one of its own
            self._claim()
        if inside:
            self.start(self._open_link_ahead())
        self._arrival = self.start(self._arrive())
        self.start(self._watch_account())

    def _counted(self, accepted: bool) -> bool:  # noqa: FBT001 - a filter on the answer
        if self._auth.exhausted:
            self._connection.disconnect(asyncssh.DISC_PROTOCOL_ERROR, "Too many authentication failures")
        elif self._auth.unavailable is not None:
            self._connection.disconnect(
                asyncssh.DISC_SERVICE_NOT_AVAILABLE, explanation(self._auth.unavailable, self.account_name)
            )
        return accepted

    # Channels.

    def _begin_channel(self) -> None:
        """What comes before each channel that the client asks for. Raises as `Departure.require_channel`."""
        self._acknowledgement.stop()
        self._departure.require_channel()

    @override
    def session_requested(self) -> tuple[SessionChannel, RequestedSession]:
        self._begin_channel()
        if len(self._sessions) >= self.settings.max_sessions:
            self.log.warning("session_refused", cause="too many sessions")
            raise asyncssh.ChannelOpenError(
                OPEN_RESOURCE_SHORTAGE, "too many sessions on this connection; close one, or connect anew"
            )
        environment = ClientEnvironment(self.settings.max_env, self.settings.max_env_bytes)
        channel = SessionChannel(self._connection, environment, allow_agent=self._policy.agent)
        session = _SESSIONS[self._selector](self, environment)
        self._sessions.add(session)
        return channel, session

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
