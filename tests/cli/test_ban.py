"""`rootblood ban`."""

import json
from datetime import datetime, timedelta

import pytest

from tests.cli.conftest import Rootblood
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.usefixtures("installation")


@pytest.fixture(autouse=True)
def engine(engine: FakeEngine) -> FakeEngine:
    return engine


def test_bans_are_added_listed_and_lifted(rootblood: Rootblood) -> None:
    added = rootblood("ban", "add", "192.0.2.0/24")
    assert "banned 192.0.2.0/24 until it is lifted" == added.out.splitlines()[-1]
    added = rootblood("ban", "add", "2001:DB8::1", "--for", "12h", "--reason", "brute force")
    assert added.out.splitlines()[-1].startswith("banned 2001:db8::1 until 2")

    newer, older = json.loads(rootblood("ban", "list", "--json").out)
    assert ("192.0.2.0/24", "", None) == (older["network"], older["reason"], older["expires_at"])
    assert ("2001:db8::1", "brute force") == (newer["network"], newer["reason"])
    lasting = datetime.fromisoformat(newer["expires_at"]) - datetime.fromisoformat(newer["created_at"])
    assert timedelta(hours=12) == lasting
    table = rootblood("ban", "list").out.splitlines()
    assert ["NETWORK", "SINCE", "UNTIL", "REASON"] == table[0].split()
    assert "it is lifted" in table[2]

    assert 0 == rootblood("ban", "lift", "192.0.2.0/24").status
    again = rootblood("ban", "lift", "192.0.2.0/24")
    assert (1, "rootblood: there is no ban on 192.0.2.0/24\n") == (again.status, again.err)
    assert ["2001:db8::1"] == [ban["network"] for ban in json.loads(rootblood("ban", "list", "--json").out)]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["example.org"], 1, "'example.org' is no network"),
        (["192.0.2.1/24"], 1, "give the network, 192.0.2.0/24"),
        (["192.0.2.1", "--reason", "\x1b[2J"], 1, "a reason is one line"),
        (["192.0.2.1", "--for", "soon"], 2, "--for takes a number"),
        (["192.0.2.1", "--for", "0s"], 2, "--for takes a number"),
        (["192.0.2.1", "--for", "99999d"], 2, "--for takes a number"),
    ],
)
def test_what_cannot_be_is_refused(
    rootblood: Rootblood, arguments: list[str], status: int, message: str
) -> None:
    outcome = rootblood("ban", "add", *arguments)

    assert (status, True) == (outcome.status, message in outcome.err), outcome.err
    assert [] == json.loads(rootblood("ban", "list", "--json").out)
