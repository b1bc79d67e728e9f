"""Many first logins of one account at once, at one server and at two, make one container."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.conftest import client_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, wait_until
from tests.e2e.outcomes import container_of

MANY = 50


@contextmanager
def logging_in_at_once(clients: list[Client]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """All of these clients started, none waited for."""
    started = [
        subprocess.Popen(
            client.argv("echo ok"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for client in clients
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def assert_all_succeed(clients: list[Client]) -> None:
    with logging_in_at_once(clients) as started:
        ends = [(process.communicate(timeout=CLIENT_TIMEOUT_S), process.returncode) for process in started]
    assert [((b"ok\n", b""), 0)] * len(clients) == ends


def assert_containers(installation: Installation, expected: list[str]) -> None:
    """There are these in the end: what installs names is one for a moment, too."""
    wait_until(lambda: expected == installation.containers(), what=f"containers {expected}")


def test_fifty_first_logins_at_once_make_one_container(
    own_installation: Installation, own_alice: Client
) -> None:
    assert_containers(own_installation, [])
    assert_all_succeed([own_alice] * MANY)
    assert_containers(own_installation, [container_of(own_installation)])


def test_first_logins_at_two_servers_make_one_container(own_installation: Installation) -> None:
    with own_installation.serving() as one, own_installation.serving() as two:
        clients = [client_of(own_installation, server, "alice") for server in (one, two)]
        assert_all_succeed(clients * (MANY // 2))
    assert_containers(own_installation, [container_of(own_installation)])
