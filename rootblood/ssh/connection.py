"""One SSH connection: its authentication, the account behind it, and the tasks of its sessions."""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import asyncssh
import structlog
from typing_extensions import override

from rootblood.domain.accounts import Account
from rootblood.errors import NotFoundError
from rootblood.services.accounts import Accounts
from rootblood.services.environments import Environments
from rootblood.settings import SSHSettings
from rootblood.ssh.auth import Authentication
from rootblood.ssh.channel import SessionChannel
from rootblood.ssh.environment import ClientEnvironment
from rootblood.ssh.keyexchange import ignore_wrong_guesses
from rootblood.ssh.session import ClientSession

if TYPE_CHECKING:
    from rootblood.ssh.server import SSHDoor

_log = structlog.stdlib.get_logger(__name__)
_numbers = itertools.count(1)


class Connection(asyncssh.SSHServer):
    """What asyncssh asks about a connection, answered.

    Args:
        door: whose connection this is; it keeps the set of open ones and a task for each.
    """

    def __init__(
        self, door: "SSHDoor", *, accounts: Accounts, environments: Environments, settings: SSHSettings
    ) -> None:
        self._door = door
        self._accounts = accounts
        self.environments = environments
        self.settings = settings
        self.log = _log.bind(connection_id=next(_numbers))
        self._connection: asyncssh.SSHServerConnection
        self._auth: Authentication
        self._tasks = asyncio.TaskGroup()
        self._closed = asyncio.Event()

    @override
    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        ignore_wrong_guesses(conn)
        self.log = self.log.bind(peer=str(conn.get_extra_info("peername", ("?",))[0]))
        self._auth = Authentication(self._accounts, self.settings.max_auth_tries, self.log)
        self._door.opened(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.log.info("connection_closed", cause=str(exc) if exc else None)
        self._closed.set()

    async def run(self) -> None:
        """Hold the tasks of this connection's sessions until it is closed and they have cleaned up."""
        async with self._tasks:
            await self._closed.wait()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a session's work as a task of this connection."""
        self._tasks.create_task(work)

    def close(self) -> None:
        """Tell the client, and close."""
        self._connection.close()

    async def account(self) -> Account:
        """The account that logged in, as it is now: it may have been locked since.

        Raises:
            NotFoundError: it may no longer log in.
            StoreUnavailableError: nobody can tell.
        """
        account = await self._accounts.active(self._connection.get_extra_info("username"))
        if account is None:
            raise NotFoundError("this account may no longer log in; ask your administrator")
        return account

    # Authentication. What is decided here is only ever yes or no: see rootblood.ssh.auth.

    @override
    def begin_auth(self, username: str) -> bool:
        return True

    @override
    def public_key_auth_supported(self) -> bool:
        return True

    @override
    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._counted(await self._auth.key(username, key.public_data))

    @override
    def password_auth_supported(self) -> bool:
        return True

    @override
    async def validate_password(self, username: str, password: str) -> bool:
        return self._counted(await self._auth.password(username, password))

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
        return len(responses) == 1 and self._counted(await self._auth.password(username, responses[0]))

    @override
    def auth_completed(self) -> None:
        self.log.info("login", account=self._connection.get_extra_info("username"), method=self._auth.method)

    def _counted(self, accepted: bool) -> bool:  # noqa: FBT001 - a filter on the answer
        if self._auth.exhausted:
            self._connection.disconnect(asyncssh.DISC_PROTOCOL_ERROR, "Too many authentication failures")
        return accepted

    # Channels.

    @override
    def session_requested(self) -> tuple[SessionChannel, ClientSession]:
        environment = ClientEnvironment(self.settings.max_env, self.settings.max_env_bytes)
        return SessionChannel(self._connection, environment), ClientSession(self, environment)
