"""Dotfiles that let no shell start: the rescue console passes them by and puts them aside."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation
from tests.e2e.terminal import terminal

BROKEN_DOTFILES = {
    "exit": "exit 1",
    "exec": "exec false",
    "loop": "while :; do :; done",
}


@pytest.mark.parametrize("how", BROKEN_DOTFILES)
def test_broken_dotfiles_are_passed_by_and_put_aside(
    own_installation: Installation, tmp_path: Path, how: str
) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        rescue = replace(alice, name="alice+rescue")
        broken = BROKEN_DOTFILES[how]
        files = "~/.bashrc ~/.profile ~/.bash_profile ~/.bash_logout ~/.inputrc ~/.tmux.conf"
        alice.output(f"for file in {files}; do echo '{broken}' >$file; done; ln -s /etc/passwd ~/.bash_login")
        assert not _prompts(alice, tmp_path / "broken", within_s=8)

        with terminal(tmp_path, rescue.argv("shell", options=["-t"])) as window:
            window.wait_for("bash-5")
            window.enter("cat ~/.bashrc")
            window.wait_for(f"\n{broken}")
            window.enter("exit")
            window.wait_for("status=0")
        moved, new, _ = rescue.output("dotfiles reset").splitlines()[-3:]
        kept = re.match(r"moved to ~/(dotfiles-20\d\d-\d\d-\d\dT\d{6}Z): \.bashrc ", moved)
        assert kept is not None, moved
        assert new == "new: .bash_logout .bashrc .profile"
        assert (
            alice.output(f"cat {kept[1]}/.bashrc; readlink {kept[1]}/.bash_login; wc -l </etc/passwd") != ""
        )
        assert (
            alice.output(f"cat {kept[1]}/.bashrc; readlink {kept[1]}/.bash_login")
            == f"{broken}\n/etc/passwd\n"
        )
        assert alice.output("for f in $(ls -A /etc/skel); do cmp /etc/skel/$f ~/$f; done") == ""
        rescue.output("restart")  # the session that hangs would be attached again
        assert _prompts(alice, tmp_path / "reset")


def _prompts(client: Client, directory: Path, within_s: float = 60) -> bool:
    """Whether a login on a terminal comes to a shell."""
    directory.mkdir()
    with terminal(directory, client.argv()) as window:
        window.enter("echo at the $((1 + 1))nd prompt")
        try:
            window.wait_for("\nat the 2nd prompt", timeout_s=within_s)
        except AssertionError:
            return False
        return True
