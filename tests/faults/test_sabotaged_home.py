"""What users do to their own homes: commands, files, tarballs and the rescue console work all the same."""

import hashlib
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import client_of, make_installation
from tests.e2e.installation import Client, Installation
from tests.e2e.outcomes import says_ok
from tests.e2e.terminal import terminal

PROGRAMS = (
    "bash sh sshd sshd-session sftp-server scp tar gzip zstd tmux python3 env id getent cat ls cp mv rm "
    "mkdir mktemp stat find sleep head perl rb"
)

FAKES = f"""
PATH=/usr/bin:/bin
mkdir -p ~/bin ~/.ssh
for name in {PROGRAMS}; do
    printf '#!/bin/bash -p\\necho fake $0\\nexit 66\\n' >~/bin/$name
    /bin/chmod 755 ~/bin/$name
done
cat >~/.bashrc <<'END'
export PATH=$HOME/bin BASH_ENV=$HOME/.bashrc ENV=$HOME/.bashrc TAR_OPTIONS=--to-command=false GZIP=-1
export PYTHONPATH=$HOME/bin PYTHONHOME=/nowhere POSIXLY_CORRECT=1
for name in {PROGRAMS}; do
    alias $name='echo fake alias'
    eval "$name() {{ echo fake function; return 66; }}; export -f $name"
done
END
cp ~/.bashrc ~/.profile
cp ~/.bashrc ~/.bash_profile
echo "PATH=$HOME/bin" >~/.ssh/environment
echo 'echo fake; exit 66' >~/.ssh/rc
echo 'set-option -g default-command false' >~/.tmux.conf
"""


def in_each_dotfile(line: str) -> str:
    """Have every file that a shell may read at its start consist of that line."""
    return f"for file in .bashrc .profile .bash_profile; do echo '{line}' >~/$file; done"


SABOTAGE = {
    "deletes all dotfiles": "rm -rf ~/.[!.]*",
    "deletes all": "rm -rf ~/* ~/.[!.]*",
    "prints from .bashrc": in_each_dotfile("echo noise; echo noise >&2"),
    "exits from .bashrc": in_each_dotfile("exit 1"),
    "never ends .bashrc": in_each_dotfile("sleep 1000"),
    "makes dotfiles directories": "rm -f ~/.bashrc ~/.profile; mkdir -p ~/.bashrc ~/.profile ~/.bash_profile",
    "fakes programs": FAKES,
}

HOME_AGAIN = """
PATH=/usr/bin:/bin
unset BASH_ENV ENV
/bin/rm -rf ~/* ~/.[!.]*
/bin/cp -R /etc/skel/. ~
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with make_installation(tmp_path_factory.mktemp("sabotage")) as made:
        yield made


@pytest.fixture(scope="module")
def alice(house: Installation) -> Iterator[Client]:
    with house.serving() as server:
        yield client_of(house, server, "alice")


@pytest.fixture(params=SABOTAGE)
def sabotaged(request: pytest.FixtureRequest, alice: Client) -> Iterator[Client]:
    """Alice, who has done that to her home."""
    alice.output(SABOTAGE[request.param])
    yield alice
    alice.output(HOME_AGAIN)


def test_the_fakes_are_met_by_who_asks_for_them(alice: Client) -> None:
    alice.output(FAKES)
    try:
        assert (66, b"fake ") == ((done := alice.run("tar")).returncode, done.stdout[:5])
    finally:
        alice.output(HOME_AGAIN)


def test_all_works(sabotaged: Client, tmp_path: Path) -> None:
    assert says_ok(sabotaged)
    assert sabotaged.output("/usr/bin/id -un") == "alice\n"

    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(hashlib.shake_256(b"seed").digest(300_000))
    sabotaged.sftp(f"put {sent} kept", f"get kept {back}")
    assert back.read_bytes() == sent.read_bytes()

    for kind in ("gz", "zst"):
        drive = replace(sabotaged, name="alice+export")
        drive.sftp(f"get home.tar.{kind} {tmp_path}")
    assert content_of(tmp_path / "home.tar.gz") == sent.read_bytes()
    subprocess.run(["zstd", "-q", "-t", tmp_path / "home.tar.zst"], check=True, timeout=60)

    rescue = replace(sabotaged, name="alice+rescue")
    assert rescue.output("status").startswith("state      running since")
    with terminal(tmp_path, rescue.argv("shell", options=["-t"])) as window:
        window.wait_for("bash-5")
        window.enter("type -a tar; alias; echo in $((1 + 1)) $PATH")
        screen = window.wait_for("\nin 2 /")
        assert "fake" not in screen
        window.enter("exit")
        window.wait_for("status=0")


def content_of(archive: Path) -> bytes:
    """What the tarball has of the file that was sent."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile("home/kept")
        assert file is not None
        return file.read()
