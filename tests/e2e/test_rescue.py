"""The rescue console: what works when the environment does not."""

import asyncio
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from rootblood.domain.environments import container_name
from rootblood.ssh.login import ACCOUNT_FRESH_S
from tests.e2e.conftest import ALICE_PASSWORD, client_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, Server, docker_api, wait_until
from tests.e2e.outcomes import refusal, says_ok
from tests.e2e.terminal import terminal, until_size
from tests.e2e.test_auth import PERMISSION_DENIED, with_password


@pytest.fixture
def rescue(alice: Client) -> Client:
    return replace(alice, name="alice+rescue")


@pytest.fixture
def container(installation: Installation) -> str:
    return container_name(installation.userhash("alice"))


# The commands, one at a time.


def test_status_tells_state_image_and_use(alice: Client, rescue: Client, server: Server) -> None:
    assert server.process.poll() is None
    alice.output("true")
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in rescue.output("status").splitlines())
    assert rows["state"].startswith("running since 20")
    assert re.fullmatch(r"\d+ MiB of 1.0 GiB", rows["memory"])
    assert re.fullmatch(r"\d+\.\d\d of 1 core", rows["cpu"])
    assert re.fullmatch(r"\d+ of 512", rows["processes"])
    assert "chaospine" in rows["image"]


def test_stop_start_and_restart(alice: Client, rescue: Client) -> None:
    alice.output("touch ~/kept; touch /tmp/gone")
    assert re.fullmatch(r"stopping \.\.\. done \(\d+\.\d s\)\n", rescue.output("stop"))
    assert rescue.output("status").startswith("state  stopped since 20")
    assert "your environment was not running" in rescue.output("stop")
    assert re.fullmatch(r"starting \.\.\. done \(\d+\.\d s\)\n", rescue.output("start"))
    assert rescue.output("start") == "your environment runs already\n"
    assert re.fullmatch(r"restarting \.\.\. done \(\d+\.\d s\)\n", rescue.output("restart"))
    assert alice.output("ls ~/kept; ls /tmp").splitlines()[1:] == []
    alice.output("rm ~/kept")


def test_a_restart_replaces_the_link_of_open_connections(alice: Client, rescue: Client) -> None:
    with alice.open("echo up; exec cat") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"up\n"
        rescue.output("restart")
        assert session.wait(CLIENT_TIMEOUT_S) != 0
        assert says_ok(alice)


def test_sessions_lists_connections_and_what_they_run(alice: Client, rescue: Client) -> None:
    with alice.open("echo up; exec sleep 600") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"up\n"
        heading, *rows = rescue.output("sessions").splitlines()
    assert heading.split() == ["FROM", "SINCE", "RUNS"]
    assert [row for row in rows if row.startswith("127.0.0.1") and row.endswith("  echo up; exec sleep 600")]
    assert [row for row in rows if row.endswith("  rescue: sessions")]


def test_sessions_lists_what_runs_in_tmux(alice: Client, rescue: Client) -> None:
    alice.output(
        "mkdir -p -m 700 /run/rootblood; tmux -S /run/rootblood/tmux -f /dev/null new-session -d 'sleep 600'"
    )
    table = re.compile(r"^TMUX +SINCE +RUNS\ndetached +20[0-9: -]+ UTC +\w+$", re.MULTILINE)
    try:
        # An environment that is slow to answer is not waited for, and then listed without its tmux.
        wait_until(lambda: table.search(rescue.output("sessions")) is not None, what="the session")
    finally:
        alice.output("tmux -S /run/rootblood/tmux kill-server")


def test_processes_are_seen_from_outside_and_escaped(alice: Client, rescue: Client, bob: Client) -> None:
    bob.output("true")
    with alice.open(r"echo up; exec -a $'\e[31mred\u202e' sleep 600") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"up\n"
        listed = rescue.output("processes")
    assert listed.splitlines()[0].split() == ["PID", "CPU", "MEMORY", "TIME", "COMMAND"]
    assert "red" in listed
    assert "\x1b" not in listed
    assert "\u202e" not in listed
    assert "/usr/lib/rootblood/idle" in listed
    assert "sshd-session: alice" in listed
    assert "sshd-session: bob" not in listed


def test_of_many_processes_some_are_shown_and_the_rest_counted(alice: Client, rescue: Client) -> None:
    with alice.open("for i in $(seq 60); do sleep 600 & done; echo up; wait") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"up\n"
        listed = rescue.output("processes").splitlines()
    assert len(listed) == 1 + 30 + 1 + 1
    assert re.fullmatch(r"\d+ more", listed[-2])


def test_help_and_what_is_no_command(rescue: Client) -> None:
    listed = rescue.output("help")
    for name in ("status", "start", "restart", "stop", "sessions", "processes", "shell", "dotfiles reset"):
        assert f"\n{name} " in f"\n{listed}"
    assert refusal(rescue, "reboot") == (2, "there is no command 'reboot'; `help` lists what there is")
    assert refusal(rescue, "status now")[0] == 2
    status, message = refusal(rescue, "\x1b[31m" + "x" * 5000)
    assert (status, "\x1b" in message, len(message) < 120) == (2, False, True)


def test_a_script_on_stdin_stops_at_the_first_failure(rescue: Client) -> None:
    done = rescue.run(stdin=b"start\n\nhelp\nexit\nreboot\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"dotfiles reset" in done.stdout
    done = rescue.run(stdin=b"reboot\nhelp")
    assert (done.returncode, done.stdout) == (2, b"")
    done = rescue.run(stdin=b"help")
    assert (done.returncode, b"dotfiles reset" in done.stdout) == (0, True)


# On a terminal.


def test_a_terminal_has_a_prompt_editing_and_history(rescue: Client, tmp_path: Path) -> None:
    with terminal(tmp_path, rescue.argv()) as window:
        window.wait_for("alice rescue>")
        window.type("hexlp")
        window.press("Left", "Left", "BSpace", "Enter")
        window.wait_for("dotfiles reset")
        window.enter("nonsense")
        window.wait_for("there is no command 'nonsense'")
        window.type("and more" * 30)  # lines longer than the screen: asyncssh's editor does not like them all
        window.press("C-a", "Right", "C-e", "C-c")
        window.wait_for("alice rescue> ^C\nalice rescue>")
        window.press("Up", "C-u")
        window.enter("stop")
        window.wait_for("[y/N]")
        window.enter("n")
        window.wait_for("nothing was stopped")
        window.press("C-d")
        window.wait_for("status=0")


def test_shell_on_a_terminal_and_back(rescue: Client, tmp_path: Path) -> None:
    with terminal(tmp_path, rescue.argv(), columns=90, rows=30) as window:
        window.wait_for("alice rescue>")
        window.enter("shell")
        window.wait_for("bash-5")
        window.enter("stty size; id -un; echo $LANG")
        window.wait_for("\n30 90\nalice\nC.UTF-8")
        window.resize(101, 33)
        window.enter(until_size(101, 33))
        window.wait_for("\nit has 33 101")
        window.enter("sh -c 'echo slee''ps; exec sleep 600'")
        window.wait_for("\nsleeps")
        window.press("C-c")
        window.wait_for("^C")  # what is typed before that, the terminal drops with it
        window.enter("exit 3")
        window.wait_for("exit\nalice rescue>")
        window.enter("quit")
        window.wait_for("status=0")


def test_what_is_typed_ahead_of_the_shell_is_the_shell_s(rescue: Client) -> None:
    done = rescue.run(options=["-tt"], stdin=b"shell\necho $((6 * 7)) ahead; exit 3\n")
    assert b"42 ahead" in done.stdout
    assert done.returncode == 0  # the console's, which had nothing more to read


def test_input_that_ends_while_the_shell_has_it_ends_the_console_too(alice: Client, rescue: Client) -> None:
    with rescue.open(options=["-tt"]) as console:
        assert console.stdin is not None
        assert console.stdout is not None
        console.stdin.write(b"shell\n")
        console.stdin.flush()
        seen = b""
        while b"bash-5" not in seen:
            seen += (more := os.read(console.stdout.fileno(), 4096))
            assert more, seen
        console.stdin.write(b"until [ -e ~/go ]; do sleep 0.1; done; exit\n")
        console.stdin.close()
        alice.output("touch ~/go")
        assert console.wait(CLIENT_TIMEOUT_S) == 0
    alice.output("rm ~/go")


def test_shell_as_a_command_has_the_shell_s_status(rescue: Client, tmp_path: Path) -> None:
    with terminal(tmp_path, rescue.argv("shell", options=["-t"])) as window:
        window.wait_for("bash-5")
        window.enter("exit 7")
        window.wait_for("status=7")
    assert refusal(rescue, "shell") == (2, "`shell` needs a terminal: ssh -t")


# What it is there for.


BY_HAND = {
    "paused": lambda api, name: api.pause(name),
    "killed": lambda api, name: api.kill(name),
    "removed": lambda api, name: api.remove_container(name, force=True),
}


@pytest.mark.parametrize("how", BY_HAND)
@pytest.mark.parametrize("command", ["start", "restart"])
def test_what_was_done_by_hand_is_told_and_healed(
    alice: Client, rescue: Client, container: str, how: str, command: str
) -> None:
    alice.output("true")
    with docker_api() as api:
        BY_HAND[how](api, container)
    told = {
        "paused": "state      paused since",
        "killed": "exit status 137",
        "removed": "there is no container",
    }
    assert told[how] in rescue.output("status")
    assert rescue.output("processes").count("idle") == (2 if how == "paused" else 0)
    rescue.output("sessions")
    assert "done" in rescue.output(command)
    assert says_ok(alice)


def test_without_an_image_nothing_is_stopped_and_it_is_said(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        alice.output("true")
    with own_installation.serving(ROOTBLOOD_ENVIRONMENT__IMAGE="chaospine:absent") as server:
        rescue = client_of(own_installation, server, "alice")
        rescue = replace(rescue, name="alice+rescue")
        assert "the image of the environments is missing" in rescue.output("status")
        done = rescue.run("restart")
        assert (done.returncode, done.stdout) == (1, b"restarting ... failed\n")
        assert b"the image of the environments is missing, so nothing was stopped" in done.stderr
        assert "running since" in rescue.output("status")
        rescue.output("stop")
        done = rescue.run("start")
        assert (done.returncode, b"image of the environments is missing" in done.stderr) == (1, True)


def test_without_docker_the_console_is_there_and_says_so(
    own_installation: Installation, tmp_path: Path
) -> None:
    with own_installation.serving(ROOTBLOOD_ENGINE__URL=f"unix://{tmp_path}/absent.sock") as server:
        rescue = replace(client_of(own_installation, server, "alice"), name="alice+rescue")
        assert "restart" in rescue.output("help")
        for command in ("status", "processes", "sessions"):
            status, message = refusal(rescue, command)
            assert (status, "container engine does not answer" in message) == (1, True)


# Who gets in, and to what.


@pytest.mark.parametrize(
    "name",
    [
        "alice+",
        "+rescue",
        "+",
        "alice+rescue+x",
        "alice+../x",
        "alice+RESCUE",
        "alice rescue",
    ],
)
async def test_other_selectors_are_refused_like_any_wrong_name(
    installation: Installation, server: Server, name: str
) -> None:
    assert installation.directory.is_dir()
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            "127.0.0.1",
            server.port,
            username=name,
            password=ALICE_PASSWORD,
            client_keys=[str(installation.directory / "alice_key")],
            known_hosts=None,
            agent_path=None,
            config=None,
        )


def test_refusals_look_alike(own_installation: Installation) -> None:
    own_installation.cli("user", "add", "locked", "--password-stdin", stdin=ALICE_PASSWORD)
    own_installation.cli("user", "lock", "locked")
    with own_installation.serving() as server:
        refusals = {
            (done.returncode, done.stdout, done.stderr.strip().replace(name, "NAME"))
            for name, password in [
                ("alice+rescue", "wrong password"),
                ("locked+rescue", ALICE_PASSWORD),
                ("nobody-here+rescue", ALICE_PASSWORD),
                ("alice+nothing", ALICE_PASSWORD),
            ]
            for done in [with_password(own_installation, server, name, password)]
        }
        done = with_password(own_installation, server, "alice+rescue", ALICE_PASSWORD)
    assert refusals == {(255, "", f"NAME@127.0.0.1: {PERMISSION_DENIED}")}
    assert done.stderr == "rootblood: there is no command 'echo in'; `help` lists what there is\n"


def test_an_account_that_is_locked_meanwhile_is_shown_out(own_installation: Installation) -> None:
    with own_installation.serving(ROOTBLOOD_SSH__RECHECK_S="600") as server:
        rescue = replace(client_of(own_installation, server, "alice"), name="alice+rescue")
        with rescue.open() as console:
            assert console.stdin is not None
            assert console.stdout is not None
            console.stdin.write(b"status\n")
            console.stdin.flush()
            assert b"there is no container" in console.stdout.readline()
            answered_at = time.monotonic()
            own_installation.cli("user", "lock", "alice")
            # What the door has just found out about the account is good for a moment.
            wait_until(lambda: time.monotonic() > answered_at + ACCOUNT_FRESH_S)
            console.stdin.write(b"start\nhelp\n")
            console.stdin.flush()
            assert console.wait(CLIENT_TIMEOUT_S) == 1
        assert own_installation.environments() == []


async def test_nothing_is_forwarded_and_there_are_no_files(rescue: Client) -> None:
    async with await asyncssh.connect(
        "127.0.0.1",
        rescue.port,
        username=rescue.name,
        client_keys=[str(rescue.key)],
        known_hosts=None,
        agent_path=None,
        config=None,
    ) as connection:
        with pytest.raises(asyncssh.ChannelOpenError, match="not allowed"):
            await connection.open_connection("localhost", 22)
        with pytest.raises(asyncssh.ChannelOpenError, match="not allowed"):
            await connection.open_unix_connection("/run/rootblood/tmux")
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("", 0, "localhost", 22)
    done = await asyncio.to_thread(rescue.run, "sftp", options=["-s"])
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"only a console" in done.stderr


def test_sessions_are_limited_as_everywhere(own_installation: Installation) -> None:
    with own_installation.serving(ROOTBLOOD_SSH__MAX_SESSIONS="2") as server:
        asyncio.run(_fill(replace(client_of(own_installation, server, "alice"), name="alice+rescue")))


async def _fill(rescue: Client) -> None:
    async with await asyncssh.connect(
        "127.0.0.1", rescue.port, username=rescue.name, client_keys=[str(rescue.key)], known_hosts=None,
        agent_path=None, config=None,
    ) as connection:  # fmt: skip
        for _ in range(3):
            consoles = [await connection.create_process() for _ in range(2)]
            with pytest.raises(asyncssh.ChannelOpenError, match="too many sessions"):
                await connection.create_process()
            for console in consoles:
                console.stdin.write("exit\n")
                await console.wait_closed()
                assert console.exit_status == 0
