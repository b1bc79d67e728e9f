"""Who lives is told by the kernel: a file that nobody holds any more is of a process that was killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from rootblood.errors import StoreUnavailableError
from rootblood.stores.servers import Servers

_ENTER = """
import sys, time
from pathlib import Path
from rootblood.stores.servers import Servers
servers = Servers(Path(sys.argv[1]))
servers.enter()
print(servers.own, flush=True)
time.sleep(600)
"""


def test_who_is_killed_is_dead_until_it_is_forgotten(tmp_path: Path) -> None:
    mine = Servers(tmp_path / "servers")
    mine.enter()
    argv = [sys.executable, "-c", _ENTER, str(tmp_path / "servers")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        server = other.stdout.readline().strip()
        assert (frozenset([mine.own, server]), frozenset()) == mine.look()
        assert mine.forget(server) is False

        other.kill()

    assert (frozenset([mine.own]), frozenset([server])) == mine.look()
    assert {mine.own} == mine.living()
    assert mine.forget(server) is True
    assert (frozenset([mine.own]), frozenset()) == mine.look()
    mine.leave()


def test_who_leaves_in_order_leaves_no_file(tmp_path: Path) -> None:
    servers = Servers(tmp_path)
    servers.enter()
    servers.leave()
    servers.leave()

    assert [] == list(tmp_path.iterdir())


def test_one_that_nobody_knows_is_neither_living_nor_dead(tmp_path: Path) -> None:
    servers = Servers(tmp_path / "missing")

    assert (frozenset(), frozenset()) == servers.look()
    assert servers.forget("0" * 32) is False


def test_a_directory_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "servers").write_text("")

    with pytest.raises(StoreUnavailableError, match="cannot be used"):
        Servers(tmp_path / "servers").enter()
