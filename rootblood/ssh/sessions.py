"""The sessions of a connection: made by the place that a channel leads to, kept, and left with the server."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncssh
from asyncssh.constants import OPEN_RESOURCE_SHORTAGE

from rootblood.ssh.channel import SessionChannel
from rootblood.ssh.departure import RESTARTING, Departure
from rootblood.ssh.drive_session import DriveSession
from rootblood.ssh.environment import ClientEnvironment
from rootblood.ssh.requested import RequestedSession
from rootblood.ssh.rescue import RescueSession
from rootblood.ssh.selectors import Selector
from rootblood.ssh.session import ClientSession

if TYPE_CHECKING:
    from rootblood.ssh.connection import Connection

_AT: dict[Selector, type[RequestedSession]] = {
    Selector.ENVIRONMENT: ClientSession,
    Selector.EXPORT: DriveSession,
    Selector.RESCUE: RescueSession,
}


class Sessions:
    """Those of one connection."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._open: set[RequestedSession] = set()
        self.departure = Departure(
            self._open, lambda: connection.disconnect(asyncssh.DISC_BY_APPLICATION, RESTARTING)
        )

    def __len__(self) -> int:
        return len(self._open)

    @property
    def activities(self) -> Sequence[str]:
        """What they run; commands are the client's own text."""
        return [session.activity for session in self._open]

    def open(
        self, connection: asyncssh.SSHServerConnection, *, allow_agent: bool
    ) -> tuple[SessionChannel, RequestedSession]:
        """Make a channel of asyncssh's connection, and the session that serves it.

        Args:
            connection: it is a channel of.
            allow_agent: whether the client may forward its ssh-agent.

        Raises:
            asyncssh.ChannelOpenError: there are too many already.
        """
        settings = self._connection.settings
        if len(self._open) >= settings.max_sessions:
            self._connection.log.warning("session_refused", cause="too many sessions")
            raise asyncssh.ChannelOpenError(
                OPEN_RESOURCE_SHORTAGE, "too many sessions on this connection; close one, or connect anew"
            )
        environment = ClientEnvironment(settings.max_env, settings.max_env_bytes)
        channel = SessionChannel(connection, environment, allow_agent=allow_agent)
        session = _AT[self._connection.login.selector](self._connection, environment)
        self._open.add(session)
        return channel, session

    def started(self, session: RequestedSession) -> None:
        """Run what `open` made."""
        if self.departure.has_begun and not session.is_waited_for:
            session.leave()
        else:
            self._connection.start(session.run())

    def closed(self, session: RequestedSession) -> None:
        """Forget what `open` made."""
        self._open.discard(session)
        self.departure.session_ended()

    def show(self, text: str) -> None:
        """Show a line on the terminals that are in the environment."""
        for session in self._open:
            if isinstance(session, ClientSession):
                session.show(text)
