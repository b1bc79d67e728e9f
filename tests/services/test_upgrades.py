"""One upgrade or rollback of an installation at a time, whichever process began it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rootblood.domain.environments import Environment, Identity
from rootblood.errors import ConflictError, EnvironmentFailedError
from rootblood.services.notices import Notices
from rootblood.services.upgrades import Upgrades
from rootblood.settings import LinkSettings
from rootblood.stores.locks import FileAccountLocks
from tests.fakes.reaping import Ground, made_ground


async def test_while_one_is_under_way_another_is_refused_at_once(
    tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def trial(_identity: Identity, _image_id: str) -> AsyncIterator[Environment]:
        begun.set()
        await go.wait()
        raise EnvironmentFailedError("it ends at once")
        yield

    async with made_ground(tmp_path, template) as ground:
        await ground.start()
        ground.engine.host.build("second")
        monkeypatch.setattr(ground.engine, "trial", trial)
        one, other = (process(ground, tmp_path / "locks") for _ in range(2))
        first = asyncio.create_task(one.upgrade(now=False, tell=print))
        await begun.wait()

        for begin in (other.upgrade, other.rollback):
            with pytest.raises(ConflictError, match="another upgrade or rollback is under way"):
                await begin(now=True, tell=print)

        go.set()
        with pytest.raises(EnvironmentFailedError, match="nothing was changed: it ends at once"):
            await first
        with pytest.raises(EnvironmentFailedError, match="nothing was changed: it ends at once"):
            await other.upgrade(now=False, tell=print)


def process(ground: Ground, locks: Path) -> Upgrades:
    """What each process of the installation has."""
    server = ground.server()
    return Upgrades(
        engine=ground.engine,
        environments=server.environments,
        store=ground.store,
        notices=Notices(server.environments),
        locks=FileAccountLocks(locks),
        keys=ground.keys,
        settings=LinkSettings(),
    )
