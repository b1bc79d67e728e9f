"""What one connection may have open, counted down as well as up; and storms that are calmed."""

import asyncio
import time

import asyncssh
import pytest

from rootblood.settings import SSHSettings
from tests.e2e.conftest import client_of, connect
from tests.e2e.installation import Client, Installation

RESIZES = 20_000  # as fast as a client can: on a small machine in 1.4 s

COUNT_RESIZES = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
print("ready", flush=True)
seen = 0
while signal.sigwait({signal.SIGWINCH}):
    seen += 1
    print(seen, *os.get_terminal_size(), flush=True)
"""


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


@pytest.mark.serial
async def test_a_storm_of_resizes_is_coalesced_and_the_last_wins(alice: Client) -> None:
    async with asyncio.timeout(60), await connect(alice) as connection:
        await connection.run("true")  # so that no progress is shown
        process = await connection.create_process(
            f"exec python3 -c '{COUNT_RESIZES}'", term_type="xterm", term_size=(80, 24)
        )
        assert await process.stdout.readline() == "ready\r\n"
        begin = time.monotonic()
        for number in range(RESIZES):
            process.change_terminal_size(100 + number % 50, 30)
            if number % 100 == 0:
                await asyncio.sleep(0)  # let them go out
        process.change_terminal_size(111, 33)
        while (seen := (await process.stdout.readline()).split())[1:] != ["111", "33"]:
            assert seen
        lasted_s = time.monotonic() - begin
        process.close()

    assert 1 < int(seen[0]) <= lasted_s / SSHSettings().resize_interval_s + 3
