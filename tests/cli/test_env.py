"""`rootblood env`, on the fake engine; the same on Docker is in tests/e2e."""

import asyncio
import json

import pytest

from rootblood.domain.environments import StopReason
from rootblood.settings import load_settings
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.visits import SqlVisitStore
from tests.cli.conftest import Outcome, Rootblood, start_environment
from tests.fakes.engine import IMAGE, FakeEngine

pytestmark = pytest.mark.usefixtures("installation")


def add(rootblood: Rootblood, engine: FakeEngine, name: str) -> str:
    """An account with a running environment; returns its userhash."""
    rootblood("user", "add", name)
    accounts = {account["name"]: account for account in json.loads(rootblood("user", "list", "--json").out)}
    userhash = str(accounts[name]["userhash"])
    start_environment(engine, userhash)
    return userhash


def test_environments_are_listed_with_the_names_of_their_accounts(
    engine: FakeEngine, rootblood: Rootblood
) -> None:
    orphan = "f" * 32
    start_environment(engine, orphan)
    bob, alice = add(rootblood, engine, "bob"), add(rootblood, engine, "alice")

    assert [
        {
            "name": name,
            "userhash": userhash,
            "state": "running",
            "image": IMAGE,
            "image_id": engine.host.containers[userhash][1].image_id,
            "engine_id": engine.host.containers[userhash][1].engine_id,
            "created_at": engine.host.containers[userhash][1].created_at.isoformat(timespec="seconds"),
        }
        for name, userhash in (("alice", alice), ("bob", bob), (None, orphan))
    ] == json.loads(rootblood("env", "list", "--json").out)
    assert [
        "NAME",
        "alice",
        "bob",
        "-",
    ] == [line.split()[0] for line in rootblood("env", "list").out.splitlines()]


def test_no_environments(engine: FakeEngine, rootblood: Rootblood) -> None:
    del engine
    assert [] == json.loads(rootblood("env", "list", "--json").out)


def test_stopping(engine: FakeEngine, rootblood: Rootblood) -> None:
    userhash = add(rootblood, engine, "alice")

    assert Outcome(0, "stopped the environment of alice\n", "") == rootblood("env", "stop", "alice")
    assert "stopped" == engine.host.containers[userhash][1].state
    assert StopReason.ADMINISTRATOR is asyncio.run(recorded_stop(userhash))
    assert Outcome(0, "the environment of alice was not running\n", "") == rootblood("env", "stop", "alice")


async def recorded_stop(userhash: str) -> StopReason | None:
    """What the account will be told of the stop."""
    database = Database(load_settings())
    try:
        return await SqlVisitStore(database).replace_stop(userhash, None)
    finally:
        await database.close()


def test_removing_keeps_the_home(engine: FakeEngine, rootblood: Rootblood) -> None:
    userhash = add(rootblood, engine, "alice")

    outcome = rootblood("env", "remove", "alice")

    assert 0 == outcome.status
    assert "the home is untouched" in outcome.out
    assert StopReason.ADMINISTRATOR is asyncio.run(recorded_stop(userhash))
    assert {} == engine.host.containers
    assert engine.host.home(userhash).is_dir()
    assert Outcome(0, "there was no container of alice; the home is untouched\n", "") == rootblood(
        "env", "remove", "alice"
    )


def test_without_an_engine(engine: FakeEngine, rootblood: Rootblood) -> None:
    add(rootblood, engine, "alice")
    engine.away = True

    for arguments in (["list"], ["stop", "alice"], ["remove", "alice"]):
        assert Outcome(1, "", "rootblood: the container engine does not answer\n") == rootblood(
            "env", *arguments
        )


def test_an_account_that_is_not_there(engine: FakeEngine, rootblood: Rootblood) -> None:
    del engine
    for verb in ("stop", "remove"):
        assert Outcome(1, "", "rootblood: there is no account 'bob'\n") == rootblood("env", verb, "bob")
