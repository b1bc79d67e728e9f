"""Terminals: what a person at the other end sees."""

from pathlib import Path

from tests.e2e.installation import Client
from tests.e2e.terminal import terminal, until_size


def test_a_login_shell_with_a_prompt(alice: Client, tmp_path: Path) -> None:
    with terminal(tmp_path, alice.argv()) as window:
        window.wait_for("alice@rootblood")
        window.enter("shopt -q login_shell && echo it is a login shell")
        window.wait_for("\nit is a login shell")
        window.enter("exit 3")
        window.wait_for("status=3")


def test_size_follows_a_resize(alice: Client, tmp_path: Path) -> None:
    with terminal(tmp_path, alice.argv(options=["-tt"]), columns=90, rows=30) as window:
        window.wait_for("$")
        window.enter("stty size")
        window.wait_for("\n30 90")
        window.resize(101, 33)
        window.enter(until_size(101, 33))
        window.wait_for("\nit has 33 101")


def test_ctrl_c_interrupts_and_the_shell_goes_on(alice: Client, tmp_path: Path) -> None:
    with terminal(tmp_path, alice.argv()) as window:
        window.wait_for("$")
        # One program for both: in between the shell would have the Ctrl-C.
        window.enter("sh -c 'echo wait''ing; exec sleep 600'")
        window.wait_for("\nwaiting")
        window.press("C-c")
        window.wait_for("^C")
        window.enter("echo status $?")
        window.wait_for("\nstatus 130")


def test_nvim_draws_and_edits(alice: Client, tmp_path: Path) -> None:
    with terminal(tmp_path, alice.argv("rm -f draft.txt; exec nvim -n draft.txt", options=["-t"])) as window:
        window.wait_for("draft.txt")
        window.wait_for("\n~")
        window.type("iHello, w\u00f6rld")
        window.wait_for("-- INSERT --")
        window.press("Escape")
        window.enter(":wq")
        window.wait_for("status=0")

    assert alice.output("cat draft.txt; rm draft.txt") == "Hello, w\u00f6rld\n"


def test_tmux_draws_in_the_environment(alice: Client, tmp_path: Path) -> None:
    left, right = "'echo left; exec sleep 600'", "'echo right; exec sleep 600'"
    command = f"tmux -L drawing new-session {left} \\; split-window -h {right}"
    with terminal(tmp_path, alice.argv(command, options=["-t"])) as window:
        window.wait_for(f"{'left':40}\u2502right")  # side by side, once all of it is drawn
    alice.run("tmux -L drawing kill-server")


def test_term_is_passed_on_and_a_hostile_one_is_not(alice: Client) -> None:
    with_term = ["-tt", "-o", "SetEnv=TERM=screen-256color"]
    hostile = ["-tt", "-o", "SetEnv=TERM=$(reboot)"]

    assert alice.run("echo $TERM", options=with_term).stdout == b"screen-256color\r\n"
    assert alice.run("echo $TERM", options=hostile).stdout == b"xterm-256color\r\n"
