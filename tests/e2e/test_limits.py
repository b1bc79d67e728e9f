"""What one connection may have open, counted down as well as up; and storms that are calmed."""

import asyncio
import re

import asyncssh
import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation, Server

RESIZES = 2000


async def connect(client: Client) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        "127.0.0.1",
        client.port,
        username=client.name,
        client_keys=[str(client.key)],
        known_hosts=None,
        agent_path=None,
        config=None,
    )


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


async def test_a_storm_of_resizes_is_coalesced_and_the_last_wins(alice: Client, server: Server) -> None:
    assert server.process.poll() is None
    count = "trap 'n=$((n+1))' WINCH; echo ready; while read -r line; do stty size; echo seen $n; done"
    async with await connect(alice) as connection:
        await connection.run("true")  # so that no progress is shown
        process = await connection.create_process(count, term_type="xterm", term_size=(80, 24))
        assert (await process.stdout.readline()).strip() == "ready"
        for number in range(RESIZES):
            process.change_terminal_size(100 + number % 50, 30)
        process.change_terminal_size(111, 33)
        while "33 111" not in (line := await _ask(process)):
            assert not process.stdout.at_eof(), line
        process.stdin.write("\n")
        seen = await process.stdout.readuntil(re.compile(r"seen \d*\r\n"))
        process.close()

    assert int(seen.split()[-1] or 0) < RESIZES / 10


async def _ask(process: "asyncssh.SSHClientProcess[str]") -> str:
    process.stdin.write("\n")
    return str(await process.stdout.readuntil(re.compile(r"\d+ \d+\r\n")))
