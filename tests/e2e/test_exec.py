"""`ssh host command`: bytes in, bytes out, and the status of the command."""

import hashlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation

HUNDRED_MB = 100_000_000


def test_runs_as_the_account_in_its_home(installation: Installation, alice: Client) -> None:
    done = alice.run("id -u; pwd; echo err >&2; exit 7")

    uid, home = done.stdout.decode().splitlines()
    assert int(uid) >= 20000
    assert home == f"/home/{installation.userhash('alice')}"
    assert done.stderr == b"err\n"
    assert done.returncode == 7


def test_names_resolve(alice: Client) -> None:
    assert alice.output("id -un; id -gn; echo $USER; whoami") == "alice\n" * 4


@pytest.mark.parametrize("status", [0, 1, 2, 126, 127, 254, 255])
def test_exit_status(alice: Client, status: int) -> None:
    assert alice.run(f"exit {status}").returncode == status


def test_death_by_signal_is_told(alice: Client) -> None:
    done = alice.run("kill -KILL $$")

    assert done.returncode == 255  # OpenSSH's client has no other status for an exit signal


def test_both_commands_of_a_line_run(alice: Client) -> None:
    assert alice.output("/bin/echo a > f; /bin/echo b; cat f; rm f") == "b\na\n"


def test_a_command_outlives_the_end_of_its_input(alice: Client) -> None:
    done = subprocess.run(
        alice.argv("sleep 1; echo ok"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=CLIENT_TIMEOUT_S,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, b"ok\n")


def test_end_of_input_reaches_the_command_and_its_output_goes_on(alice: Client) -> None:
    assert alice.run("cat; echo after", stdin=b"before\n").stdout == b"before\nafter\n"


def test_a_hundred_megabytes_there_and_back(alice: Client) -> None:
    data = os.urandom(1_000_000) * (HUNDRED_MB // 1_000_000)

    back = alice.run("cat", stdin=data)

    assert hashlib.sha256(back.stdout).hexdigest() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "argument",
    [
        b"caf\xc3\xa9",
        b"\xff\xfe\x80",
        b"a;b|c&d$(e)`f`",
        b"two\nlines",
        b"\"quoted\" 'twice'",
        b"\x1b[31m\x07",
    ],
    ids=["utf-8", "invalid utf-8", "shell characters", "newline", "quotes", "escapes"],
)
def test_arguments_arrive_byte_for_byte(alice: Client, argument: bytes) -> None:
    quoted = b"'" + argument.replace(b"'", b"'\\''") + b"'"

    assert alice.run(b"printf %s " + quoted).stdout == argument


def test_a_command_of_100_kb(alice: Client) -> None:
    argument = b"x" * 100_000

    assert alice.run(b"printf %s " + argument).stdout == argument


def test_a_command_that_ignores_its_input_keeps_its_status(alice: Client) -> None:
    statuses = {alice.run("exit 3", stdin=bytes(200_000)).returncode for _ in range(20)}

    assert statuses == {3}


def test_stdout_and_stderr_stay_apart_in_bulk(alice: Client) -> None:
    done = alice.run("head -c 3000000 /dev/zero | tr '\\0' o; head -c 3000000 /dev/zero | tr '\\0' e >&2")

    assert (done.stdout, done.stderr) == (b"o" * 3_000_000, b"e" * 3_000_000)


def test_only_locale_and_colour_variables_pass(alice: Client) -> None:
    done = alice.run(
        "env",
        options=[
            "-o",
            "SetEnv=LC_TIME=C.UTF-8 COLORTERM=truecolor LD_PRELOAD=/x BASH_ENV=/x GIT_SSH_COMMAND=x",
        ],
    )

    names = {line.partition(b"=")[0] for line in done.stdout.splitlines()}
    assert {b"LC_TIME", b"COLORTERM"} <= names
    assert names.isdisjoint({b"LD_PRELOAD", b"BASH_ENV", b"GIT_SSH_COMMAND"})


@pytest.fixture
def control() -> Iterator[list[str]]:
    """Options that share one connection; the socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        yield ["-o", "ControlMaster=auto", "-o", f"ControlPath={directory}/%C"]


def test_many_channels_on_one_connection(alice: Client, control: list[str]) -> None:
    with alice.open("cat", options=control) as master:
        assert master.stdin is not None
        assert master.stdout is not None
        master.stdin.write(b"up\n")
        master.stdin.flush()
        assert master.stdout.readline() == b"up\n"
        with ExitStack() as stack:
            clients = [
                stack.enter_context(alice.open(f"echo {number}; exit {number}", options=control))
                for number in range(10)
            ]
            outputs = [client.communicate(timeout=CLIENT_TIMEOUT_S)[0] for client in clients]

    assert outputs == [f"{number}\n".encode() for number in range(10)]
    assert [client.returncode for client in clients] == list(range(10))


def test_a_signal_from_the_client_reaches_the_command(alice: Client) -> None:
    with alice.open(
        "trap 'echo got it; exit 5' INT; echo ready; while :; do sleep 0.1; done", options=["-tt"]
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\r\n"
        client.stdin.write(b"\x03")
        client.stdin.flush()
        rest, _ = client.communicate(timeout=CLIENT_TIMEOUT_S)

    assert b"got it" in rest
    assert client.returncode == 5


def test_a_server_ended_by_ctrl_c_exits_cleanly_with_a_session_open(own_installation: Installation) -> None:
    with (
        own_installation.serving() as server,
        client_of(own_installation, server, "alice").open("echo up; cat") as client,
    ):
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"

        assert server.stop(signal.SIGINT) == 0
