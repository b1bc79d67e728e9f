"""A stand-in for the image's `enter`: an SSH server on its standard input, which is a socket.

Run with the directory that holds `ssh_host_ed25519_key` and `authorized_keys`. A command is answered by its
own text, and the status 0.
"""

import asyncio
import socket
import sys
from pathlib import Path

import asyncssh


def answer(process: "asyncssh.SSHServerProcess[str]") -> None:
    process.stdout.write(process.command or "")
    process.exit(0)


async def serve(directory: Path) -> None:
    connection = await asyncssh.run_server(
        socket.socket(fileno=0),
        server_host_keys=[str(directory / "ssh_host_ed25519_key")],
        authorized_client_keys=str(directory / "authorized_keys"),
        process_factory=answer,
    )
    await connection.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
