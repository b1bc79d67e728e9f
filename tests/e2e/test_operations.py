"""The operator's commands for environments, and what an environment leaves in the log and in order."""

from pathlib import Path

import docker
import pytest

from rootblood.domain.environments import home_volume_name
from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation, docker_api, wait_until


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
    assert [] == own_installation.environments()
    assert "no container" in rootblood("env", "remove", "alice").stdout
    assert "hi\n" == own_alice.output("cat hello")
    missing = rootblood("env", "stop", "nobody-here", check=False)
    assert (1, "", 1) == (missing.returncode, missing.stdout, len(missing.stderr.splitlines()))


def test_user_delete_takes_container_and_home_and_keeps_the_name(
    own_installation: Installation, own_alice: Client
) -> None:
    own_alice.output("echo hi >hello")
    volume = home_volume_name(own_installation.userhash("alice"))
    own_installation.cli("user", "delete", "alice", "--yes")
    assert [] == own_installation.environments()
    with docker_api() as api, pytest.raises(docker.errors.NotFound):
        api.inspect_volume(volume)
    assert 255 == own_alice.run("true").returncode
    again = own_installation.cli("user", "add", "alice", check=False)
    assert (1, "", 1) == (again.returncode, again.stdout, len(again.stderr.splitlines()))
    assert [] == own_installation.environments()


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
