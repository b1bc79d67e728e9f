"""What a killed server leaves behind is cleared away, and nothing of those that live."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation, docker_api, wait_until

STRANGER = "e" * 32


def commands(container: str) -> list[str]:
    """What runs in it, by Docker's own word."""
    with docker_api() as api:
        rows = api.top(container, "-eo pid,args")["Processes"] or []
    return [" ".join(row[1:]) for row in rows]


@contextmanager
def running(client: Client, *argvs: str) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """Commands without a terminal, each over a connection of its own."""
    processes = [
        subprocess.Popen(client.argv(argv), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for argv in argvs
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def plan(installation: Installation, *options: str) -> list[tuple[str, str, str]]:
    rows = installation.cli_json("reconcile", *options)
    return [(row["action"], row["kind"], row["subject"]) for row in rows]


@pytest.mark.parametrize("direct", ["true", "false"])
def test_commands_of_a_killed_server_end_and_those_of_another_live(
    own_installation: Installation, direct: str
) -> None:
    setting = {"ROOTBLOOD_ENGINE__DIRECT_STREAMS": direct}
    with own_installation.serving(**setting) as other, own_installation.serving(**setting) as killed:
        theirs = client_of(own_installation, killed, "alice")
        assert "" == theirs.output("true")
        (container,) = own_installation.environments()
        left = ["sleep 1001", "cat >/dev/null; sleep 1002; true", "trap '' HUP; sleep 1003; true"]
        backgrounds = [
            "nohup sleep 2001 >/dev/null 2>&1 & sleep 1004",
            "setsid sleep 2002 </dev/null >/dev/null 2>&1 & sleep 1005",
            "tmux new-session -d 'sleep 2003'; sleep 1006",
        ]
        ended = [f"sleep {1000 + number}" for number in range(1, 7)]
        lives = [f"sleep {2000 + number}" for number in range(1, 5)]
        with (
            running(client_of(own_installation, other, "alice"), "sleep 2004"),
            running(theirs, *left, *backgrounds),
        ):
            # stdin of the second has ended before the server does, so that it is at its sleep by then
            wait_until(lambda: {*ended, *lives} <= {*commands(container), "sleep 1002"}, what="the commands")
            killed.stop(signal.SIGKILL)
            wait_until(lambda: "sleep 1002" in commands(container), what="the end of its input")

            expected = ["leases-left", "process-killed", "commands-left"]
            assert expected == [kind for _, kind, _ in plan(own_installation, "--dry-run")]
            assert expected == [kind for _, kind, _ in plan(own_installation)]
            now = commands(container)
            assert ([], lives) == ([one for one in ended if one in now], [one for one in lives if one in now])
            assert [] == plan(own_installation, "--dry-run")
    trail = own_installation.cli_json("user", "activity", "alice")
    assert ["reconciled"] * 2 == [row["action"] for row in trail if row["action"] == "reconciled"]


def test_a_container_without_an_account_goes_and_its_home_is_only_told_of(
    own_installation: Installation,
) -> None:
    labels = {"rootblood.instance": own_installation.instance, "rootblood.userhash": STRANGER}
    with docker_api() as api:
        api.create_volume(f"home_{STRANGER}", labels=labels)
        mounts = api.create_host_config(binds=[f"home_{STRANGER}:/home"])
        container = api.create_container(
            "chaospine:1.0.0", name=f"rb_{STRANGER}", labels=labels, host_config=mounts
        )
        api.start(container)
    try:
        with own_installation.serving() as server:
            wait_until(lambda: [] == own_installation.containers(), what="its removal")
            wait_until(lambda: "container-without-account" in server.log, what="the line in the log")
            assert [("report", "home-without-account", f"home_{STRANGER}")] == plan(own_installation)
    finally:
        with docker_api() as api:
            api.remove_volume(f"home_{STRANGER}")  # it is there still
