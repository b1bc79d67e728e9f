"""Who asks is said at every door: where nothing is said, a service takes it for the operator."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import rootblood
from rootblood.services.accounts import Accounts
from rootblood.services.environments import Environments
from rootblood.services.exports import Exports
from rootblood.services.links import Links
from rootblood.services.logins import Logins
from rootblood.services.tokens import Tokens

DOORS = [
    file for room in ("web", "ssh") for file in sorted((Path(rootblood.__file__).parent / room).rglob("*.py"))
]
RECORDED = {
    kind.__name__.lower(): {
        name
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if "by" in inspect.signature(method).parameters
    }
    for kind in (Accounts, Environments, Exports, Links, Logins, Tokens)
}


def silent_calls(source: str) -> Iterator[str]:
    """Calls of what is recorded that do not say by whom."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        service = ast.unparse(node.func.value).rpartition(".")[2].removeprefix("_")
        said = "by" in {keyword.arg for keyword in node.keywords}
        if node.func.attr in RECORDED.get(service, ()) and not said:
            yield f"{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("file", DOORS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_door_says_who_asks(file: Path) -> None:
    assert [] == list(silent_calls(file.read_text()))


def test_one_that_does_not_is_found() -> None:
    assert {"lock", "add_key", "set_password"} <= RECORDED["accounts"]
    assert ["1: self._accounts.lock(name)"] == list(silent_calls("self._accounts.lock(name)"))
    assert ["1: x.environments.link(a)"] == list(silent_calls("x.environments.link(a)"))
    assert [] == list(silent_calls("self._accounts.lock(name, by=actor)"))
