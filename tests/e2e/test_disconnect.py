"""What is left in the environment when a client vanishes."""

import secrets
import signal

from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation, wait_until


def running(alice: Client, pattern: str) -> bool:
    """Whether a process with that in its command line runs in the environment."""
    return alice.output(f"pgrep -cf '[{pattern[0]}]{pattern[1:]}'; true") != "0\n"


def test_a_command_without_a_terminal_ends_with_its_client(alice: Client) -> None:
    length = f"1000.{secrets.randbelow(10**6):06}"
    with alice.open(f"echo up; sleep {length}") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        assert running(alice, f"sleep {length}")
        client.kill()

        wait_until(lambda: not running(alice, f"sleep {length}"))


def test_one_that_ignores_hup_and_term_ends_too(alice: Client) -> None:
    length = f"1000.{secrets.randbelow(10**6):06}"
    with alice.open(f"trap '' HUP TERM; echo up; sleep {length}; sleep {length}") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        client.kill()

        wait_until(lambda: not running(alice, f"sleep {length}"))


def test_a_command_on_a_terminal_ends_with_its_client(alice: Client) -> None:
    length = f"1000.{secrets.randbelow(10**6):06}"
    with alice.open(f"echo up; sleep {length}", options=["-tt"]) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\r\n"
        client.kill()

        wait_until(lambda: not running(alice, f"sleep {length}"))


def test_a_daemon_and_a_tmux_session_live_on(alice: Client) -> None:
    length = f"1000.{secrets.randbelow(10**6):06}"
    doomed = f"2000.{secrets.randbelow(10**6):06}"
    script = (
        f"setsid sleep {length} </dev/null >/dev/null 2>&1 & "
        f"tmux -L living new-session -d 'sleep {length}1'; "
        f"until pgrep -fx 'sleep {length}' >/dev/null; do sleep 0.1; done; echo up; sleep {doomed}"
    )
    with alice.open(script) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        client.kill()
        wait_until(lambda: not running(alice, f"sleep {doomed}"))

    assert alice.run(f"pgrep -fx 'sleep {length}'").returncode == 0
    assert alice.output("tmux -L living list-sessions -F '#{session_attached}'") == "0\n"
    alice.output(f"tmux -L living kill-server; pkill -fx 'sleep {length}'")


def test_a_client_that_falls_silent_is_given_up(own_installation: Installation) -> None:
    """It holds its TCP connection and answers nothing, like one behind a network that drops packets."""
    with own_installation.serving(ROOTBLOOD_SSH__KEEPALIVE_INTERVAL_S="1") as server:
        alice = client_of(own_installation, server, "alice")
        with alice.open("echo up; sleep 1234") as client:
            assert client.stdout is not None
            assert client.stdout.readline() == b"up\n"
            client.send_signal(signal.SIGSTOP)
            wait_until(lambda: not running(alice, "sleep 1234"))
