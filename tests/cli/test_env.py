"""`rootblood env`, on an engine in memory; the same on Docker is in tests/e2e."""

import json

import pytest

from rootblood.errors import EngineUnavailableError
from tests.cli.conftest import MemoryEngine, Outcome, Rootblood

pytestmark = pytest.mark.usefixtures("installation")


def add(rootblood: Rootblood, engine: MemoryEngine, name: str) -> str:
    """An account with a running environment; returns its userhash."""
    rootblood("user", "add", name)
    accounts = {account["name"]: account for account in json.loads(rootblood("user", "list", "--json").out)}
    userhash = str(accounts[name]["userhash"])
    engine.start(userhash)
    return userhash


def test_environments_are_listed_with_the_names_of_their_accounts(
    engine: MemoryEngine, rootblood: Rootblood
) -> None:
    orphan = "f" * 32
    engine.start(orphan)
    bob, alice = add(rootblood, engine, "bob"), add(rootblood, engine, "alice")

    assert [
        {
            "name": name,
            "userhash": userhash,
            "state": "running",
            "image": "chaospine:1.0.0",
            "engine_id": "0123456789ab",
            "created_at": "2026-07-01T12:00:00+00:00",
        }
        for name, userhash in (("alice", alice), ("bob", bob), (None, orphan))
    ] == json.loads(rootblood("env", "list", "--json").out)
    assert [line.split()[0] for line in rootblood("env", "list").out.splitlines()] == [
        "NAME",
        "alice",
        "bob",
        "-",
    ]


def test_no_environments(engine: MemoryEngine, rootblood: Rootblood) -> None:
    del engine
    assert json.loads(rootblood("env", "list", "--json").out) == []


def test_stopping(engine: MemoryEngine, rootblood: Rootblood) -> None:
    userhash = add(rootblood, engine, "alice")

    assert Outcome(0, "stopped the environment of alice\n", "") == rootblood("env", "stop", "alice")
    assert engine.environments[userhash].state == "stopped"
    assert Outcome(0, "the environment of alice was not running\n", "") == rootblood("env", "stop", "alice")


def test_removing_keeps_the_home(engine: MemoryEngine, rootblood: Rootblood) -> None:
    userhash = add(rootblood, engine, "alice")

    outcome = rootblood("env", "remove", "alice")

    assert outcome.status == 0
    assert "the home is untouched" in outcome.out
    assert ({}, {userhash}) == (engine.environments, engine.homes)
    assert Outcome(0, "there was no container of alice; the home is untouched\n", "") == rootblood(
        "env", "remove", "alice"
    )


def test_without_an_engine(engine: MemoryEngine, rootblood: Rootblood) -> None:
    add(rootblood, engine, "alice")
    engine.failure = EngineUnavailableError("Docker is away")

    for arguments in (["list"], ["stop", "alice"], ["remove", "alice"]):
        assert Outcome(1, "", "rootblood: Docker is away\n") == rootblood("env", *arguments)


def test_an_account_that_is_not_there(engine: MemoryEngine, rootblood: Rootblood) -> None:
    del engine
    for verb in ("stop", "remove"):
        assert Outcome(1, "", "rootblood: there is no account 'bob'\n") == rootblood("env", verb, "bob")
