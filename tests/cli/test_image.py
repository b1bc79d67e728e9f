"""Environments to another image and back, on the fake engine and a real SSH server in it.

Docker, with images that are really built: test_images.py in tests/conformance, test_image_upgrade.py in e2e.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rootblood.domain.environments import EnvironmentState
from rootblood.link.link import ENTER_PROGRAM
from tests.cli.conftest import Rootblood, start_environment
from tests.fakes import sshd, tmux
from tests.fakes.engine import FakeEngine

NAMES = ["alice", "bob", "carol", "dave", "erin", "frank"]


@pytest.fixture(autouse=True)
def no_logs() -> Iterator[None]:
    """As for every command, whose log is not set up here: it would be on stdout."""
    with capture_logs():
        yield


@pytest.fixture(autouse=True)
def hashes(
    installation: Path, engine: FakeEngine, rootblood: Rootblood, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Accounts whose environments run, by name, and can be entered."""
    del installation
    system = engine.host.system("default")
    monkeypatch.setitem(engine._programs, ENTER_PROGRAM, [sys.executable, sshd.__file__, str(system)])
    monkeypatch.setattr("rootblood.cli.doctor.build_engine", lambda _settings: engine)
    monkeypatch.setitem(engine._programs, "/usr/bin/tmux", [sys.executable, tmux.__file__])
    for name in NAMES:
        assert 0 == rootblood("user", "add", name).status
    found = {user["name"]: user["userhash"] for user in printed(rootblood, "user", "list")}
    for userhash in found.values():
        start_environment(engine, userhash)
    return found


def printed(rootblood: Rootblood, *arguments: str, status: int = 0) -> Any:
    done = rootblood(*arguments, "--json")
    assert status == done.status, done.err
    return json.loads(done.out)


def running_on(engine: FakeEngine) -> dict[str, str]:
    """The image of each environment that runs, by userhash."""
    return {
        userhash: one.image_id
        for userhash, (_, one) in engine.host.containers.items()
        if one.state is EnvironmentState.RUNNING
    }


def test_without_a_newer_image_there_is_nothing_to_do(engine: FakeEngine, rootblood: Rootblood) -> None:
    first = engine.host.built
    assert [
        {
            "image": first.id,
            "is": ["current", "newest"],
            "created_at": first.created_at.isoformat(timespec="seconds"),
            "running": NAMES,
            "stopped": [],
        }
    ] == printed(rootblood, "image", "list")
    told = rootblood("image", "upgrade")
    assert (0, "") == (told.status, told.err)
    assert (
        f"image {first.short_id} was in use already; moved: 0, waiting for their next start: 0\n" == told.out
    )
    refused = rootblood("image", "rollback")
    assert 1 == refused.status
    assert "there is no image to go back to" in refused.err
    assert 1 == len(refused.err.splitlines())


def test_environments_move_at_their_next_start(
    engine: FakeEngine, rootblood: Rootblood, hashes: dict[str, str]
) -> None:
    first, second = engine.host.built, engine.host.build("second")
    assert "image upgrade" in rootblood("setup").err
    told = printed(rootblood, "image", "upgrade")
    assert (second.id, True, [], [], NAMES) == (
        told["image"],
        told["accepted"],
        told["moved"],
        told["failed"],
        told["waiting"],
    )
    assert {first.id} == set(running_on(engine).values())
    doctor = rootblood("doctor").out
    assert f"image: fake:1, {second.short_id}; 6 environments are of another" in doctor

    for name in ("alice", "bob"):
        assert 0 == rootblood("env", "stop", name).status
    start_environment(engine, hashes["alice"])
    assert {hashes["alice"]} == {
        userhash for userhash, image in running_on(engine).items() if image == second.id
    }
    current, previous = printed(rootblood, "image", "list")
    assert (["current", "newest"], ["alice"], []) == (current["is"], current["running"], current["stopped"])
    assert (["previous"], NAMES[2:], ["bob"]) == (previous["is"], previous["running"], previous["stopped"])
    table = rootblood("image", "list").out.splitlines()
    assert ["IMAGE", "IS", "MADE", "RUNNING", "STOPPED"] == table[0].split()
    assert [second.short_id, first.short_id] == [line.split()[0] for line in table[1:]]


def test_now_moves_what_runs_and_leaves_homes_and_what_is_stopped_alone(
    engine: FakeEngine, rootblood: Rootblood, hashes: dict[str, str]
) -> None:
    note = engine.host.home(hashes["alice"]) / "note"
    note.write_text("mine")
    assert 0 == rootblood("env", "stop", "bob").status
    second = engine.host.build("second")
    told = printed(rootblood, "image", "upgrade", "--now")

    moved = [name for name in NAMES if name != "bob"]
    assert (moved, [], []) == (told["moved"], told["failed"], told["waiting"])
    assert {hashes[name]: second.id for name in moved} == running_on(engine)
    assert "mine" == note.read_text()
    trail = printed(rootblood, "user", "activity", "alice")
    assert ("environment_restarted", f"of image {second.short_id}") in {
        (event["action"], event["detail"]) for event in trail
    }

    back = printed(rootblood, "image", "rollback", "--now")
    assert moved == back["moved"]
    assert {second.id} != set(running_on(engine).values())
    assert "newer one is built" not in rootblood("doctor").out  # it was rolled back on purpose
    again = printed(rootblood, "image", "upgrade", "--now")
    assert (second.id, moved) == (again["image"], again["moved"])


def test_an_image_that_cannot_be_entered_changes_nothing(
    engine: FakeEngine, rootblood: Rootblood, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = engine.host.built, engine.host.build("second")
    engine.host.broken_images.add(second.id)
    refused = rootblood("image", "upgrade", "--now")
    assert 1 == refused.status
    assert f"image {second.short_id} does not work, so nothing was changed: it does not start" in refused.err

    engine.host.broken_images.clear()
    monkeypatch.setitem(engine._programs, ENTER_PROGRAM, ["/bin/false"])
    refused = rootblood("image", "upgrade", "--now")
    assert 1 == refused.status
    assert "so nothing was changed: your environment cannot be entered" in refused.err
    assert ["current"] == printed(rootblood, "image", "list")[0]["is"]
    assert {first.id} == set(running_on(engine).values())


def test_one_that_fails_is_the_last_that_is_begun(engine: FakeEngine, rootblood: Rootblood) -> None:
    first = engine.host.built
    engine.host.build("second")
    engine.fail_starts = True
    told = printed(rootblood, "image", "upgrade", "--now", status=1)
    failed = [row["name"] for row in told["failed"]]
    assert failed
    assert told["waiting"]
    assert sorted(NAMES) == sorted(failed + told["waiting"])
    assert {first.id} == set(running_on(engine).values())
    assert len(told["waiting"]) == len(running_on(engine))


def test_no_image_is_told_as_such(engine: FakeEngine, rootblood: Rootblood) -> None:
    engine.image_present = False
    refused = rootblood("image", "upgrade")
    assert (1, 1) == (refused.status, len(refused.err.splitlines()))
    assert "there is no image fake:1; build it with 'make image'" in refused.err
