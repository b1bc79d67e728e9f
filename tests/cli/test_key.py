"""`rootblood key`: which keys log in."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome, Rootblood

pytestmark = pytest.mark.usefixtures("installation", "engine")

HOSTILE_COMMENT = "evil \x1b]0;title\x07\u202e"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(tmp_path / "id")], check=True
    )
    file = tmp_path / "id.pub"
    file.write_text(f"{file.read_text().strip()} {HOSTILE_COMMENT}\n")
    return file


@pytest.fixture
def fingerprint(key_file: Path) -> str:
    printed = subprocess.run(["ssh-keygen", "-lf", str(key_file)], check=True, capture_output=True).stdout
    return printed.split()[1].decode()


def test_a_key_is_added_listed_and_deleted(rootblood: Rootblood, key_file: Path, fingerprint: str) -> None:
    rootblood("user", "add", "alice")
    shown = f"{fingerprint} evil \\x1b]0;title\\x07\\u202e"

    assert Outcome(0, f"added {shown}\n", "") == rootblood("key", "add", "alice", str(key_file))

    (_, line) = rootblood("key", "list", "alice").out.splitlines()
    assert [fingerprint, "ssh-ed25519"] == line.split()[:2]
    assert line.endswith("evil \\x1b]0;title\\x07\\u202e")
    outcome = rootblood("key", "list", "alice", "--json")
    assert outcome.out.isascii()
    (entry,) = json.loads(outcome.out)
    assert (fingerprint, "ssh-ed25519", HOSTILE_COMMENT) == (
        entry["fingerprint"],
        entry["algorithm"],
        entry["comment"],
    )
    assert key_file.read_text().strip() == entry["line"]

    assert Outcome(0, f"deleted {shown}\n", "") == rootblood("key", "delete", "alice", fingerprint[:20])
    assert [] == json.loads(rootblood("key", "list", "alice", "--json").out)
    assert Outcome(1, "", "rootblood: alice has no such key\n") == rootblood(
        "key", "delete", "alice", fingerprint
    )


def test_a_key_from_stdin(rootblood: Rootblood, key_file: Path, fingerprint: str) -> None:
    rootblood("user", "add", "alice")

    outcome = rootblood("key", "add", "alice", "-", stdin=key_file.read_bytes())

    assert 0 == outcome.status
    assert fingerprint in outcome.out


def test_a_comment_that_is_not_utf_8(rootblood: Rootblood, key_file: Path) -> None:
    rootblood("user", "add", "alice")

    outcome = rootblood("key", "add", "alice", "-", stdin=key_file.read_bytes().strip() + b" caf\xe9\n")

    assert 0 == outcome.status
    assert outcome.out.endswith("caf\ufffd\n")


def test_a_key_that_is_there_already(rootblood: Rootblood, key_file: Path, fingerprint: str) -> None:
    rootblood("user", "add", "alice", "--key-file", str(key_file))

    assert Outcome(1, "", f"rootblood: alice has the key {fingerprint} already\n") == rootblood(
        "key", "add", "alice", str(key_file)
    )


def test_nothing_that_is_no_key(rootblood: Rootblood) -> None:
    rootblood("user", "add", "alice")

    assert Outcome(1, "", "rootblood: stdin: there is no public key in it\n") == rootblood(
        "key", "add", "alice", "-"
    )


def test_an_account_that_is_not_there(rootblood: Rootblood, key_file: Path) -> None:
    for arguments in (["add", "bob", str(key_file)], ["list", "bob"], ["delete", "bob", "SHA256:x"]):
        assert Outcome(1, "", "rootblood: there is no account 'bob'\n") == rootblood("key", *arguments)
