"""New settings reach every service that has some, whichever holds them."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MethodType

import pytest
from blockbuster import BlockBuster
from pydantic import BaseModel

from rootblood.app import open_core
from rootblood.changes import RELOADABLE
from rootblood.setting_up import set_up
from rootblood.settings import (
    EnvironmentSettings,
    ExportSettings,
    LimitsSettings,
    LinkSettings,
    PasswordSettings,
    Settings,
)


def groups_in(root: object) -> Iterator[tuple[str, BaseModel]]:
    """The groups of settings that objects of RootBlood's hold, from `root` on, and who holds them."""
    seen: set[int] = set()
    ahead: list[tuple[str, object]] = [("", root)]
    while ahead:
        holder, found = ahead.pop()
        if id(found) in seen:
            continue
        if isinstance(found, BaseModel):
            yield holder, found
            continue
        seen.add(id(found))
        name = type(found).__qualname__
        parts: list[object] = []
        if isinstance(found, Mapping):
            parts = list(found.values())
        elif isinstance(found, list | tuple | set | frozenset):
            parts = list(found)
        elif isinstance(found, MethodType):
            parts = [found.__self__]
        elif isinstance(found, functools.partial):
            parts = [found.func, *found.args]
        elif type(found).__module__.startswith("rootblood"):
            slots = [slot for kind in type(found).__mro__ for slot in getattr(kind, "__slots__", ())]
            names = {*getattr(found, "__dict__", {}), *slots}
            parts = [getattr(found, each) for each in names if hasattr(found, each)]
            holder = name
        ahead += [(holder, part) for part in parts]


@pytest.fixture
async def settings(tmp_path: Path, no_blocking_calls: BlockBuster) -> Settings:
    """Of an installation that is set up; setting up and starting may block, as nobody is served yet."""
    no_blocking_calls.deactivate()
    settings = Settings(state_dir=tmp_path / "state", keys_dir=tmp_path / "keys")
    await set_up(settings)
    return settings


async def test_no_service_goes_on_with_old_settings(settings: Settings) -> None:
    new = settings.model_copy(deep=True)
    taken = {id(getattr(new, group)): group for group in RELOADABLE if "." not in group}
    async with open_core(settings) as core:
        before = {type(group) for _, group in groups_in(core)}
        core.apply(new)
        after = [(holder, group) for holder, group in groups_in(core) if not isinstance(group, Settings)]

    reloadable = {type(getattr(new, group)) for group in taken.values()}
    assert {EnvironmentSettings, LimitsSettings, LinkSettings, PasswordSettings, ExportSettings} <= before
    assert [] == [
        (holder, type(group).__name__)
        for holder, group in after
        if type(group) in reloadable and id(group) not in taken
    ]
