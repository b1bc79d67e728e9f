"""What breaks around the server, and what users and operators get to see of it."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from rootblood.domain.environments import container_name, home_volume_name
from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation, Server, docker_api, wait_until
from tests.e2e.proxy import engine_proxy

MANY = 50

FILL = """
import os, signal, sys
children = []
try:
    while len(children) < 2000:
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
except BlockingIOError:
    print("full", flush=True)
try:
    sys.stdin.read()
finally:
    for child in children:
        os.kill(child, signal.SIGKILL)
"""


@pytest.fixture
def own_server(own_installation: Installation) -> Iterator[Server]:
    with own_installation.serving() as server:
        yield server


@pytest.fixture
def own_alice(own_installation: Installation, own_server: Server) -> Client:
    return client_of(own_installation, own_server, "alice")


def says_ok(client: Client) -> bool:
    done = client.run("echo ok")
    return (0, b"ok\n", b"") == (done.returncode, done.stdout, done.stderr)


def assert_fails_in_one_line(client: Client, status: int, word: str) -> None:
    """A login that ends with this status and one line on stderr, and nothing on stdout."""
    done = client.run("echo never")
    assert (status, b"") == (done.returncode, done.stdout), done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("rootblood: ")
    assert word in line


def assert_stays_up(server: Server, *causes: str) -> None:
    """The server runs on, and its log names the cause without a traceback."""
    assert server.process.poll() is None
    assert [] == [cause for cause in causes if cause not in server.log]
    assert "Traceback" not in server.log


def container_of(installation: Installation, name: str = "alice") -> str:
    return container_name(installation.userhash(name))


def processes(container: str) -> dict[int, str]:
    """What runs in the container: the host's process IDs and command lines."""
    with docker_api() as api:
        top = api.top(container, "-eo pid,args")
    return {int(row[0]): " ".join(row[1:]) for row in top["Processes"]}


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
        ends = [(process.communicate(timeout=90), process.returncode) for process in started]
    assert [((b"ok\n", b""), 0)] * len(clients) == ends


# Many at once.


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


# The server is killed.


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
            session.wait(timeout=30)
    with own_installation.serving() as again:
        assert says_ok(client_of(own_installation, again, "alice"))
        wait_until(lambda: not before & processes(container).keys(), what="the old link being gone")
    assert [container] == own_installation.containers()


# Docker is away.


def test_without_docker_the_server_starts_and_says_so(own_installation: Installation, tmp_path: Path) -> None:
    with own_installation.serving(ROOTBLOOD_ENGINE__URL=f"unix://{tmp_path}/absent.sock") as server:
        alice = client_of(own_installation, server, "alice")
        for _ in range(2):
            assert_fails_in_one_line(alice, os.EX_UNAVAILABLE, "container engine does not answer")
        assert_stays_up(server, "engine_unavailable", "absent.sock")


def test_sessions_go_on_without_docker(own_installation: Installation, tmp_path: Path) -> None:
    with (
        engine_proxy(tmp_path / "docker.sock") as proxy,
        own_installation.serving(ROOTBLOOD_ENGINE__URL=proxy.url) as server,
    ):
        alice = client_of(own_installation, server, "alice")
        with alice.open("echo up; exec cat") as session:
            assert session.stdin is not None
            assert session.stdout is not None
            assert session.stdout.readline() == b"up\n"
            proxy.cut()
            assert_fails_in_one_line(
                client_of(own_installation, server, "bob"), os.EX_UNAVAILABLE, "engine does not answer"
            )
            assert says_ok(alice)  # over the link that is open
            stdout, _ = session.communicate(b"still here\n", timeout=30)
            assert (0, b"still here\n") == (session.returncode, stdout)
        proxy.open()
        assert says_ok(client_of(own_installation, server, "bob"))


def test_when_docker_is_back_the_next_login_works(own_installation: Installation, tmp_path: Path) -> None:
    """With streams that go through Docker, which end with it."""
    with (
        engine_proxy(tmp_path / "docker.sock") as proxy,
        own_installation.serving(
            ROOTBLOOD_ENGINE__URL=proxy.url, ROOTBLOOD_ENGINE__DIRECT_STREAMS="false"
        ) as server,
    ):
        alice = client_of(own_installation, server, "alice")
        assert says_ok(alice)
        with alice.open("echo up; exec cat") as session:
            assert session.stdout is not None
            assert session.stdout.readline() == b"up\n"
            proxy.cut()
            _, stderr = session.communicate(timeout=30)
            assert os.EX_UNAVAILABLE == session.returncode
            assert 1 == len(stderr.splitlines())
        assert_fails_in_one_line(alice, os.EX_UNAVAILABLE, "container engine does not answer")
        assert_stays_up(server, "engine_unavailable")
        proxy.open()
        assert says_ok(alice)
    assert [container_of(own_installation)] == own_installation.containers()


# Environments that cannot be.


def test_a_missing_image_is_told_to_user_and_operator(own_installation: Installation) -> None:
    with own_installation.serving(ROOTBLOOD_ENVIRONMENT__IMAGE="chaospine:absent") as server:
        alice = client_of(own_installation, server, "alice")
        assert_fails_in_one_line(alice, os.EX_CONFIG, "image")
        assert_stays_up(server, "image_missing", "chaospine:absent")
    with own_installation.serving() as server:
        assert says_ok(client_of(own_installation, server, "alice"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("ROOTBLOOD_ENVIRONMENT__NOFILE", str(2**40)), ("ROOTBLOOD_LIMITS__CPUS", "4096")],
    ids=["cannot start", "cannot be made"],
)
def test_a_container_that_does_not_come_up_is_told_and_heals_with_its_settings(
    own_installation: Installation, setting: str, value: str
) -> None:
    with own_installation.serving(**{setting: value}) as server:
        alice = client_of(own_installation, server, "alice")
        for _ in range(2):
            assert_fails_in_one_line(alice, os.EX_UNAVAILABLE, "administrator")
        assert_stays_up(server, "engine_refused")
    with own_installation.serving() as server:
        assert says_ok(client_of(own_installation, server, "alice"))
    assert [container_of(own_installation)] == own_installation.containers()


def test_an_environment_that_stops_at_once_names_the_rescue_console(
    own_installation: Installation, tmp_path: Path
) -> None:
    profile = tmp_path / "no_children.json"
    forbidden = {"names": ["fork", "vfork", "clone", "clone3"], "action": "SCMP_ACT_ERRNO"}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [forbidden]}))
    with own_installation.serving(ROOTBLOOD_ENVIRONMENT__SECCOMP_PROFILE=str(profile)) as server:
        alice = client_of(own_installation, server, "alice")
        for _ in range(2):
            assert_fails_in_one_line(alice, os.EX_UNAVAILABLE, "; to see why: ssh alice+rescue@<this host>")
        assert_stays_up(server)
    with own_installation.serving() as server:
        assert says_ok(client_of(own_installation, server, "alice"))


BY_HAND: dict[str, Callable[[docker.APIClient, str], object]] = {
    "stopped": lambda api, name: api.stop(name, timeout=1),
    "killed": lambda api, name: api.kill(name),
    "paused": lambda api, name: api.pause(name),
    "removed": lambda api, name: api.remove_container(name, force=True),
}


@pytest.mark.parametrize("how", BY_HAND)
def test_what_was_done_by_hand_is_healed_by_the_next_login(
    alice: Client, installation: Installation, server: Server, how: str
) -> None:
    alice.output("touch ~/kept")
    name = container_of(installation)
    with docker_api() as api:
        BY_HAND[how](api, name)
    assert "kept\n" == alice.output("ls kept")
    assert [name] == [found for found in installation.containers() if found == name]
    assert_stays_up(server)


def test_a_paused_environment_goes_on_where_it_was(alice: Client, installation: Installation) -> None:
    with alice.open("echo up; exec cat") as session:
        assert session.stdout is not None
        assert session.stdin is not None
        assert session.stdout.readline() == b"up\n"
        with docker_api() as api:
            api.pause(container_of(installation))
        assert says_ok(alice)
        session.stdin.write(b"still\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"still\n"


def test_a_paused_environment_does_not_keep_the_server_from_its_end(
    own_installation: Installation, own_server: Server, own_alice: Client
) -> None:
    with own_alice.open("echo up; exec cat") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"up\n"
        with docker_api() as api:
            api.pause(container_of(own_installation))
        assert 0 == own_server.stop(signal.SIGTERM, timeout_s=30)


def test_an_environment_full_of_processes_fails_alone(alice: Client, bob: Client, server: Server) -> None:
    with alice.open("exec python3 -c '" + FILL + "'") as filled:
        assert filled.stdout is not None
        assert filled.stdout.readline() == b"full\n"
        done = alice.run("true")
        if done.returncode != 0:
            assert b"" == done.stdout
            assert done.stderr
        assert says_ok(bob)
    assert_stays_up(server)
    wait_until(lambda: says_ok(alice), timeout_s=30, what="alice's next login")


# The operator's commands.


def test_env_list_stop_and_remove(own_installation: Installation, own_alice: Client) -> None:
    rootblood = own_installation.cli
    assert [] == own_installation.cli_json("env", "list")
    own_alice.output("echo hi >hello")
    (row,) = own_installation.cli_json("env", "list")
    assert ("alice", "running", "chaospine:1.0.0") == (row["name"], row["state"], row["image"])
    assert "alice" in rootblood("env", "list").stdout
    assert "stopped" in rootblood("env", "stop", "alice").stdout
    assert "not running" in rootblood("env", "stop", "alice").stdout
    assert ["stopped"] == [row["state"] for row in own_installation.cli_json("env", "list")]
    assert "hi\n" == own_alice.output("cat hello")
    assert "removed" in rootblood("env", "remove", "alice").stdout
    assert [] == own_installation.containers()
    assert "no container" in rootblood("env", "remove", "alice").stdout
    assert "hi\n" == own_alice.output("cat hello")
    missing = rootblood("env", "stop", "nobody-here", check=False)
    assert (1, "", 1) == (missing.returncode, missing.stdout, len(missing.stderr.splitlines()))


def test_without_docker_env_commands_fail_in_one_line(own_installation: Installation, tmp_path: Path) -> None:
    away = {"ROOTBLOOD_ENGINE__URL": f"unix://{tmp_path}/absent.sock"}
    for arguments in (("env", "list"), ("env", "stop", "alice"), ("env", "remove", "alice")):
        done = own_installation.cli(*arguments, check=False, env=away)
        assert (1, "") == (done.returncode, done.stdout)
        assert "container engine does not answer" in done.stderr.splitlines()[-1]


def test_user_delete_takes_container_and_home_and_keeps_the_name(
    own_installation: Installation, own_alice: Client
) -> None:
    own_alice.output("echo hi >hello")
    volume = home_volume_name(own_installation.userhash("alice"))
    own_installation.cli("user", "delete", "alice", "--yes")
    assert [] == own_installation.containers()
    with docker_api() as api, pytest.raises(docker.errors.NotFound):
        api.inspect_volume(volume)
    assert 255 == own_alice.run("true").returncode
    again = own_installation.cli("user", "add", "alice", check=False)
    assert (1, "", 1) == (again.returncode, again.stdout, len(again.stderr.splitlines()))
    assert [] == own_installation.containers()


def test_a_stopped_environment_lets_programs_end_in_order(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        alice.output(
            "trapped() { trap 'echo in order > ended; exit' TERM; touch waiting;"
            " while :; do sleep 0.1; done; }; export -f trapped;"
            "setsid bash -c trapped >/dev/null 2>&1 </dev/null & "
            "until [ -e waiting ]; do sleep 0.05; done"
        )
        own_installation.cli("env", "stop", "alice")

        assert alice.output("cat ended") == "in order\n"


def test_the_log_keeps_the_beginning_of_an_environment_s_stderr_only(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        alice.run("head -c 20000000 /dev/zero | tr '\\0' x > /proc/$(pgrep -o sshd)/fd/2")
        wait_until(lambda: "stream_stderr_suppressed" in server.log, what="the end of the flood")

        assert len(server.log) < 100_000


def test_a_second_installation_on_the_first_one_s_volumes_is_told(
    own_installation: Installation, tmp_path: Path
) -> None:
    other = Installation(tmp_path / "other", instance=own_installation.instance)
    other.directory.mkdir()

    refused = other.cli("setup", check=False)

    assert refused.returncode == 1
    assert "another installation's" in refused.stderr
    assert "engine.instance" in refused.stderr
    with own_installation.serving() as server:
        assert client_of(own_installation, server, "alice").output("echo well") == "well\n"
