"""A stand-in for the image's `enter`: an SSH server on its standard input, which is a socket.

Run with the directory that holds `ssh_host_ed25519_key` and `authorized_keys`. A command is answered by its
own text, and the status 0. UNIX sockets are those of its working directory, whatever directory is asked for.
"""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import asyncssh


def answer(process: "asyncssh.SSHServerProcess[str]") -> None:
    process.stdout.write(process.command or "")
    process.exit(0)


async def pump(reader: asyncio.StreamReader, writer: "asyncssh.SSHWriter[bytes]") -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


class Server(asyncssh.SSHServer):
    def unix_connection_requested(self, dest_path: str) -> Any:
        path = Path(dest_path).name  # short, as a socket's must be
        if not Path(path).exists():
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "nobody listens there")

        async def forward(reader: "asyncssh.SSHReader[bytes]", writer: "asyncssh.SSHWriter[bytes]") -> None:
            try:
                from_ttyd, to_ttyd = await asyncio.open_unix_connection(path)
            except OSError:
                writer.close()
                return
            pumping = asyncio.ensure_future(pump(from_ttyd, writer))
            while data := await reader.read(65536):
                to_ttyd.write(data)
                await to_ttyd.drain()
            to_ttyd.close()
            await pumping
            writer.close()

        return forward


async def serve(directory: Path) -> None:
    connection = await asyncssh.run_server(
        socket.socket(fileno=0),
        server_host_keys=[str(directory / "ssh_host_ed25519_key")],
        authorized_client_keys=str(directory / "authorized_keys"),
        process_factory=answer,
        server_factory=Server,
    )
    await connection.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
