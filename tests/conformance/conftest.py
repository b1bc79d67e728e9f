"""`rig` is every engine in turn; `docker_rig` is Docker, for what is about Docker alone."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rootblood.domain.environments import Identity
from tests.conformance.rigs import DockerRig, FakeRig, Rig, new_identity, opened
from tests.e2e.installation import Installation, bare
from tests.fakes.engine import FakeEngine, FakeHost


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An instance label that nobody else has; what carries it is removed at the end."""
    with bare(tmp_path_factory.mktemp("engine")) as made:
        yield made.instance
        Installation(made.directory, f"{made.instance}-b").destroy()


@pytest.fixture
def own_instance(tmp_path: Path) -> Iterator[str]:
    """One for one test."""
    with bare(tmp_path) as made:
        yield made.instance


@pytest.fixture
async def docker_rig(instance: str) -> AsyncIterator[DockerRig]:
    async with opened(instance) as rig:
        await rig.engine.install({}, [])
        yield rig


@pytest.fixture(params=["fake", "docker", "docker, direct streams"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    if request.param == "fake":
        fake = FakeEngine(FakeHost(tmp_path))
        await fake.install({}, [])
        yield FakeRig(fake)
        await fake.close()
    else:
        sockets = None if request.param == "docker" else tmp_path / "sockets"
        async with opened(request.getfixturevalue("instance"), sockets) as docker:
            await docker.engine.install({}, [])
            yield docker


@pytest.fixture
def alice() -> Identity:
    return new_identity()
