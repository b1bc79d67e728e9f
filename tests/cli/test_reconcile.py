"""`rootblood reconcile`, on the fake engine; the same on Docker is in tests/faults."""

import json
from pathlib import Path

import pytest

from rootblood.domain.accounts import new_userhash
from tests.cli.conftest import Rootblood, start_environment
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.usefixtures("installation")


def test_a_dry_run_tells_and_the_real_one_does(
    engine: FakeEngine, rootblood: Rootblood, directory: Path
) -> None:
    rootblood("user", "add", "alice")
    stranger = new_userhash()
    start_environment(engine, stranger)
    (directory / "state" / "servers" / f"{'d' * 32}.lock").touch()

    for _ in range(2):
        found = json.loads(rootblood("reconcile", "--dry-run", "--json").out)
        assert [
            ("remove", "container-without-account"),
            ("report", "home-without-account"),
            ("remove", "process-killed"),
        ] == [(one["action"], one["kind"]) for one in found]
    done = rootblood("reconcile")
    assert (0, "") == (done.status, done.err)
    assert 3 == len(done.out.splitlines())
    assert stranger not in engine.host.containers

    left = rootblood("reconcile", "--dry-run")
    assert left.out.startswith(f"report home-without-account home_{stranger}: ")
    assert left.out.endswith(f"docker volume rm home_{stranger}\n")


def test_an_engine_that_is_away_is_one_line(engine: FakeEngine, rootblood: Rootblood) -> None:
    engine.away = True
    done = rootblood("reconcile")
    assert (1, "", "rootblood: the container engine does not answer\n") == (done.status, done.out, done.err)
