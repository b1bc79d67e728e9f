"""Files over the SSH door, by the clients people have."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.installation import Client


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a client that must succeed."""
    done = subprocess.run(
        argv, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "ten megabytes"
    file.write_bytes(os.urandom(10_000_000))
    return file


@pytest.mark.parametrize("protocol", ["-s", "-O"], ids=["sftp", "legacy"])
def test_scp_there_and_back(alice: Client, data: Path, tmp_path: Path, protocol: str) -> None:
    options = [protocol, *alice.options, "-P", str(alice.port)]

    run("scp", *options, str(data), f"{alice.target}:copied")
    run("scp", *options, f"{alice.target}:copied", str(tmp_path / "back"))

    assert (
        hashlib.sha256((tmp_path / "back").read_bytes()).digest()
        == hashlib.sha256(data.read_bytes()).digest()
    )


def test_sftp_lists_renames_and_links(alice: Client, tmp_path: Path) -> None:
    batch = tmp_path / "batch"
    batch.write_text(
        "mkdir box\ncd box\nput " + str(batch) + " one\nrename one two\nsymlink two three\nls -1\n"
        "rm three\nrm two\ncd ..\nrmdir box\n"
    )

    listed = run("sftp", "-b", str(batch), *alice.options, "-P", str(alice.port), alice.target).stdout

    assert [line for line in listed.splitlines() if not line.startswith("sftp>")] == ["three", "two"]


def test_rsync_mirrors_a_tree(alice: Client, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "er" / "file").write_text("text")
    (tree / "link").symlink_to("deep/er/file")
    arguments = ["-a", "--delete", "-e", alice.remote_shell]

    run("rsync", *arguments, f"{tree}/", f"{alice.target}:mirror/")
    (tree / "deep" / "er" / "file").unlink()
    run("rsync", *arguments, f"{tree}/", f"{alice.target}:mirror/")
    run("rsync", *arguments, f"{alice.target}:mirror/", f"{tmp_path / 'back'}/")

    assert (tmp_path / "back" / "link").readlink() == Path("deep/er/file")
    assert list((tmp_path / "back" / "deep" / "er").iterdir()) == []


def test_git_push_and_clone(alice: Client, tmp_path: Path) -> None:
    work = tmp_path / "work"
    git = ["git", "-c", "user.name=Alice", "-c", "user.email=alice@example.org", "-C", str(work)]
    alice.output("rm -rf project.git; git init --quiet --bare --initial-branch=main project.git")
    url = f"ssh://{alice.target}:{alice.port}/~/project.git"
    over = alice.remote_shell

    run("git", "init", "--quiet", "--initial-branch=main", str(work))
    (work / "README").write_text("shared by git\n")
    run(*git, "add", "README")
    run(*git, "commit", "--quiet", "-m", "First")
    run(*git, "push", "--quiet", url, "main", GIT_SSH_COMMAND=over)
    run("git", "clone", "--quiet", url, str(tmp_path / "clone"), GIT_SSH_COMMAND=over)

    assert (tmp_path / "clone" / "README").read_text() == "shared by git\n"
