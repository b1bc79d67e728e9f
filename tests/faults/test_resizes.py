"""A storm of resizes is calmed."""

import asyncio
import time

from rootblood.settings import SSHSettings
from tests.e2e.conftest import connect
from tests.e2e.installation import Client

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

    assert int(seen[0]) <= lasted_s / SSHSettings().resize_interval_s + 3
