"""`rootblood reap --once`, on the fake engine; the same on Docker is in tests/e2e."""

import json

import pytest

from tests.cli.conftest import Rootblood, start_environment
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.usefixtures("installation")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, installation: object) -> None:
    """Whatever is looked at for the second time is due."""
    del installation
    monkeypatch.setenv("ROOTBLOOD_REAPER__IDLE_STOP_S", "0.001")
    monkeypatch.setenv("ROOTBLOOD_REAPER__TMUX_JOBS", "false")


def add(rootblood: Rootblood, engine: FakeEngine, name: str) -> str:
    """An account with a running environment; returns its userhash."""
    rootblood("user", "add", name)
    accounts = {account["name"]: account for account in json.loads(rootblood("user", "list", "--json").out)}
    userhash = str(accounts[name]["userhash"])
    start_environment(engine, userhash)
    return userhash


def test_what_is_due_is_stopped_and_a_dry_run_says_so_first(engine: FakeEngine, rootblood: Rootblood) -> None:
    userhash = add(rootblood, engine, "alice")

    assert ["alice", "idle"] == rootblood("reap", "--once").out.splitlines()[1].split()[:2]
    for _ in range(2):
        (found,) = json.loads(rootblood("reap", "--once", "--dry-run", "--json").out)
        assert ("alice", userhash, "stopped") == (found["name"], found["userhash"], found["verdict"])
        assert "running" == engine.host.containers[userhash][1].state
    done = rootblood("reap", "--once")
    assert ["alice", "stopped"] == done.out.splitlines()[-1].split()[:2]
    assert "stopped" == engine.host.containers[userhash][1].state


def test_without_once_it_says_what_to_do(engine: FakeEngine, rootblood: Rootblood) -> None:
    del engine
    done = rootblood("reap")
    assert (2, "") == (done.status, done.out)
    assert "--once" in done.err


def test_an_engine_that_is_away_is_one_line(engine: FakeEngine, rootblood: Rootblood) -> None:
    engine.away = True
    done = rootblood("reap", "--once")
    assert (1, "rootblood: the container engine does not answer\n") == (done.status, done.err)
