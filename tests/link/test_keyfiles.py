"""Private key files: one key whoever makes it, and nobody else reads it."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from rootblood.errors import ConfigurationError
from rootblood.link.keyfiles import create_private_key, read_private_key
from tests.programs import running


def test_a_key_is_made_once_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "host_key"
    assert create_private_key(path, "comment") is True
    first = path.read_bytes()
    assert create_private_key(path, "comment") is False
    assert first == path.read_bytes()
    assert 0o600 == path.stat().st_mode & 0o777
    assert {"host_key", "host_key.pub"} == {found.name for found in path.parent.iterdir()}
    key = read_private_key(path)
    assert "ssh-ed25519" == key.get_algorithm()
    assert path.with_name("host_key.pub").read_bytes() == key.export_public_key("openssh")


def test_ssh_keygen_reads_it(tmp_path: Path) -> None:
    create_private_key(tmp_path / "key", "comment")
    shown = subprocess.run(["ssh-keygen", "-y", "-f", tmp_path / "key"], capture_output=True, check=True)
    assert shown.stdout.split()[:2] == (tmp_path / "key.pub").read_bytes().split()[:2]


def test_processes_at_once_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    program = (
        "import sys; from pathlib import Path; from rootblood.link.keyfiles import create_private_key;"
        "print('up', flush=True); sys.stdin.readline();"
        "print(create_private_key(Path(sys.argv[1]), 'comment'))"
    )
    racer = [sys.executable, "-c", program, path]
    with ExitStack() as stack:
        racers = [
            stack.enter_context(running(racer, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for _ in range(4)
        ]
        for one in racers:
            assert one.stdout is not None
            assert b"up\n" == one.stdout.readline()
        for one in racers:
            assert one.stdin is not None
            one.stdin.write(b"go\n")
            one.stdin.flush()
        said = sorted(one.communicate(timeout=120)[0] for one in racers)
    assert [b"False\n", b"False\n", b"False\n", b"True\n"] == said
    assert path.with_name("key.pub").read_bytes() == read_private_key(path).export_public_key("openssh")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    create_private_key(path, "comment")
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_private_key(path)


def test_a_missing_key_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="rootblood setup"):
        read_private_key(tmp_path / "key")


@pytest.mark.parametrize("content", [b"", b"no key\n", b"\xff" * 100])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot read the key"):
        read_private_key(path)
