"""Channels by the hundred on one connection, and commands that end before anybody expects it."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.installation import Client, Server, wait_until

ROUNDS = 3
CHANNELS = 100
AT_ONCE = 10
"""OpenSSH's own MaxSessions: what a client may count on."""


@pytest.fixture
def shared_connection(alice: Client) -> Iterator[list[str]]:
    """Options that go through one connection, made here; the socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        control = ["-o", f"ControlPath={directory}/%C"]
        with alice.open(options=[*control, "-M", "-N"]) as master:
            # It has another name first: who asks too early makes a connection of its own.
            check = [*control, "-O", "check"]
            wait_until(lambda: alice.run(options=check).returncode == 0, what="the control socket")
            yield control
            assert master.poll() is None


def open_files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def processes(alice: Client) -> int:
    """How many processes the environment has, in the eyes of one command."""
    return int(alice.output("ps -e --no-headers | wc -l"))


def test_a_hundred_channels_three_times_over(
    alice: Client, server: Server, shared_connection: list[str]
) -> None:
    processes_before = processes(alice)
    files_after_one_round = None
    logged_before = len(server.log)

    def one(number: int) -> tuple[int, bytes, bytes]:
        done = alice.run(f"echo {number}; exit {number}", options=shared_connection)
        return done.returncode, done.stdout, done.stderr

    for _ in range(ROUNDS):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            results = list(pool.map(one, range(CHANNELS)))
        assert results == [(number, f"{number}\n".encode(), b"") for number in range(CHANNELS)]
        files_after_one_round = files_after_one_round or open_files(server)

    assert alice.output("echo still here", options=shared_connection) == "still here\n"
    log = server.log[logged_before:]
    assert '"event": "login"' not in log  # it was one connection
    assert "session_" not in log  # neither failed nor crashed
    # A file for each channel would be hundreds. The pools of the database and the engine may have grown, and
    # some files are open for a moment only.
    assert files_after_one_round is not None
    allowed = files_after_one_round + CHANNELS // 5
    wait_until(lambda: open_files(server) <= allowed, what="the end of what the channels had")
    wait_until(lambda: processes(alice) <= processes_before, what="the environment's processes")


@pytest.mark.parametrize(("command", "status"), [("exit 3", 3), ("kill -KILL $$", 255)])
def test_input_for_a_command_that_has_already_ended_is_no_failure(
    alice: Client, server: Server, shared_connection: list[str], command: str, status: int
) -> None:
    logged_before = len(server.log)

    ends = {alice.run(command, stdin=b"unread\n", options=shared_connection).returncode for _ in range(20)}

    assert ends == {status}
    assert "session_crashed" not in server.log[logged_before:]
