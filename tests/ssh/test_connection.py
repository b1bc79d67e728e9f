"""One connection's defect is that connection's alone."""

import asyncio
from typing import cast

import asyncssh
import pytest

from rootblood.services.accounts import Accounts
from rootblood.services.bans import Bans
from rootblood.services.environments import Environments
from rootblood.services.exports import Exports
from rootblood.services.metrics import UNMEASURED
from rootblood.services.penalties import Penalties
from rootblood.services.visits import Visits
from rootblood.settings import SSHSettings
from rootblood.ssh.connection import Connection
from rootblood.ssh.greeting import Texts
from rootblood.ssh.server import SSHDoor


@pytest.fixture
def no_blocking_calls() -> None:
    """Off: the traceback in the log is formatted from the source files."""


class Aborted:
    """What is left of a connection in the end."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_an_unexpected_error_ends_the_connection_and_nothing_else() -> None:
    connection = Connection(
        cast("SSHDoor", None),
        accounts=cast("Accounts", None),
        environments=cast("Environments", None),
        exports=cast("Exports", None),
        visits=cast("Visits", None),
        penalties=cast("Penalties", None),
        bans=cast("Bans", None),
        metrics=UNMEASURED,
        texts=Texts(),
        settings=SSHSettings(),
    )
    ended = Aborted()
    connection._connection = cast("asyncssh.SSHServerConnection", ended)

    async def fail() -> None:
        raise ValueError("nobody expected this")

    running = asyncio.ensure_future(connection.run())
    await asyncio.sleep(0)  # let it begin
    connection.start(fail())
    await running

    assert ended.aborted
