"""kill -9 at every step of a first login: the next server finds one container, one home, one UID, no orphan.

The steps are those that an engine or a database sees, so the kill comes from the engine's socket: a proxy
between the server and the real engine kills the server at a call, before the engine gets it or after it has
done it. What the database has by then is what was written before that call.
"""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import make_installation
from tests.e2e.installation import Client, Installation, Server, docker_api, wait_until
from tests.faults.killing_proxy import KillingProxy, killing_proxy

CONVERGED_WITHIN_S = 10

_HELPER = r"POST \S+/containers/create$"
_CREATE = r"POST \S+/containers/create\?\S*name=rb_[0-9a-f]{32}"
_START = r"POST \S+/containers/[0-9a-f]{64}/start"
_LOOKED = "_system "
"""In the last call of a server that starts: it looks for the system volume."""

_EXEC = r"POST \S+/containers/[0-9a-f]{64}/exec"


@dataclass(frozen=True)
class Step:
    """Where the server is killed."""

    name: str
    call: str
    after: bool = False
    unpublished: bool = False
    """Whether the account was left half-made, so that this login has to publish its name."""


STEPS = [
    Step("account found", r"POST \S+/volumes/create", unpublished=True),
    Step("helper made", _HELPER, after=True, unpublished=True),
    Step("name published, not noted", r"DELETE \S+/containers/[0-9a-f]{64}", unpublished=True),
    Step("lease written", r"GET \S+/containers/rb_[0-9a-f]{32}/json"),
    Step("volume made", _CREATE),
    Step("container made", _CREATE, after=True),
    Step("container started", _START, after=True),
    Step("link made", _EXEC, after=True),
    Step("link open", r"POST \S+/exec/[0-9a-f]{64}/start", after=True),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with make_installation(tmp_path_factory.mktemp("killed")) as made:
        yield made


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[KillingProxy]:
    with killing_proxy(tmp_path / "docker.sock") as made:
        yield made


def client_at(house: Installation, server: Server, name: str) -> Client:
    """All accounts here have alice's key."""
    return Client(house.directory, name, server.port, house.directory / "alice_key")


def add_half(house: Installation, name: str, proxy: KillingProxy) -> None:
    """Add an account, and die before environments know its name."""
    key_file = str(house.directory / "alice_key.pub")
    with subprocess.Popen(
        [sys.executable, "-m", "rootblood", "user", "add", name, "--key-file", key_file],
        env={**house.env, "DOCKER_HOST": proxy.url},
        cwd=house.directory,
        stdin=subprocess.DEVNULL,
    ) as adding:
        proxy.kill_at(_HELPER, after=False, kill=lambda: os.kill(adding.pid, signal.SIGKILL))
        assert -signal.SIGKILL == adding.wait(30)


def account_of(house: Installation, name: str) -> tuple[int, str]:
    """The account's UID and userhash: one row, though it was left half-made."""
    with closing(sqlite3.connect(house.directory / "state" / "rootblood.db")) as database:
        ((uid, userhash),) = database.execute("SELECT uid, userhash FROM accounts WHERE name = ?", [name])
    return uid, userhash


def is_tidy(house: Installation, userhash: str) -> bool:
    """Whether there is nothing but what belongs to the account, and to the one server that lives."""
    state = house.directory / "state"
    marks, sockets = list((state / "servers").iterdir()), list((state / "sockets").glob("*/*"))
    return set(house.containers()) <= {f"rb_{userhash}"} and (1, []) == (len(marks), sockets)


def volumes(house: Installation) -> list[str]:
    with docker_api() as api:
        rows = api.volumes(filters={"label": f"rootblood.instance={house.instance}"})["Volumes"]
    return [row["Name"] for row in rows]


def log_in_until_killed(house: Installation, server: Server, name: str) -> None:
    with client_at(house, server, name).open("true") as login:
        assert -signal.SIGKILL == server.process.wait(30)
        assert login.wait(30) != 0


@pytest.mark.parametrize("step", STEPS, ids=[step.name.replace(" ", "-") for step in STEPS])
def test_the_next_server_converges(house: Installation, proxy: KillingProxy, step: Step) -> None:
    name = f"u{STEPS.index(step)}"
    with house.serving(DOCKER_HOST=proxy.url) as server:
        wait_until(lambda: _LOOKED in " ".join([*proxy.calls, ""]), timeout_s=30, what="the first look")
        if step.unpublished:
            add_half(house, name, proxy)
        else:
            house.cli("user", "add", name, "--key-file", str(house.directory / "alice_key.pub"))
        uid, userhash = account_of(house, name)
        proxy.kill_at(step.call, after=step.after, kill=lambda: os.kill(server.process.pid, signal.SIGKILL))
        log_in_until_killed(house, server, name)

    with house.serving() as again:
        wait_until(
            lambda: is_tidy(house, userhash), timeout_s=CONVERGED_WITHIN_S, what="what the killed one left"
        )
        assert f"{uid}\n" == client_at(house, again, name).output("id -u")
        assert [f"rb_{userhash}"] == house.containers()
        assert [f"home_{userhash}"] == [volume for volume in volumes(house) if userhash in volume]
        assert [] == house.cli_json("reconcile")
    with docker_api() as api:  # none runs when the next server starts
        api.remove_container(f"rb_{userhash}", force=True)
