"""A session whose client leaves while its way in is being found."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import asyncssh
import structlog

from rootblood.errors import EnvironmentFailedError
from rootblood.link.link import Link
from rootblood.ssh.connection import Connection
from rootblood.ssh.environment import ClientEnvironment
from rootblood.ssh.session import ClientSession


class LeftChannel:
    """What asyncssh leaves of a channel that is closed: it has no connection to ask."""

    def get_agent_path(self) -> str | None:
        raise AttributeError("'NoneType' object has no attribute 'get_agent_path'")

    def is_closing(self) -> bool:
        return True

    def exit(self, status: int) -> None:
        self.status = status


@dataclass
class LeftConnection:
    """The connection of such a channel; it has the way in closed, so that nothing goes on from there."""

    asked_for: list[str | None] = field(default_factory=list)
    account_name: str = "alice"
    actor: None = None
    log: Any = field(default_factory=structlog.stdlib.get_logger)

    @property
    def environments(self) -> "LeftConnection":
        return self

    @property
    def login(self) -> "LeftConnection":
        return self

    @property
    def sessions(self) -> "LeftConnection":
        return self

    async def entering(self) -> None:
        """Anybody may."""

    @asynccontextmanager
    async def link(self, account: None, *, agent_path: str | None, **others: object) -> AsyncIterator[Link]:
        del account, others
        self.asked_for.append(agent_path)
        raise EnvironmentFailedError("closed")
        yield

    def closed(self, session: ClientSession) -> None:
        """Nobody counts."""


async def test_a_client_that_leaves_meanwhile_is_not_asked_for_its_agent() -> None:
    connection = LeftConnection()
    session = ClientSession(cast("Connection", connection), ClientEnvironment(0, 0))
    session.connection_made(cast("asyncssh.SSHServerChannel[bytes]", LeftChannel()))
    session.connection_lost(None)

    with structlog.testing.capture_logs() as logged:
        await session.run()

    assert ["session_failed"] == [line["event"] for line in logged]
    assert [None] == connection.asked_for
