"""Docker itself is stopped, killed, frozen and restarted, under open sessions and under a first login."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from rootblood.domain.environments import container_name
from tests.e2e.conftest import client_of, make_installation, make_key
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, ask, wait_until
from tests.e2e.outcomes import assert_fails_in_one_line, assert_stays_up, says_ok
from tests.faults.dockerd import PrivateDocker, private_docker

AWAY = "container engine does not answer"
ENDED = re.compile(r"rootblood: your environment [^\n]+; connect again\n")
RESTARTED = "your environment was restarted since your last visit: the machine or Docker restarted"

RECOVERED_WITHIN_S = 10
"""From the moment that Docker answers again."""

BUSY = 10
"""So many times as long as any login it may take in addition: little, but on a busy machine."""


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateDocker]:
    with private_docker() as made:
        yield made


@pytest.fixture
def docker(engine: PrivateDocker) -> PrivateDocker:
    """It runs, whatever the test before this one did."""
    engine.start()
    return engine


@pytest.fixture(scope="module")
def house(engine: PrivateDocker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("restarts")
    with make_installation(directory, ROOTBLOOD_ENGINE__URL=engine.url) as made:
        yield made


def newcomer(house: Installation, port: int, name: str) -> Client:
    """An account that has never logged in."""
    key = make_key(house.directory / f"{name}_key")
    house.cli("user", "add", name, "--key-file", f"{key}.pub")
    return Client(house.directory, name, port, key)


def recovers(client: Client) -> None:
    """A login works, and is through in time."""
    begin = time.monotonic()
    wait_until(lambda: says_ok(client), what="a login")
    took_s = time.monotonic() - begin
    assert says_ok(client)
    another_s = time.monotonic() - begin - took_s
    assert took_s <= RECOVERED_WITHIN_S + BUSY * another_s


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_under_an_open_session(house: Installation, docker: PrivateDocker, number: int) -> None:
    with house.serving() as server:
        alice, bob = (client_of(house, server, name) for name in ("alice", "bob"))
        with alice.open("echo up; exec cat") as session:
            assert session.stdout is not None
            assert session.stdout.readline() == b"up\n"

            docker.end(number)

            assert_fails_in_one_line(bob, os.EX_UNAVAILABLE, AWAY)
            docker.start()  # by now at the latest, all containers are stopped
            recovers(bob)
            recovers(alice)
            _, told = session.communicate(timeout=CLIENT_TIMEOUT_S)
        assert os.EX_UNAVAILABLE == session.returncode
        assert ENDED.fullmatch(told.decode())
        assert RESTARTED in alice.run(options=["-tt"], stdin=b"exit\n").stdout.decode()
        assert_stays_up(server, "engine_unavailable")
    for name in ("alice", "bob"):
        userhash = house.userhash(name)
        assert [container_name(userhash)] == docker.containers(userhash)


def has_a_container(docker: PrivateDocker, userhash: str) -> bool:
    return docker.containers(userhash) != []


def runs(docker: PrivateDocker, userhash: str) -> bool:
    with closing(docker.api()) as api:
        return bool(api.containers(filters={"label": f"rootblood.userhash={userhash}"}))


MOMENTS: dict[str, Callable[[PrivateDocker, str], bool]] = {"is made": has_a_container, "runs": runs}


@pytest.mark.parametrize(("name", "moment"), [("carol", "is made"), ("frank", "runs")])
def test_under_a_first_login_whose_container(
    house: Installation, docker: PrivateDocker, name: str, moment: str
) -> None:
    with house.serving() as server:
        carol = newcomer(house, server.port, name)
        userhash = house.userhash(carol.name)
        with subprocess.Popen(
            carol.argv("echo ok"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as login:
            wait_until(lambda: MOMENTS[moment](docker, userhash), what="its container")
            docker.end(signal.SIGKILL)
            said, told = login.communicate(timeout=CLIENT_TIMEOUT_S)
        if login.returncode != 0:  # else it was in, past Docker
            assert (os.EX_UNAVAILABLE, b"", 1) == (login.returncode, said, len(told.splitlines())), told
            assert told.startswith(b"rootblood: ")
        docker.start()
        recovers(carol)
        assert_stays_up(server)
    assert [container_name(userhash)] == docker.containers(userhash)


def test_one_that_takes_connections_and_does_not_answer(house: Installation, docker: PrivateDocker) -> None:
    with house.serving(ROOTBLOOD_ENGINE__TIMEOUT_S="2") as server:
        alice = client_of(house, server, "alice")
        dave = newcomer(house, server.port, "dave")
        with alice.open("echo up; exec cat") as session:
            assert session.stdout is not None
            assert session.stdout.readline() == b"up\n"
            with docker.frozen():
                assert_fails_in_one_line(dave, os.EX_UNAVAILABLE, AWAY)
                assert says_ok(alice)  # over the link that is open
                assert ask(session, b"still here\n") == b"still here\n"
            recovers(dave)
            assert ask(session, b"and now\n") == b"and now\n"
        assert_stays_up(server, "engine_unavailable")


def test_one_that_leaves_containers_running_cuts_no_session(
    house: Installation, docker: PrivateDocker
) -> None:
    docker.end()
    docker.start("--live-restore")
    with house.serving() as server:
        alice = client_of(house, server, "alice")
        erin = newcomer(house, server.port, "erin")
        with alice.open("echo up; exec cat") as session:
            assert session.stdout is not None
            assert session.stdout.readline() == b"up\n"

            docker.end()

            assert ask(session, b"still here\n") == b"still here\n"
            assert_fails_in_one_line(erin, os.EX_UNAVAILABLE, AWAY)
            docker.start("--live-restore")
            recovers(erin)
            assert says_ok(alice)
            assert ask(session, b"and now\n") == b"and now\n"
        assert_stays_up(server)
