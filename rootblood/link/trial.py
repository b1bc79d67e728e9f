"""Sees whether an environment can be used, by doing in it what each login begins with."""

import asyncio

import asyncssh
from typing_extensions import override

from rootblood.errors import EnvironmentFailedError
from rootblood.link.link import Link, SessionRequest

_PROGRAMS = "tmux ttyd tar zstd /usr/lib/rootblood/install-system"
_COMMAND = f'set -e; : >"$HOME/trial"; for program in {_PROGRAMS}; do command -v "$program"; done'.encode()
"""By the account's shell: in a home that can be written, and what the front door counts on is there."""

_MAX_SAID_BYTES = 4096


class _Trial(asyncssh.SSHClientSession[bytes]):
    def __init__(self) -> None:
        self.said = b""
        self.status: int | None = None
        self.ended = asyncio.Event()

    @override
    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self.said = (self.said + data)[-_MAX_SAID_BYTES:]

    @override
    def exit_status_received(self, status: int) -> None:
        self.status = status

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


async def try_session(link: Link, *, timeout_s: float) -> None:
    """Run a command over the link, as the account's sessions do.

    Args:
        link: into the environment that is tried.
        timeout_s: for how long the command may run; it takes milliseconds.

    Raises:
        EnvironmentFailedError: it did not end, or not with 0; the message has the last it said.
    """
    _, trial = await link.open_session(_Trial, SessionRequest(command=_COMMAND))
    try:
        async with asyncio.timeout(timeout_s):
            await trial.ended.wait()
    except TimeoutError as error:
        raise EnvironmentFailedError("a command in it does not end") from error
    if trial.status != 0:
        lines = trial.said.decode(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "nothing")
        raise EnvironmentFailedError(f"a command in it fails with status {trial.status} and says: {said}")
