"""Interactive shells that outlive their connection: what is attached, what is made, what ends."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation, Server, wait_until
from tests.e2e.terminal import Terminal, terminal

SESSIONS = "tmux -S /run/rootblood/tmux list-sessions -F '#{session_attached}' 2>/dev/null; true"
DETACHED_WITHIN_S = 60


@pytest.fixture
def bob(installation: Installation, server: Server) -> Iterator[Client]:
    """Starts with no session and no choice or dotfile of its own, and leaves none."""
    clean = (
        "pkill tmux; while pgrep tmux >/dev/null; do sleep 0.1; done; "
        "rm -rf ~/.config/rootblood ~/.tmux.conf; cp /etc/skel/.bashrc ~"
    )
    client = client_of(installation, server, "bob")
    client.run(clean)
    yield client
    client.run(clean)


def sessions(client: Client) -> list[str]:
    """How many clients each session has."""
    return client.output(SESSIONS).split()


def log_in(stack: ExitStack, directory: Path, client: Client, options: Sequence[str] = ()) -> Terminal:
    """A terminal with a login in it, its prompt or an old screen showing."""
    directory.mkdir()
    window = stack.enter_context(terminal(directory, client.argv(options=options)))
    window.wait_for("bob@rootblood")
    return window


def drop(client: Client, window: Terminal) -> None:
    """Kill the terminal's ssh, and wait until its session is free."""
    before = sessions(client).count("0")
    pane = window.tmux("display-message", "-p", "#{pane_pid}").strip()
    subprocess.run(["pkill", "-KILL", "-P", pane, "-x", "ssh"], check=True)
    wait_until(lambda: sessions(client).count("0") == before + 1, timeout_s=DETACHED_WITHIN_S)


def test_a_drop_in_mid_edit_and_a_reconnect_show_the_same_screen(bob: Client, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = log_in(stack, tmp_path / "first", bob)
        first.enter("nvim -n -u NONE draft.txt")
        first.wait_for("draft.txt")
        first.type("iwritten before the drop")
        first.wait_for("written before the drop")
        first.wait_for("-- INSERT --")
        shown = first.wait_for("1,24")  # where the cursor is, which may be drawn last
        drop(bob, first)

        (tmp_path / "second").mkdir()
        second = stack.enter_context(terminal(tmp_path / "second", bob.argv()))
        wait_until(lambda: shown == second.screen, what="the same screen")
        second.type(", and after")
        second.wait_for("written before the drop, and after")


def test_leaving_the_shell_ends_the_session_with_its_status(bob: Client, tmp_path: Path) -> None:
    with ExitStack() as stack:
        window = log_in(stack, tmp_path / "one", bob)
        window.enter("exit 3")
        window.wait_for("status=3")
        wait_until(lambda: sessions(bob) == [], timeout_s=DETACHED_WITHIN_S)
        # The tmux server goes with its last session.
        wait_until(lambda: bob.run("pgrep -x 'tmux: server'").returncode == 1)


def test_two_terminals_are_two_shells(bob: Client, tmp_path: Path) -> None:
    with ExitStack() as stack:
        one = log_in(stack, tmp_path / "one", bob)
        two = log_in(stack, tmp_path / "two", bob)
        one.enter("echo only $((1 + 1)) one")
        one.wait_for("\nonly 2 one")
        assert "only 2 one" not in two.screen
        assert ["1", "1"] == sessions(bob)


def test_the_session_detached_last_is_attached_first(bob: Client, tmp_path: Path) -> None:
    with ExitStack() as stack:
        windows = {name: log_in(stack, tmp_path / name, bob) for name in ("one", "two", "three")}
        for name, window in windows.items():
            window.enter(f"echo I am $((1 + 1)) {name}")
            window.wait_for(f"\nI am 2 {name}")
        for name in ("two", "three", "one"):  # neither the order of their making nor of their use
            drop(bob, windows[name])

        for count, name in enumerate(("one", "three", "two")):
            again = log_in(stack, tmp_path / f"again{count}", bob)
            again.wait_for(f"\nI am 2 {name}")


def test_one_detached_session_is_attached_by_one_of_ten_logins(bob: Client, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = log_in(stack, tmp_path / "first", bob)
        first.enter("echo the $((1 + 1)) one")
        first.wait_for("\nthe 2 one")
        drop(bob, first)

        windows = []
        for number in range(10):
            (tmp_path / str(number)).mkdir()
            windows.append(stack.enter_context(terminal(tmp_path / str(number), bob.argv())))
        for window in windows:
            window.wait_for("bob@rootblood")
        # The prompt may be drawn before what is below it.
        wait_until(lambda: any("\nthe 2 one" in window.screen for window in windows), what="the session")
        assert ["1"] * 10 == sessions(bob)
        assert 1 == sum("\nthe 2 one" in window.screen for window in windows)


def test_commands_and_pipes_never_see_tmux(bob: Client) -> None:
    look = "echo ${TMUX-none} $TERM"
    assert "none" == bob.output(look).split()[0]
    assert (
        b"none screen-256color\r\n"
        == bob.run(look, options=["-tt", "-o", "SetEnv=TERM=screen-256color"]).stdout
    )
    assert "none" == bob.output(stdin=f"{look}\n".encode()).split()[0]
    assert [] == sessions(bob)


def test_an_account_can_choose_plain_shells(bob: Client, tmp_path: Path) -> None:
    assert "tmux\n" == bob.output("rb config shell")
    bob.output("rb config shell plain")
    assert "plain\n" == bob.output("rb config shell")
    with ExitStack() as stack:
        window = log_in(stack, tmp_path / "plain", bob)
        window.enter("shopt -q login_shell && echo ${TMUX-none} $((1 + 1))")
        window.wait_for("\nnone 2")
        assert [] == sessions(bob)
        window.enter("exit 4")
        window.wait_for("status=4")


@pytest.mark.parametrize(
    "arguments", ["", "config", "config shell zsh", "config shell plain tmux", "web 1", "other"]
)
def test_rb_called_wrongly_says_how(bob: Client, arguments: str) -> None:
    done = bob.run(f"rb {arguments}")
    assert (2, b"") == (done.returncode, done.stdout)
    assert done.stderr.startswith(b"usage: rb ")


def test_dotfiles_that_exit_or_are_broken_do_not_end_the_login(bob: Client, tmp_path: Path) -> None:
    bob.output("echo 'nonsense {' >~/.tmux.conf; echo '[[ $- == *i* ]] || exit 9' >~/.bashrc")
    with ExitStack() as stack:
        window = stack.enter_context(terminal(tmp_path, bob.argv()))
        try:
            window.wait_for("$")
            window.enter("echo up $((1 + 1)) ${SHLVL}; tmux -S /run/rootblood/tmux list-sessions | wc -l")
            window.wait_for("\nup 2 1\n1\n")
        finally:
            window.enter("cp /etc/skel/.bashrc ~; exit")
            window.wait_for("status=0")


def test_a_tmux_that_cannot_start_leaves_a_plain_shell(bob: Client, tmp_path: Path) -> None:
    bob.output("rm -rf /run/rootblood; touch /run/rootblood")
    try:
        with ExitStack() as stack:
            window = log_in(stack, tmp_path / "one", bob)
            window.enter("echo up $((1 + 1))")
            window.wait_for("\nup 2")
            assert "this is a plain shell" in window.screen
    finally:
        bob.output("rm -f /run/rootblood")


def test_a_session_that_is_attached_again_has_the_new_connections_agent(
    bob: Client, agent: dict[str, str], tmp_path: Path
) -> None:
    argv = [
        "env",
        f"SSH_AUTH_SOCK={agent['SSH_AUTH_SOCK']}",
        "ssh",
        "-A",
        "-o",
        "IdentityAgent=SSH_AUTH_SOCK",
    ]
    with ExitStack() as stack:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            window = stack.enter_context(terminal(tmp_path / name, [*argv, *bob.argv()[1:]]))
            window.wait_for("bob@rootblood")
            window.enter(f"ssh-add -l; echo {name} status $?")
            window.wait_for(f"\n{name} status 0")
            assert ["1"] == sessions(bob)
            drop(bob, window)


def test_ones_own_tmux_works_inside(bob: Client, tmp_path: Path) -> None:
    with ExitStack() as stack:
        window = log_in(stack, tmp_path / "one", bob)
        assert "[0] 0:" not in window.screen
        window.enter("tmux new-session -s mine")
        window.wait_for("[mine] 0:bash")
        window.press("C-b")
        window.type("%")
        window.wait_for("\u2502")
        window.press("C-b")
        window.type("d")
        window.wait_for("[detached (from session mine)]")


def test_colours_titles_and_the_clipboard_pass(bob: Client, tmp_path: Path) -> None:
    with ExitStack() as stack:
        window = log_in(stack, tmp_path / "one", bob, options=["-o", "SetEnv=TERM=xterm-256color"])
        window.tmux("set-option", "-s", "set-clipboard", "on")
        window.enter(r"printf '\033[38;2;1;2;3mshade\033[0m\n\033]2;a title\007'")
        window.wait_for("\nshade")
        wait_until(lambda: window.tmux("display-message", "-p", "#{pane_title}") == "a title\n")
        assert "\x1b[38;2;1;2;3mshade" in window.tmux("capture-pane", "-p", "-e")
        window.enter(r"printf '\033]52;c;%s\007' $(printf 'cut and paste' | base64)")
        wait_until(lambda: "cut and paste" in window.tmux("list-buffers"))
