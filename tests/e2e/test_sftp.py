"""SFTP and scp beyond one file: many, half of one, links, and a home that works against them."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.clients.paramiko import Paramiko
from tests.e2e.conftest import client_of, login_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, Server

MANY = 10_000

BROKEN_HOME = r"""
mkdir -p bin
for name in scp sftp-server internal-sftp tar sshd; do
    printf '#!/bin/sh\necho %s >> ~/fakes-that-ran\necho I am a fake\nexit 1\n' $name > bin/$name
    chmod 755 bin/$name
done
cat > .bashrc <<'EOF'
echo "words in the way of any protocol"
PATH=$HOME/bin:$PATH
echo .bashrc >> ~/dotfiles-that-ran
exit 1
EOF
cp .bashrc .bash_profile
cp .bashrc .profile
"""


def test_ten_thousand_small_files(alice: Client, tmp_path: Path) -> None:
    tree = tmp_path / "many"
    tree.mkdir()
    for number in range(MANY):
        (tree / f"{number:05}").write_text(f"{number}\n")
    names = [f"{number:05}" for number in range(MANY)]

    alice.sftp("mkdir many", f"put -r {tree}")
    listed = alice.sftp("ls -1 many").split()

    assert names == [Path(line).name for line in listed]
    assert alice.output("cat many/* | sort -n | uniq | wc -l; rm -r many") == f"{MANY}\n"


def test_reput_and_reget_go_on_where_it_broke_off(alice: Client, tmp_path: Path) -> None:
    data = os.urandom(1_000_000)
    half = len(data) // 2
    marked = b"#" * half + data[half:]  # a half that is not sent again can be told from one that is
    (tmp_path / "whole").write_bytes(data)
    (tmp_path / "partly").write_bytes(b"#" * half)

    alice.output("cat > there", stdin=b"#" * half)
    alice.sftp(f"reput {tmp_path}/whole there")
    assert alice.run("cat there").stdout == marked

    alice.output("cat > there", stdin=data)
    alice.sftp(f"reget there {tmp_path}/partly", "rm there")
    assert (tmp_path / "partly").read_bytes() == marked


def test_symlinks(installation: Installation, server: Server, tmp_path: Path) -> None:
    login = login_of(installation, server, "alice", tmp_path)
    with Paramiko().connected(login) as client, client.open_sftp() as files:
        files.mkdir("links")
        files.chdir("links")
        with files.open("file", "w") as file:
            file.write("text")
        files.symlink("file", "to-file")
        files.symlink("..", "to-directory")
        files.symlink("/nowhere", "dangling")

        assert ["file", "..", "/nowhere"] == [
            files.readlink(name) for name in ("to-file", "to-directory", "dangling")
        ]
        assert stat.S_ISLNK(files.lstat("to-file").st_mode or 0)
        assert files.stat("to-file").st_size == 4
        assert "links" in files.listdir("to-directory")
        assert files.normalize("to-file") == f"/home/{installation.userhash('alice')}/links/file"
        with pytest.raises(FileNotFoundError):
            files.stat("dangling")

        for name in ("to-file", "to-directory", "dangling", "file"):
            files.remove(name)
        files.chdir()
        files.rmdir("links")


@pytest.fixture
def sabotaged(own_installation: Installation) -> Iterator[Client]:
    """An account whose PATH has fakes in it and whose dotfiles talk and exit."""
    with own_installation.serving() as server:
        client = client_of(own_installation, server, "alice")
        client.output("bash", stdin=BROKEN_HOME.encode())
        yield client


def downloaded(client: Client, name: str, to: Path) -> bytes:
    client.sftp(f"get {name} {to}")
    return to.read_bytes()


def test_sftp_and_scp_run_nothing_of_the_home(sabotaged: Client, tmp_path: Path) -> None:
    data = os.urandom(100_000)
    (tmp_path / "data").write_bytes(data)
    options = ["-s", *sabotaged.options, "-P", str(sabotaged.port)]

    sabotaged.sftp(f"put {tmp_path}/data by-sftp")
    subprocess.run(
        ["scp", *options, tmp_path / "data", f"{sabotaged.target}:by-scp"],
        check=True,
        timeout=CLIENT_TIMEOUT_S,
    )

    assert downloaded(sabotaged, "by-sftp", tmp_path / "back") == data
    assert downloaded(sabotaged, "by-scp", tmp_path / "back") == data
    left = sabotaged.sftp("ls -1").split()
    assert {"by-sftp", "by-scp"} <= set(left)
    assert {"fakes-that-ran", "dotfiles-that-ran"}.isdisjoint(left)


@pytest.mark.parametrize("options", [[], ["-r"], ["-p", "-q"]])
def test_scp_of_old_runs_nothing_of_the_home_either(
    sabotaged: Client, tmp_path: Path, options: list[str]
) -> None:
    """The old protocol is a command, which the account's shell looks up in its PATH."""
    data = os.urandom(100_000)
    (tmp_path / "data").write_bytes(data)
    scp = ["scp", "-O", *options, *sabotaged.options, "-P", str(sabotaged.port)]

    subprocess.run(
        [*scp, tmp_path / "data", f"{sabotaged.target}:by-old-scp"], check=True, timeout=CLIENT_TIMEOUT_S
    )
    subprocess.run(
        [*scp, f"{sabotaged.target}:by-old-scp", tmp_path / "back"], check=True, timeout=CLIENT_TIMEOUT_S
    )

    assert (tmp_path / "back").read_bytes() == data
    left = sabotaged.sftp("ls -1").split()
    assert {"fakes-that-ran", "dotfiles-that-ran"}.isdisjoint(left)


def test_a_bashrc_that_exits_does_not_keep_commands_and_rsync_out(
    own_installation: Installation, tmp_path: Path
) -> None:
    with own_installation.serving() as server:
        client = client_of(own_installation, server, "alice")
        client.output("echo 'exit 1' >.bashrc")
        assert client.output("echo in") == "in\n"
        (tmp_path / "data").write_text("text")
        ssh = " ".join(["ssh", *client.options, "-p", str(client.port)])
        subprocess.run(
            ["rsync", "-a", "-e", ssh, tmp_path / "data", f"{client.target}:"],
            check=True,
            timeout=CLIENT_TIMEOUT_S,
        )
        assert client.output("cat data") == "text"
