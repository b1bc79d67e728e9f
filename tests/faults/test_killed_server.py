"""The server is killed with sessions open: they end, what tmux has lives on, and nothing is left over."""

import re
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Installation, wait_until
from tests.e2e.outcomes import container_of, processes, says_ok
from tests.e2e.test_persistence import log_in, sessions


@pytest.mark.parametrize("options", [(), ("-tt",)], ids=["pipe", "terminal"])
def test_after_kill_9_in_mid_session_a_login_works_and_nothing_is_left(
    own_installation: Installation, options: tuple[str, ...]
) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        with alice.open("echo up; exec cat", options=options) as session:
            assert session.stdout is not None
            assert session.stdout.readline().rstrip().endswith(b"up")
            container = container_of(own_installation)
            before = {pid for pid, line in processes(container).items() if re.search(r"sshd|\bcat\b", line)}
            assert len(before) >= 2
            server.stop(signal.SIGKILL)
            session.wait(timeout=CLIENT_TIMEOUT_S)
    with own_installation.serving() as again:
        assert says_ok(client_of(own_installation, again, "alice"))
        wait_until(lambda: not before & processes(container).keys(), what="the old link being gone")
    assert [container] == own_installation.environments()


def test_sessions_outlive_a_killed_server(own_installation: Installation, tmp_path: Path) -> None:
    with ExitStack() as stack:
        with own_installation.serving() as server:
            client = client_of(own_installation, server, "bob")
            window = log_in(stack, tmp_path / "first", client)
            window.enter("marked='still '; echo $marked here")
            window.wait_for("\nstill here")
            server.stop(signal.SIGKILL)
        with own_installation.serving() as server:
            client = client_of(own_installation, server, "bob")
            wait_until(lambda: sessions(client) == ["0"], what="a session that is free")
            again = log_in(stack, tmp_path / "second", client)
            again.wait_for("\nstill here")
            again.enter("echo $marked the same shell")
            again.wait_for("\nstill the same shell")
