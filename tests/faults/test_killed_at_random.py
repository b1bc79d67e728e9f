"""200 kill -9 at random moments under load: nothing is lost, and nothing is there twice.

Clients log in for the first time and again, leave commands running, write to their homes and fetch tarballs,
and go on through it all. What a client was told is done has to be there at the end.
"""

import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.conftest import make_installation
from tests.e2e.installation import Client, Installation, docker_api, free_port, wait_until
from tests.e2e.outcomes import processes
from tests.faults.forkserver import ForkServer, fork_server

KILLS = int(os.environ.get("KILLS", "200"))
NAMES = ["alice", "bob", "carol", "dave", "erin"]
CLIENT_S = 20
CHECK_EVERY = 40


@dataclass
class Load:
    """Clients of all accounts, until told to stop."""

    installation: Installation
    port: int
    seed: int
    names: list[str]
    stop: threading.Event = field(default_factory=threading.Event)
    done: Counter[str] = field(default_factory=Counter)
    """What came to a good end, by kind."""

    written: list[tuple[str, str]] = field(default_factory=list)
    """Lines that a client was told are in its home, by account."""

    def client(self, name: str) -> Client:
        return Client(self.installation.directory, name, self.port, self.installation.directory / "alice_key")

    def run(self, number: int) -> None:
        """One client after the other."""
        choose = random.Random(f"{self.seed} {number}")  # noqa: S311 - which client comes next
        count = 0
        while not self.stop.wait(choose.uniform(0.05, 0.3)):
            count += 1
            name, kind = choose.choice(self.names), choose.choice(["exec", "write", "leave", "export"])
            line = f"{number}-{count}"
            if self._succeeds(self.client(name), kind, line):
                self.done[kind] += 1
                if kind == "write":
                    self.written.append((name, line))

    def _succeeds(self, client: Client, kind: str, line: str) -> bool:
        match kind:
            case "write":
                argv = client.argv(f"echo {line} >>written && sync written")
            case "leave":
                argv = client.argv("sleep 4 & sleep 4; exit 1")  # it is killed, or was there in vain
            case "export":
                drive = replace(client, name=f"{client.name}+export")
                argv = ["scp", "-q", *drive.options, "-P", str(drive.port)]
                argv += [f"{drive.target}:home.tar.gz", f"{client.directory}/{line}.tar.gz"]
            case _:
                argv = client.argv("true")
        try:
            return subprocess.run(argv, capture_output=True, timeout=CLIENT_S, check=False).returncode == 0
        except subprocess.TimeoutExpired:
            return False


@contextmanager
def under_load(load: Load, clients: int) -> Iterator[None]:
    threads = [threading.Thread(target=load.run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


def rows(installation: Installation, statement: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(installation.directory / "state" / "rootblood.db")) as database:
        return database.execute(statement).fetchall()


def on_engine(installation: Installation) -> tuple[list[str], list[str]]:
    """Names of all containers, helpers among them, and of the homes."""
    with docker_api() as api:
        label = {"label": f"rootblood.instance={installation.instance}"}
        volumes = [volume["Name"] for volume in api.volumes(filters=label)["Volumes"]]
    return installation.containers(), sorted(name for name in volumes if name.startswith("home_"))


def kill_again_and_again(server: ForkServer, load: Load, choose: random.Random) -> None:
    for number in range(1, KILLS + 1):
        if number % (KILLS // len(NAMES)) == 0 and len(load.names) < len(NAMES):
            name = NAMES[len(load.names)]
            key = str(load.installation.directory / "alice_key.pub")
            adding = server.start("user", "add", name, "--key-file", key)
            assert 0 == adding.wait(), adding.stderr
            load.names.append(name)
        run = server.start("serve")
        if choose.random() < 0.75:  # the others are killed on their way
            assert load.port == run.ssh_port
        time.sleep(choose.choice([choose.uniform(0, 0.6), choose.uniform(0, 0.6), choose.uniform(0.6, 2.5)]))
        assert -signal.SIGKILL == run.stop(signal.SIGKILL), run.stderr
        if number % CHECK_EVERY == 0:
            assert [("ok",)] == rows(load.installation, "PRAGMA integrity_check")


@pytest.mark.serial  # it takes all that the machine has, for minutes
@pytest.mark.timeout(1200)
def test_nothing_is_lost_and_nothing_is_there_twice(tmp_path_factory: pytest.TempPathFactory) -> None:
    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(1_000_000)))
    print(f"again with KILL_SEED={seed}")  # noqa: T201 - it is shown when the test fails
    port = free_port()
    directory = tmp_path_factory.mktemp("random")
    with make_installation(directory, ROOTBLOOD_SSH__PORT=str(port)) as installation:
        installation.cli("key", "add", "bob", str(directory / "alice_key.pub"))
        load = Load(installation, port, seed, NAMES[:2])
        with fork_server(installation) as server, under_load(load, clients=3):
            kill_again_and_again(server, load, random.Random(seed))  # noqa: S311 - when it is killed
        assert {"exec", "write", "export"} <= load.done.keys(), load.done

        with installation.serving():
            installation.cli("reconcile")
            assert [] == installation.cli_json("reconcile", "--dry-run")
            assert_all_there_once(installation, load)


def assert_all_there_once(installation: Installation, load: Load) -> None:
    assert [("ok",)] == rows(installation, "PRAGMA integrity_check")
    accounts = rows(installation, "SELECT name, uid, userhash FROM accounts")
    assert set(load.names) <= {name for name, _, _ in accounts}
    assert len(accounts) == len({uid for _, uid, _ in accounts})
    containers, homes = on_engine(installation)
    used = {owner for owner, _ in load.written}
    for name, _, userhash in accounts:
        there = containers.count(f"rb_{userhash}"), homes.count(f"home_{userhash}")
        assert there in ({(1, 1)} if name in used else {(1, 1), (0, 1), (0, 0)}), name
    assert {f"rb_{userhash}" for _, _, userhash in accounts} >= set(containers)
    assert {f"home_{userhash}" for _, _, userhash in accounts} >= set(homes)
    for container in containers:
        wait_until(partial(only_itself, container), what=f"the end of what ran in {container}")
    state = installation.directory / "state"
    assert [] == list((state / "sockets").glob("*/*"))
    assert 1 == len(list((state / "servers").iterdir()))
    assert [] == rows(installation, "SELECT * FROM leases")
    for name, uid, _ in [account for account in accounts if account[0] in used]:
        client = load.client(str(name))
        assert f"{uid}\n" == client.output("id -u")
        lines = Counter(client.output("cat written").split())
        expected = [line for owner, line in load.written if owner == name]
        assert dict.fromkeys(expected, 1) == {line: lines[line] for line in expected}


def only_itself(container: str) -> bool:
    """Whether nothing runs in it but what always does."""
    own = {"docker-init", "sh", "sleep"}
    return own == {Path(command.split()[0]).name for command in processes(container).values()}
