"""asyncssh."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
from typing_extensions import override

from tests.e2e.clients.base import TERMINAL, TIMEOUT_S, Done, Login, RealClient


class AsyncSSH(RealClient):
    """asyncssh as a client."""

    name = "asyncssh"
    copies = ("sftp", "scp")

    @asynccontextmanager
    async def connected(self, login: Login) -> AsyncIterator[asyncssh.SSHClientConnection]:
        async with (
            asyncio.timeout(TIMEOUT_S),
            asyncssh.connect(
                "127.0.0.1",
                login.port,
                username=login.name,
                password=None if login.key else login.password,
                client_keys=[str(login.key)] if login.key else None,
                known_hosts=login.known_hosts,
                agent_path=None,
                config=None,
            ) as connection,
        ):
            yield connection

    @override
    def run(self, login: Login, command: str, stdin: bytes = b"") -> Done:
        async def work() -> Done:
            async with self.connected(login) as connection:
                done = await connection.run(command, input=stdin, encoding=None)
                assert isinstance(done.stdout, bytes)
                assert isinstance(done.stderr, bytes)
                return Done(-1 if done.exit_status is None else done.exit_status, done.stdout, done.stderr)

        return asyncio.run(work())

    @override
    def on_terminal(self, login: Login, command: str, columns: int, rows: int) -> bytes:
        async def work() -> bytes:
            async with self.connected(login) as connection:
                done = await connection.run(
                    command, encoding=None, term_type=TERMINAL, term_size=(columns, rows)
                )
                assert isinstance(done.stdout, bytes)
                return done.stdout

        return asyncio.run(work())

    @override
    def put(self, login: Login, way: str, local: Path, remote: str) -> None:
        async def work() -> None:
            async with self.connected(login) as connection:
                if way == "scp":
                    await asyncssh.scp(str(local), (connection, remote))
                else:
                    async with connection.start_sftp_client() as sftp:
                        await sftp.put(str(local), remote)

        asyncio.run(work())

    @override
    def get(self, login: Login, way: str, remote: str, local: Path) -> None:
        async def work() -> None:
            async with self.connected(login) as connection:
                if way == "scp":
                    await asyncssh.scp((connection, remote), str(local))
                else:
                    async with connection.start_sftp_client() as sftp:
                        await sftp.get(remote, str(local))

        asyncio.run(work())
