"""200 kill -9 at random moments under load: nothing is lost, and nothing is there twice.

Clients log in for the first time and again, leave commands running, write to their homes and fetch tarballs,
and go on through it all. What a client was told is done has to be there at the end of each round.
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

NAMES = ["alice", "bob", "carol", "dave", "erin"]
KILLS = int(os.environ.get("KILLS", "200")) // len(NAMES)
"""In each round; there is one for every account."""

SEED = os.environ.get("KILL_SEED", str(random.SystemRandom().randrange(1_000_000)))
CLIENT_S = 20
GOOD_ENDS = {"exec", "write", "export"}
"""What of each round's clients some get to; commands that are left running get to none."""


@dataclass
class House:
    """An installation whose servers are killed, and what users know of it."""

    installation: Installation
    port: int
    servers: ForkServer
    commands: ForkServer
    names: list[str] = field(default_factory=list)
    """Of accounts whose clients come."""

    written: list[tuple[str, str]] = field(default_factory=list)
    """Lines that a client was told are in its home, by account."""

    @property
    def public_key(self) -> str:
        """Of all accounts."""
        return str(self.installation.directory / "alice_key.pub")

    def client(self, name: str) -> Client:
        return Client(self.installation.directory, name, self.port, self.installation.directory / "alice_key")

    def command(self, *arguments: str) -> str:
        """What a command that must succeed prints."""
        run = self.commands.start(*arguments)
        assert 0 == run.wait(), run.stderr
        return run.stdout


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    port = free_port()
    directory = tmp_path_factory.mktemp("random")
    with (
        make_installation(directory, ROOTBLOOD_SSH__PORT=str(port)) as installation,
        fork_server(installation) as servers,
        fork_server(installation) as commands,
    ):
        made = House(installation, port, servers, commands)
        made.command("key", "add", "bob", made.public_key)
        yield made


@dataclass
class Load:
    """Clients of all accounts, until told to stop."""

    house: House
    seed: str
    stop: threading.Event = field(default_factory=threading.Event)
    done: Counter[str] = field(default_factory=Counter)
    """What came to a good end, by kind."""

    def run(self, number: int) -> None:
        """One client after the other."""
        choose = random.Random(f"{self.seed} {number}")  # noqa: S311 - which client comes next
        count = 0
        while not self.stop.wait(choose.uniform(0.05, 0.3)):
            count += 1
            name, kind = choose.choice(self.house.names), choose.choice(["exec", "write", "leave", "export"])
            line = f"{self.house.names[-1]}-{number}-{count}"
            if self._succeeds(self.house.client(name), kind, line):
                self.done[kind] += 1
                if kind == "write":
                    self.house.written.append((name, line))

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


def kill_again_and_again(house: House, load: Load, choose: random.Random) -> None:
    for number in range(1, KILLS + 1):
        run = house.servers.start("serve")
        if choose.random() < 0.75:  # the others are killed on their way
            assert house.port == run.ssh_port
        time.sleep(choose.choice([choose.uniform(0, 0.6), choose.uniform(0, 0.6), choose.uniform(0.6, 2.5)]))
        if number == KILLS:
            wait_until(lambda: load.done.keys() >= GOOD_ENDS, timeout_s=180, what="a good end of each kind")
        assert -signal.SIGKILL == run.stop(signal.SIGKILL), run.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize("newcomer", NAMES)
def test_nothing_is_lost_and_nothing_is_there_twice(house: House, newcomer: str) -> None:
    print(f"again with KILL_SEED={SEED}")  # noqa: T201 - it is shown when the test fails
    house.names.append(newcomer)
    load = Load(house, f"{SEED} {newcomer}")
    with under_load(load, clients=3):
        if newcomer not in {"alice", "bob"}:
            house.command("user", "add", newcomer, "--key-file", house.public_key)
        kill_again_and_again(house, load, random.Random(load.seed))  # noqa: S311 - when it is killed

    server = house.servers.start("serve")
    assert house.port == server.ssh_port
    house.command("reconcile")
    assert "[]\n" == house.command("reconcile", "--dry-run", "--json")
    assert_all_there_once(house)
    assert 0 == server.stop(signal.SIGTERM), server.stderr


def assert_all_there_once(house: House) -> None:
    installation = house.installation
    assert [("ok",)] == rows(installation, "PRAGMA integrity_check")
    accounts = rows(installation, "SELECT name, uid, userhash FROM accounts")
    assert set(house.names) <= {name for name, _, _ in accounts}
    assert len(accounts) == len({uid for _, uid, _ in accounts})
    containers, homes = on_engine(installation)
    used = {owner for owner, _ in house.written}
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
        client = house.client(str(name))
        assert f"{uid}\n" == client.output("id -u")
        lines = Counter(client.output("cat written").split())
        expected = [line for owner, line in house.written if owner == name]
        assert dict.fromkeys(expected, 1) == {line: lines[line] for line in expected}


def only_itself(container: str) -> bool:
    """Whether nothing runs in it but what always does."""
    own = {"docker-init", "sh", "sleep"}
    return own == {Path(command.split()[0]).name for command in processes(container).values()}
