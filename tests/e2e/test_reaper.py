"""Leases and the reaper on the real engine, in seconds instead of hours."""

import re
import signal
from collections.abc import Callable

from tests.e2e.conftest import client_of
from tests.e2e.installation import Installation, docker_api, wait_until

SHORT = {
    "ROOTBLOOD_LEASES__TTL_S": "3",
    "ROOTBLOOD_LEASES__HEARTBEAT_S": "1",
    "ROOTBLOOD_REAPER__INTERVAL_S": "1",
    "ROOTBLOOD_REAPER__IDLE_STOP_S": "3",
    "ROOTBLOOD_REAPER__WARNING_S": "0",
    "ROOTBLOOD_REAPER__CPU_THRESHOLD": "0.2",  # to ask tmux each second costs more than it does each minute
}
LONG_S = 120
TMUX = "tmux -S /run/rootblood/tmux"


def stopped(installation: Installation, name: str) -> Callable[[], bool]:
    """Whether the account's environment is, to be asked again and again."""
    userhash = installation.userhash(name)
    return lambda: _state(userhash) == "stopped"


def runs(installation: Installation, name: str) -> bool:
    """Whether the account's environment does."""
    return _state(installation.userhash(name)) == "running"


def _state(userhash: str) -> str:
    with docker_api() as api:
        return "running" if api.inspect_container(f"rb_{userhash}")["State"]["Running"] else "stopped"


def test_idle_is_stopped_and_the_next_login_says_why(own_installation: Installation) -> None:
    with own_installation.serving(**SHORT) as server:
        alice = client_of(own_installation, server, "alice")
        alice.output("echo kept >file")
        wait_until(stopped(own_installation, "alice"), timeout_s=LONG_S, what="the stop")
        screen = alice.run(options=["-tt"], stdin=b"exit\n").stdout.decode()
        assert "your environment was stopped while nobody used it, and started again" in screen
        assert "kept\n" == alice.output("cat file")
        status = alice.output("rb status")
        assert re.search(r"^last stop +nobody used it$", status, re.MULTILINE), status
        assert re.search(r"^alive as +ssh from 127\.0\.0\.1$", status, re.MULTILINE), status


def test_a_session_and_a_keep_have_it_run_on(own_installation: Installation) -> None:
    with own_installation.serving(**SHORT) as server:
        alice, bob = (client_of(own_installation, server, name) for name in ("alice", "bob"))
        with alice.open("echo up; cat") as session:
            assert session.stdout is not None
            assert b"up\n" == session.stdout.readline()
            bob.output("true")
            wait_until(stopped(own_installation, "bob"), timeout_s=LONG_S, what="the stop of bob's")
            assert runs(own_installation, "alice")
            assert "is not kept" in alice.output("rb keep")
            assert "is kept until" in alice.output("rb keep 4h")
        refused = alice.run("rb keep 99d")
        assert (1, b"rb: an environment can be kept for 7 d 0 h at most\n") == (
            refused.returncode,
            refused.stderr,
        )
        bob.output("true")
        wait_until(stopped(own_installation, "bob"), timeout_s=LONG_S, what="the stop of bob's")
        assert runs(own_installation, "alice")
        assert re.search(r"for 3 h 5\d min more", alice.output("rb keep"))
        assert "is kept no longer" in alice.output("rb keep --end")
        wait_until(stopped(own_installation, "alice"), timeout_s=LONG_S, what="the stop of alice's")


def test_an_abandoned_yes_does_not_live_for_ever(own_installation: Installation) -> None:
    limits = {
        **SHORT,
        "ROOTBLOOD_REAPER__MAX_UNATTENDED_S": "10",
        "ROOTBLOOD_REAPER__TMUX_JOBS": "false",
        "ROOTBLOOD_REAPER__CPU_THRESHOLD": "0.02",  # what is left of a busy machine
    }
    with own_installation.serving(**limits) as server:
        alice = client_of(own_installation, server, "alice")
        alice.output("setsid yes </dev/null >/dev/null 2>&1 &")
        wait_until(lambda: "idle_environment_stopped" in server.log, timeout_s=LONG_S, what="the stop")
        (stop,) = [line for line in server.log.splitlines() if "idle_environment_stopped" in line]
        assert re.search(r"uses \d\.\d\d cores", stop), stop


def test_a_job_in_tmux_has_it_run_on(own_installation: Installation) -> None:
    with own_installation.serving(**SHORT) as server:
        alice, bob = (client_of(own_installation, server, name) for name in ("alice", "bob"))
        alice.output(f"mkdir -p -m 700 /run/rootblood; {TMUX} new-session -d 'exec sleep 600'")
        bob.output("true")
        wait_until(stopped(own_installation, "bob"), timeout_s=LONG_S, what="the stop of bob's")
        assert runs(own_installation, "alice")
        alice.output(f"{TMUX} kill-server")
        wait_until(stopped(own_installation, "alice"), timeout_s=LONG_S, what="the stop of alice's")


def test_an_environment_without_tmux_is_looked_at_and_nothing_of_it_is_logged(
    own_installation: Installation,
) -> None:
    looking = {"ROOTBLOOD_LOG__LEVEL": "debug", "ROOTBLOOD_REAPER__WARNING_S": "7200"}
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        alice.output("true")
        never = own_installation.cli("reap", "--once", env=looking)
        alice.output(f"mkdir -p -m 700 /run/rootblood; {TMUX} new-session -d; {TMUX} kill-server")
        no_more = own_installation.cli("reap", "--once", env=looking)

        for look in (never, no_more):
            assert re.search("^alice +idle", look.stdout, re.MULTILINE), look
            assert "stream_stderr" not in look.stderr


def test_a_tmux_client_that_nobody_is_connected_with_is_told_of_the_stop(
    own_installation: Installation,
) -> None:
    warned = {**SHORT, "ROOTBLOOD_REAPER__WARNING_S": "600", "ROOTBLOOD_REAPER__IDLE_STOP_S": "8"}
    with own_installation.serving(**warned) as server:
        alice = client_of(own_installation, server, "alice")
        alice.output(
            f"mkdir -p -m 700 /run/rootblood; {TMUX} new-session -d -x 150 -y 24; "
            f"TERM=xterm setsid script -qfc '{TMUX} attach' shown </dev/null >/dev/null 2>&1 & "
            f'until [ "$({TMUX} list-clients)" ]; do sleep 0.1; done'
        )
        wait_until(stopped(own_installation, "alice"), timeout_s=LONG_S, what="the stop")
        assert "nobody uses this environment; it will be stopped in" in alice.output("cat shown")


def test_of_two_servers_one_reaps_and_the_other_takes_over(own_installation: Installation) -> None:
    longer = {**SHORT, "ROOTBLOOD_LEASES__TTL_S": "5"}  # on a busy machine one of two may be late
    with own_installation.serving(**longer) as one, own_installation.serving(**longer) as two:
        servers = [one, two]
        with client_of(own_installation, one, "alice").open("echo up; cat") as session:
            assert session.stdout is not None
            assert b"up\n" == session.stdout.readline()
            client_of(own_installation, two, "bob").output("true")
            wait_until(stopped(own_installation, "bob"), timeout_s=LONG_S, what="the stop of bob's")
            assert runs(own_installation, "alice")

            def reaped() -> list[int]:
                return sorted(server.log.count("idle_environment_stopped") for server in servers)

            wait_until(lambda: any(reaped()), what="the line in a log")
            assert [0, 1] == reaped()
            # Alice's session dies with its server, and its lease lapses.
            one.process.send_signal(signal.SIGKILL)
            one.process.wait()
        alices = own_installation.userhash("alice")
        wait_until(
            lambda: any(
                alices in line for line in two.log.splitlines() if "idle_environment_stopped" in line
            ),
            timeout_s=LONG_S,
            what="the stop of alice's",
        )
