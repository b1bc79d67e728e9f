"""`rootblood doctor`: each check names what is missing, and only that."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Rootblood
from tests.fakes.engine import FakeEngine


@pytest.fixture(autouse=True)
def checked_engine(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of the engine are of the same one as those of what stands on it."""
    monkeypatch.setattr("rootblood.cli.doctor.build_engine", lambda _settings: engine)


def failures(rootblood: Rootblood) -> dict[str, str]:
    """What is wrong, by check."""
    return {
        finding["check"]: finding["detail"]
        for finding in json.loads(rootblood("doctor", "--json").out)
        if not finding["ok"]
    }


def test_an_installation_that_is_set_up_is_well(installation: Path, rootblood: Rootblood) -> None:
    del installation
    assert {} == failures(rootblood)


def test_missing_link_keys_are_no_fault_of_the_database(installation: Path, rootblood: Rootblood) -> None:
    for file in (installation / "keys").glob("link_*"):
        file.unlink()

    found = failures(rootblood)

    assert ["link keys", "environments"] == [*found]
    assert all("rootblood setup" in detail for detail in found.values()), found


def test_a_database_without_a_schema_is_named(installation: Path, rootblood: Rootblood) -> None:
    (installation / "state" / "rootblood.db").unlink()

    found = failures(rootblood)

    assert ["database", "environments"] == [*found]
    assert {"the database has no schema, or an old one; run: rootblood setup"} == {*found.values()}
