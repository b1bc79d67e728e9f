"""What one connection may have open, counted down as well as up."""

import asyncio

import asyncssh
import pytest

from tests.e2e.conftest import client_of, connect
from tests.e2e.installation import Installation


async def test_sessions_are_counted_up_and_down(own_installation: Installation) -> None:
    with own_installation.serving(ROOTBLOOD_SSH__MAX_SESSIONS="3") as server:
        async with await connect(client_of(own_installation, server, "alice")) as connection:
            for _ in range(3):
                open_ones = [await connection.create_process("cat") for _ in range(3)]
                with pytest.raises(asyncssh.ChannelOpenError, match="too many sessions"):
                    await connection.create_process("cat")
                for process in open_ones:
                    process.stdin.write_eof()
                    await process.wait_closed()


async def test_forwarded_streams_are_counted_up_and_down(own_installation: Installation) -> None:
    with own_installation.serving(ROOTBLOOD_SSH__MAX_FORWARDS="2") as server:
        async with await connect(client_of(own_installation, server, "alice")) as connection:
            await connection.run("setsid python3 -m http.server 8000 --bind 127.0.0.1 >/dev/null 2>&1 &")
            await connection.run("until curl -s localhost:8000 >/dev/null; do sleep 0.1; done", check=True)
            for _ in range(3):
                streams = await asyncio.gather(
                    *(connection.open_connection("localhost", 8000) for _ in range(2))
                )
                with pytest.raises(asyncssh.ChannelOpenError, match="too many forwarded"):
                    await connection.open_connection("localhost", 8000)
                for reader, writer in streams:
                    writer.write(b"GET / HTTP/1.0\r\n\r\n")
                    assert (await reader.read()).startswith(b"HTTP/1.0 200")
                for _, writer in streams:
                    writer.close()  # and the next two are asked for in the same breath
