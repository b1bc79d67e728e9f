"""An environment with as many processes as it may have: its owner can end them, no neighbour notices."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation, Server, wait_until
from tests.e2e.outcomes import assert_stays_up, refusal, says_ok
from tests.e2e.terminal import terminal

FILL = """
import os, signal, sys
children = []
try:
    while len(children) < 2000:
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
except BlockingIOError:
    print("full", flush=True)
try:
    sys.stdin.read()
finally:
    for child in children:
        os.kill(child, signal.SIGKILL)
"""


def test_an_environment_full_of_processes_fails_alone(alice: Client, bob: Client, server: Server) -> None:
    with alice.open("exec python3 -c '" + FILL + "'") as filled:
        assert filled.stdout is not None
        assert filled.stdout.readline() == b"full\n"
        done = alice.run("true")
        if done.returncode != 0:
            assert b"" == done.stdout
            assert done.stderr
        assert says_ok(bob)
    assert_stays_up(server)
    wait_until(lambda: says_ok(alice), what="alice's next login")


PIDS = 64


FORK_BOMB = "bomb() { bomb | bomb & }; trap '' TERM HUP; bomb; sleep 600"


LOGINS = 9
MAX_RATIO = 2.5
"""The bomb has one core to itself, of two or more."""


@pytest.fixture
def small_server(own_installation: Installation) -> Iterator[Server]:
    """A server whose environments are soon full."""
    with own_installation.serving(ROOTBLOOD_LIMITS__PIDS=str(PIDS), ROOTBLOOD_LIMITS__CPUS="0.5") as server:
        yield server


def test_a_fork_bomb_is_seen_and_ended(
    own_installation: Installation, small_server: Server, tmp_path: Path
) -> None:
    alice, bob = (client_of(own_installation, small_server, name) for name in ("alice", "bob"))
    rescue = replace(alice, name="alice+rescue")
    assert says_ok(alice)
    assert says_ok(bob)
    with alice.open("bash -c " + f'"{FORK_BOMB}"'):
        wait_until(lambda: "the limit of processes is reached" in rescue.output("status"))
        assert says_ok(bob)
        assert "bash -c" in rescue.output("processes")
        assert rescue.output("sessions").startswith("FROM")
        status, message = refusal(rescue, "dotfiles reset")
        assert (status, "`restart` ends them all" in message) == (1, True)
        with terminal(tmp_path, rescue.argv("shell", options=["-t"])) as window:
            window.wait_for("`restart` ends them all")
            window.wait_for("status=1")
        restarted = re.fullmatch(r"restarting \.\.\. done \((\d+\.\d) s\)\n", rescue.output("restart"))
        assert restarted is not None
        assert float(restarted[1]) < 20  # 3 s of grace, and what Docker takes on a busy machine
        assert says_ok(alice)
        assert says_ok(bob)
    assert "the limit of processes" not in rescue.output("status")
    assert "Traceback" not in small_server.log


def login_s(client: Client) -> float:
    """How long a login takes, in seconds: the median of some."""
    times = []
    for _ in range(LOGINS):
        begin = time.monotonic()
        assert says_ok(client)
        times.append(time.monotonic() - begin)
    return median(times)


@pytest.mark.serial
def test_a_neighbour_s_login_is_as_fast_beside_a_fork_bomb(
    own_installation: Installation, own_server: Server, own_alice: Client
) -> None:
    bob = client_of(own_installation, own_server, "bob")
    rescue = replace(own_alice, name="alice+rescue")
    assert says_ok(own_alice)
    assert says_ok(bob)
    undisturbed_s = login_s(bob)
    with own_alice.open(f'bash -c "{FORK_BOMB}"'):
        wait_until(lambda: "the limit of processes is reached" in rescue.output("status"))
        beside_s = login_s(bob)
        assert "the limit of processes is reached" in rescue.output("status")
        rescue.output("restart")
        assert says_ok(own_alice)

    assert beside_s <= MAX_RATIO * undisturbed_s
