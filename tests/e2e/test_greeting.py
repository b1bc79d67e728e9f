"""What clients are shown that they did not ask for: banner, message of the day, last login, restarts."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from rootblood.domain.environments import container_name
from tests.e2e.conftest import client_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, docker_api, wait_until
from tests.e2e.terminal import terminal

IMAGE_MOTD = "Welcome to RootBlood"
LAST_LOGIN = re.compile(r"Last login: \w{3} \w{3} [ \d]\d [\d:]{8} \d{4} UTC from 127\.0\.0\.1\r\n")
RESTARTED = "your environment was restarted since your last visit: "


def shown(client: Client) -> str:
    """What a terminal of its own shows from the login to the end of its shell."""
    done = client.run(options=["-tt"], stdin=b"exit\n")
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.fixture
def texts(tmp_path: Path, own_installation: Installation) -> Installation:
    """An installation with texts of its own, which hold what a terminal must not get."""
    (tmp_path / "banner").write_text("Authorised\x1b[31m people\tonly\n\u202eand nobody else")
    (tmp_path / "motd").write_text("Mind the gap\x1b]0;title\x07\r\n  \u00fcber\talles\n")
    own_installation.extra_env["ROOTBLOOD_SSH__BANNER_FILE"] = str(tmp_path / "banner")
    own_installation.extra_env["ROOTBLOOD_SSH__MOTD_FILE"] = str(tmp_path / "motd")
    return own_installation


def test_the_banner_comes_before_authentication_and_once(texts: Installation) -> None:
    with texts.serving() as server:
        alice = client_of(texts, server, "alice")
        refused = alice.run("true", options=["-o", "LogLevel=INFO", "-o", "PubkeyAuthentication=no"])
        let_in = alice.run("true", options=["-o", "LogLevel=INFO"])

    assert (255, 0) == (refused.returncode, let_in.returncode)
    for done in (refused, let_in):
        assert done.stderr.count(b"Authorised\\x1b[31m people\tonly\r\n\\u202eand nobody else\r\n") == 1
    assert let_in.stdout == b""


def test_the_message_of_the_day_comes_from_the_file(texts: Installation, tmp_path: Path) -> None:
    with (
        texts.serving() as server,
        terminal(tmp_path, client_of(texts, server, "alice").argv(options=["-q"])) as window,
    ):
        screen = window.wait_for("alles")

    assert "Mind the gap\\x1b]0;title\\x07\n  \u00fcber  alles\n" in screen
    assert IMAGE_MOTD not in screen


def test_without_a_file_the_image_s_own_is_shown(alice: Client) -> None:
    assert IMAGE_MOTD in shown(alice)


def test_an_empty_file_shows_nothing(own_installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "motd").touch()
    with own_installation.serving(ROOTBLOOD_SSH__MOTD_FILE=str(tmp_path / "motd")) as server:
        assert IMAGE_MOTD not in shown(client_of(own_installation, server, "alice"))


def test_a_file_that_cannot_be_read_is_one_line_at_the_start(own_installation: Installation) -> None:
    for setting in ("banner_file", "motd_file"):
        done = own_installation.cli(
            "serve", check=False, env={f"ROOTBLOOD_SSH__{setting.upper()}": "/nowhere/text"}
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert f"rootblood: ssh.{setting}: cannot read /nowhere/text" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_last_login_is_shown_from_the_second_on(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        first, second = shown(alice), shown(alice)
    with own_installation.serving() as server:
        client_of(own_installation, server, "bob").output("true")
        third = shown(client_of(own_installation, server, "alice"))
        of_bob = shown(client_of(own_installation, server, "bob"))

    assert "Last login" not in first
    assert [1, 1, 1] == [len(LAST_LOGIN.findall(screen)) for screen in (second, third, of_bob)]


def test_hushlogin_silences_all_of_it(texts: Installation) -> None:
    with texts.serving() as server:
        alice = client_of(texts, server, "alice")
        alice.output("touch ~/.hushlogin")
        texts.cli("env", "stop", "alice")
        quiet = shown(alice)

    for noise in ("Mind the gap", IMAGE_MOTD, "Last login", "restarted"):
        assert noise not in quiet


def test_only_a_terminal_with_a_shell_is_greeted(texts: Installation, tmp_path: Path) -> None:
    with texts.serving() as server:
        alice = client_of(texts, server, "alice")
        shown(alice)
        (tmp_path / "file").write_text("content")
        transfers = [
            ["scp", "-P", str(server.port), *alice.options, str(tmp_path / "file"), f"{alice.target}:one"],
            [
                "scp",
                "-O",
                "-P",
                str(server.port),
                *alice.options,
                f"{alice.target}:one",
                str(tmp_path / "two"),
            ],
            ["sftp", "-P", str(server.port), *alice.options, "-b", "-", alice.target],
        ]
        done = [
            subprocess.run(
                argv, input=b"ls one\n", capture_output=True, timeout=CLIENT_TIMEOUT_S, check=False
            )
            for argv in transfers
        ]
        command = alice.run("env")
        on_terminal = alice.run("env", options=["-tt"])
        without_terminal = alice.run(options=["-T"], stdin=b"env\n")
        variables = shown_by(alice, "env")

    assert [(0, b"")] * 3 == [(each.returncode, each.stderr) for each in done]
    assert (b"", b"") == (done[0].stdout, done[1].stdout)
    assert (tmp_path / "two").read_text() == "content"
    for each in (command, on_terminal, without_terminal):
        assert each.returncode == 0
        for noise in (b"Mind the gap", b"Last login", b"ROOTBLOOD_"):
            assert noise not in each.stdout + each.stderr
    # In the shell's own environment there is nothing of what greeted it, only the number of its session.
    assert "ROOTBLOOD_" not in variables.replace("ROOTBLOOD_SESSION=", "")


def shown_by(client: Client, command: str) -> str:
    """What a terminal's shell shows from a command on."""
    done = client.run(options=["-tt"], stdin=f"{command}; echo 'the'  end; exit\n".encode())
    assert b"the end" in done.stdout
    return done.stdout.decode().partition("$ ")[2]


def container_of(installation: Installation) -> str:
    return container_name(installation.userhash("alice"))


def exited(name: str) -> bool:
    with docker_api() as api:
        return "exited" == str(api.inspect_container(name)["State"]["Status"])


def by_docker(act: Callable[[docker.APIClient, str], object]) -> Callable[[Installation], object]:
    """Somebody goes past RootBlood."""

    def ended(installation: Installation) -> None:
        with docker_api() as api:
            act(api, container_of(installation))

    return ended


ENDS: dict[str, tuple[Callable[[Installation], object], str]] = {
    "stopped by an operator": (
        lambda installation: installation.cli("env", "stop", "alice"),
        RESTARTED + "it was stopped by an administrator",
    ),
    "removed by an operator": (
        lambda installation: installation.cli("env", "remove", "alice"),
        RESTARTED + "it was stopped by an administrator",
    ),
    "killed": (by_docker(lambda api, name: api.kill(name)), RESTARTED + "it was killed"),
    "told to stop": (
        by_docker(lambda api, name: api.stop(name, timeout=60)),
        RESTARTED + "it was told to stop",
    ),
    "removed": (
        by_docker(lambda api, name: api.remove_container(name, force=True)),
        "your environment was made anew since your last visit, as its container was gone",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_restart_is_told_once_and_in_a_terminal(own_installation: Installation, end: str) -> None:
    how, told = ENDS[end]
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        first = shown(alice)
        how(own_installation)
        started_by_command = alice.run("echo ok")
        second, third = shown(alice), shown(alice)

    assert "since your last visit" not in first
    assert (b"ok\n", b"") == (started_by_command.stdout, started_by_command.stderr)
    assert f"rootblood: {told}" in second
    assert "since your last visit" not in third


def test_a_notice_outlives_the_server(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        alice.output("true")
        own_installation.cli("env", "stop", "alice")
        alice.output("true")
    with own_installation.serving() as server:
        assert "stopped by an administrator" in shown(client_of(own_installation, server, "alice"))


def test_a_change_of_the_settings_is_told(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        client_of(own_installation, server, "alice").output("touch kept")
    own_installation.cli("env", "stop", "alice")
    with own_installation.serving(ROOTBLOOD_LIMITS__PIDS="333") as server:
        alice = client_of(own_installation, server, "alice")
        screen = shown(alice)
        assert alice.output("ls kept") == "kept\n"

    assert "made anew since your last visit, after a change of the image or settings" in screen


def test_an_environment_that_ran_out_of_memory_is_told(own_installation: Installation) -> None:
    with own_installation.serving(
        ROOTBLOOD_LIMITS__MEMORY_MIB="64", ROOTBLOOD_LIMITS__TMP_MIB="256"
    ) as server:
        alice = client_of(own_installation, server, "alice")
        alice.output("true")
        name = container_of(own_installation)
        # The kernel is told to take the first process first, and then has to take one.
        alice.run("echo 1000 >/proc/1/oom_score_adj; exec head -c 200M /dev/zero >/tmp/full")
        wait_until(lambda: exited(name), what="the end of the environment")
        screen = shown(alice)

    assert f"rootblood: {RESTARTED}it ran out of memory" in screen
