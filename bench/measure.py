"""What is measured. Peers take turns, so that whatever else the machine does falls on all alike."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.peers import Peers
from tests.e2e.installation import Client

KEX = ("-o", "KexAlgorithms=curve25519-sha256")
LATENCY_ROUNDS = 25
FIRST_LOGIN_ROUNDS = 5
BULK_ROUNDS = 3
BULK_BYTES = 1_000_000_000
IDLE_SESSIONS = 20

Action = Callable[[], object]


def seconds(action: Action) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def medians(actions: Sequence[Action], rounds: int) -> list[float]:
    """Median wall time of each action, in turns."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for spent, action in zip(times, actions, strict=True):
            spent.append(seconds(action))
    return [statistics.median(spent) for spent in times]


def run(argv: Sequence[str | bytes], env: Mapping[str, str] | None = None) -> None:
    """Run a program that must succeed, its output thrown away."""
    subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=env, check=True, timeout=300
    )


def command(peers: Peers) -> tuple[float, float]:
    """`rootblood user list`, and a Python that loads what reads the rows, and ends; seconds."""
    env = peers.installation.env
    spent = medians(
        [
            partial(run, [sys.executable, "-m", "rootblood", "user", "list"], env),
            partial(run, [sys.executable, "-c", "import sqlalchemy.ext.asyncio"], env),
        ],
        LATENCY_ROUNDS,
    )
    return spent[0], spent[1]


def login(peers: Peers) -> tuple[float, float, float]:
    """`ssh host true`: RootBlood, sshd with docker exec, bare sshd; seconds."""
    clients = (peers.rootblood, peers.docker_exec, peers.bare_sshd)
    spent = medians([partial(run, client.argv("true", options=KEX)) for client in clients], LATENCY_ROUNDS)
    return spent[0], spent[1], spent[2]


def next_channel(peers: Peers) -> tuple[float, float]:
    """A further command on an open connection, and `docker exec true`; seconds."""
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        control = ["-o", "ControlMaster=auto", "-o", f"ControlPath={directory}/%C"]
        with peers.rootblood.open("echo up; cat", options=control) as master:
            assert master.stdout is not None
            master.stdout.readline()
            spent = medians(
                [
                    partial(run, peers.rootblood.argv("true", options=control)),
                    partial(run, ["docker", "exec", peers.container, "true"]),
                ],
                LATENCY_ROUNDS,
            )
    return spent[0], spent[1]


def first_login(peers: Peers) -> tuple[float, float]:
    """A login without a container, and `docker run -d` then `docker exec true`; seconds."""
    ours, theirs = [], []
    for number in range(FIRST_LOGIN_ROUNDS):
        peers.installation.cli("env", "remove", "alice")
        ours.append(seconds(lambda: run(peers.rootblood.argv("true", options=KEX))))
        name = f"{peers.installation.instance}-{number}"
        theirs.append(seconds(partial(_by_hand, name, peers.installation.instance)))
        run(["docker", "rm", "-f", name])
    return statistics.median(ours), statistics.median(theirs)


def _by_hand(name: str, instance: str) -> None:
    label = f"rootblood.instance={instance}"
    run(["docker", "run", "-d", "--init", "--name", name, "--label", label, "chaospine:1.0.0"])
    run(["docker", "exec", name, "true"])


def bulk(peers: Peers, cipher: str, way: str) -> tuple[float, float, float]:
    """1 GB by `way`: RootBlood, sshd with docker exec, bare sshd; seconds."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # the bare sshd's user reads from it
        local = Path(directory, "big")
        with local.open("wb") as file:
            file.truncate(BULK_BYTES)

        def move(client: Client) -> None:
            if way == "exec down":
                run(client.argv(f"head -c {BULK_BYTES} /dev/zero", options=["-c", cipher]))
            elif way == "exec up":
                with local.open("rb") as file:
                    argv = client.argv("cat >/dev/null", options=["-c", cipher])
                    subprocess.run(argv, stdin=file, check=True, timeout=300)
            else:
                batch = f"get big {directory}/back\n" if way == "sftp down" else f"put {local} /dev/null\n"
                if client is peers.bare_sshd:
                    batch = batch.replace("get big", f"get {local}")
                sftp = ["sftp", "-q", "-c", cipher, "-b", "-", *client.options, "-P", str(client.port)]
                subprocess.run(
                    [*sftp, client.target],
                    input=batch.encode(),
                    stdout=subprocess.DEVNULL,
                    check=True,
                    timeout=300,
                )

        clients = (peers.rootblood, peers.docker_exec, peers.bare_sshd)
        actions = [partial(move, client) for client in clients]
        spent = medians(actions, BULK_ROUNDS)
    return spent[0], spent[1], spent[2]


def idle_session_kib(peers: Peers) -> float:
    """Memory of the front door for each connected account that does nothing, its link included; KiB."""
    key = peers.rootblood.directory / "alice_key.pub"
    names = [f"idle{number}" for number in range(IDLE_SESSIONS)]
    for name in names:
        peers.installation.cli("user", "add", name, "--key-file", str(key))
    clients = [
        Client(peers.rootblood.directory, name, peers.server.port, peers.rootblood.key) for name in names
    ]
    before = peers.server.rss_kib
    processes = []
    for client in clients:
        process = subprocess.Popen(client.argv("echo up; cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        processes.append(process)
    after = peers.server.rss_kib
    for process in processes:
        process.communicate()
    return (after - before) / len(processes)
