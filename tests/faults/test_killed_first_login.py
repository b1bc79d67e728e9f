"""kill -9 at every step of a first login: the next server finds one container, one home, one UID, no orphan.

The steps are those that an engine or a database sees, so the kill comes from the engine's socket: a proxy
between the server and the real engine kills whoever makes a certain call, before the engine gets it or after
it has done it. What the database has by then is what was written before that call.
"""

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import make_installation
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, docker_api, wait_until
from tests.faults.forkserver import ForkServer, Run, fork_server
from tests.faults.killing_proxy import KillingProxy, killing_proxy

CONVERGED_WITHIN_S = 10
BUSY = 10
"""So many times as long as its start a server may take in addition: little, but on a busy machine."""


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


@pytest.fixture(scope="module")
def servers(house: Installation) -> Iterator[ForkServer]:
    with fork_server(house) as made:
        yield made


@pytest.fixture(scope="module")
def commands(house: Installation) -> Iterator[ForkServer]:
    with fork_server(house) as made:
        yield made


def client_at(house: Installation, server: Run, name: str) -> Client:
    """All accounts here have alice's key."""
    return Client(house.directory, name, server.ssh_port, house.directory / "alice_key")


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


@pytest.mark.parametrize("step", STEPS, ids=[step.name.replace(" ", "-") for step in STEPS])
def test_the_next_server_converges(
    house: Installation, servers: ForkServer, commands: ForkServer, proxy: KillingProxy, step: Step
) -> None:
    name, key_file = f"u{STEPS.index(step)}", str(house.directory / "alice_key.pub")
    server = servers.start("serve", DOCKER_HOST=proxy.url)
    wait_until(lambda: _LOOKED in " ".join([*proxy.calls, ""]), what="the first look")
    if step.unpublished:  # whoever adds the account dies before environments know its name
        proxy.kill_at(_HELPER)
    added = commands.start("user", "add", name, "--key-file", key_file, DOCKER_HOST=proxy.url)
    assert added.wait() == (-signal.SIGKILL if step.unpublished else 0), added.stderr
    uid, userhash = account_of(house, name)
    proxy.kill_at(step.call, after=step.after)
    with client_at(house, server, name).open("true") as login:
        assert -signal.SIGKILL == server.wait()
        assert login.wait(CLIENT_TIMEOUT_S) != 0

    began_at = time.monotonic()
    again = servers.start("serve")
    client = client_at(house, again, name)
    start_s = time.monotonic() - began_at
    wait_until(
        lambda: is_tidy(house, userhash),
        timeout_s=CONVERGED_WITHIN_S + BUSY * start_s,
        what="the end of what the killed one left",
    )
    assert f"{uid}\n" == client.output("id -u")
    assert [f"rb_{userhash}"] == house.containers()
    assert [f"home_{userhash}"] == [volume for volume in volumes(house) if userhash in volume]
    reconciled = commands.start("reconcile", "--json")
    assert (0, "[]\n") == (reconciled.wait(), reconciled.stdout), reconciled.stderr
    assert 0 == again.stop(signal.SIGTERM), again.stderr
    with docker_api() as api:  # none runs when the next server starts
        api.remove_container(f"rb_{userhash}", force=True)
