"""`web-terminal` starts ttyd for the browser's terminals, once, where nobody else reaches it."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.installation import wait_until
from tests.image.conftest import TIMEOUT_S, Environment
from tests.programs import running

PROGRAM = "/usr/lib/rootblood/web-terminal"
SOCKET = "/run/rootblood/ttyd.sock"


@pytest.fixture
def clean(environment: Environment) -> Iterator[Environment]:
    """An environment without a ttyd, before and after."""
    yield environment
    end(environment, "TERM")
    environment.exec("rm", "-rf", "/run/rootblood")


def end(environment: Environment, signal: str) -> None:
    """End every ttyd, and wait until none is left."""
    script = f"pkill -{signal} -x ttyd; while pgrep -x ttyd; do sleep 0.1; done"
    assert 0 == environment.exec("sh", "-c", script).returncode


def count(environment: Environment) -> int:
    return int(environment.exec("pgrep", "-cx", "ttyd").stdout)


def test_starts_one_however_many_ask_at_once(clean: Environment) -> None:
    command = ["docker", "exec", clean.container, PROGRAM]
    with ExitStack() as stack:
        runs = [
            stack.enter_context(running(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
            for _ in range(5)
        ]
        assert [b""] * 5 == [run.communicate(timeout=TIMEOUT_S)[0] for run in runs]
        assert [0] * 5 == [run.returncode for run in runs]
    assert 1 == count(clean)


def test_it_belongs_to_the_account_and_nobody_else_reaches_it(clean: Environment) -> None:
    assert 0 == clean.exec(PROGRAM).returncode
    shown = clean.exec("stat", "-c", "%a %u", "/run/rootblood").stdout
    assert f"700 {clean.account.uid}\n" == shown
    assert "1\n" == clean.exec("sh", "-c", "wc -l < /proc/net/tcp").stdout  # the heading


def test_a_socket_left_behind_is_replaced(clean: Environment) -> None:
    assert 0 == clean.exec(PROGRAM).returncode
    end(clean, "KILL")
    assert 0 == clean.exec("test", "-S", SOCKET).returncode
    assert 0 == clean.exec(PROGRAM).returncode
    assert 1 == count(clean)


def test_where_ttyd_cannot_listen_none_is_left(clean: Environment) -> None:
    # It would try for ever.
    assert 0 == clean.exec("mkdir", "-p", f"{SOCKET}/directory").returncode
    refused = clean.exec(PROGRAM)
    assert (1, "rootblood: ttyd does not start\n") == (refused.returncode, refused.stderr)
    wait_until(lambda: 0 == count(clean), what="the end of the one that was tried")
