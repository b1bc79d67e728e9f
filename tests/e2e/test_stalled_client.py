"""A client that stops reading blocks the producer, and costs the server next to nothing."""

import signal
import subprocess
import sys
import time

from tests.e2e.installation import Client, Server
from tests.programs import running

ALLOWED_KIB = 32 * 1024

# A client that OpenSSH's would never be: it announces 2 GiB of window, reads a little, and is then stopped.
GREEDY = """
import asyncio, asyncssh, sys
port, name, key, command = sys.argv[1:]
class Session(asyncssh.SSHClientSession):
    seen = 0
    def data_received(self, data, datatype):
        if not self.seen:
            print('reading', flush=True)
        self.seen += len(data)
async def main():
    connection = await asyncssh.connect('127.0.0.1', int(port), username=name, client_keys=[key],
                                        known_hosts=None, agent_path=None, config=None)
    channel, _ = await connection.create_session(Session, command, encoding=None, window=2**31 - 1)
    await channel.wait_closed()
asyncio.run(main())
"""


def produced_bytes(alice: Client) -> int:
    """What the producer has written so far, by the kernel's count."""
    io = alice.output("grep ^wchar /proc/$(pgrep -x dd)/io")
    return int(io.split()[1])


def test_a_stopped_reader_with_a_huge_window(alice: Client, server: Server) -> None:
    alice.output("true")
    before = server.rss_kib
    arguments = [
        str(alice.port),
        alice.name,
        str(alice.key),
        "dd if=/dev/zero bs=64k count=60000 status=none",
    ]
    with running([sys.executable, "-c", GREEDY, *arguments], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"reading\n"
        client.send_signal(signal.SIGSTOP)

        # Blocked: between two looks the producer has written nothing more.
        amounts = [produced_bytes(alice)]
        deadline = time.monotonic() + 120
        while len(amounts) < 2 or amounts[-1] != amounts[-2]:
            assert time.monotonic() < deadline, f"the producer is not blocked: {amounts}"
            amounts.append(produced_bytes(alice))
        grown = server.rss_kib - before

    assert grown <= ALLOWED_KIB
    assert alice.output("echo well") == "well\n"
