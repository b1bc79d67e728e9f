"""Which image environments are made of, on every engine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from rootblood.domain.environments import Identity, RestartReason
from rootblood.domain.images import ImageRole
from rootblood.engines.base import Engine
from rootblood.errors import EnvironmentFailedError
from rootblood.settings import EnvironmentSettings, LimitsSettings
from tests.conformance.rigs import docker_engine
from tests.e2e.installation import bare, docker_api
from tests.fakes.engine import FakeEngine, FakeHost
from tests.images import own_image


@dataclass
class Builder:
    """An engine, and the hands of who builds images for it."""

    engine: Engine
    build: Callable[[str], Awaitable[str]]
    """Gives the name of the settings to a new image: `good`, or one that ends at once, `broken`."""


@pytest.fixture(params=["fake", "docker"])
async def builder(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Builder]:
    if request.param == "fake":
        host = FakeHost(tmp_path)
        fake = FakeEngine(host)

        async def build_fake(kind: str) -> str:
            made = host.build(f"{kind} {host.built.id}")
            if kind == "broken":
                host.broken_images.add(made.id)
            return made.id

        yield Builder(fake, build_fake)
        await fake.close()
        return
    with own_image() as image, bare(tmp_path) as own:
        engine = docker_engine(own.instance, environment=EnvironmentSettings(image=image.name))

        async def build(kind: str) -> str:
            return await asyncio.to_thread(image.build, *['CMD ["/bin/false"]'] * (kind == "broken"))

        await build("good")
        try:
            yield Builder(engine, build)
        finally:
            await engine.close()


async def test_what_was_built_is_used_once_it_is_accepted_and_at_the_next_start(
    builder: Builder, alice: Identity
) -> None:
    engine = builder.engine
    await engine.install({}, [alice])
    first = (await engine.ensure(alice)).image_id
    second = await builder.build("good")
    images = await engine.images()
    assert [ImageRole.CURRENT] == images.roles(first)
    assert [ImageRole.NEWEST] == images.roles(second)
    assert images.upgrade_waits

    await engine.stop(alice.userhash)
    assert first == (await engine.ensure(alice)).image_id  # nobody has accepted it
    await engine.accept_image(second)
    images = await engine.images()
    assert [ImageRole.PREVIOUS] == images.roles(first)
    assert [ImageRole.CURRENT, ImageRole.NEWEST] == images.roles(second)
    assert not images.upgrade_waits
    running = await engine.ensure(alice)
    assert (first, None) == (running.image_id, running.restarted)  # what runs is not touched
    assert [running] == images.behind(await engine.list())

    await engine.stop(alice.userhash)
    moved = await engine.ensure(alice)
    assert (second, RestartReason.CHANGED) == (moved.image_id, moved.restarted)
    assert [] == images.behind(await engine.list())


async def test_the_one_before_can_be_accepted_again(builder: Builder, alice: Identity) -> None:
    engine = builder.engine
    await engine.install({}, [alice])
    first = (await engine.ensure(alice)).image_id
    second = await builder.build("good")
    await engine.accept_image(second)
    await engine.accept_image(second)  # as nothing changes, the one before stays what it is
    await engine.accept_image(first)

    images = await engine.images()
    assert [ImageRole.CURRENT] == images.roles(first)
    assert [ImageRole.PREVIOUS, ImageRole.NEWEST] == images.roles(second)
    assert not images.upgrade_waits
    assert first == (await engine.ensure(alice)).image_id


async def test_a_trial_is_of_that_image_and_in_no_list(builder: Builder, alice: Identity) -> None:
    engine = builder.engine
    await engine.install({}, [alice])
    await engine.ensure(alice)
    before = await engine.list()
    second = await builder.build("good")

    async with engine.trial(alice, second) as environment:
        assert (alice.userhash, second) == (environment.userhash, environment.image_id)
        assert before == await engine.list()
    broken = await builder.build("broken")
    with pytest.raises(EnvironmentFailedError):
        async with engine.trial(alice, broken):
            pass
    assert before == await engine.list()


async def test_docker_keeps_both_and_leaves_no_trial_behind(tmp_path: Path, alice: Identity) -> None:
    def trials(api: docker.APIClient, instance: str) -> list[str]:
        label = {"label": [f"rootblood.instance={instance}", "rootblood.trial"]}
        return [row["Id"] for row in api.containers(all=True, filters=label)]

    with own_image() as image, bare(tmp_path) as own:
        settings = EnvironmentSettings(image=image.name, init=False)  # or init would start, and fail in turn
        engine = docker_engine(own.instance, environment=settings)
        try:
            first = await asyncio.to_thread(image.build)
            await engine.install({}, [alice])
            second = await asyncio.to_thread(image.build, 'CMD ["/nowhere"]')
            with docker_api() as api:
                with pytest.raises(EnvironmentFailedError, match=r"does not start.*/nowhere"):
                    async with engine.trial(alice, second):
                        pass
                assert [] == trials(api, own.instance)
                second = await asyncio.to_thread(image.build)
                async with engine.trial(alice, second):
                    [container] = trials(api, own.instance)
                    mounts = (await asyncio.to_thread(api.inspect_container, container))["Mounts"]
                    assert ["/etc/rootblood"] == [mount["Destination"] for mount in mounts]
                assert [] == trials(api, own.instance)
                await engine.accept_image(second)
                for build in (first, second):
                    tags = api.inspect_image(build)["RepoTags"]  # type: ignore[no-untyped-call]
                    assert any(own.instance in tag for tag in tags), tags
        finally:
            await engine.close()


async def test_another_name_in_the_settings_is_another_beginning(tmp_path: Path, alice: Identity) -> None:
    with own_image() as one, own_image() as other, bare(tmp_path) as own:
        settings = {name: EnvironmentSettings(image=name) for name in (one.name, other.name)}
        engine = docker_engine(own.instance, environment=settings[one.name])
        try:
            first, second = await asyncio.to_thread(one.build), await asyncio.to_thread(other.build)
            await engine.install({}, [alice])
            assert first == (await engine.ensure(alice)).image_id
            for name, expected in ((other.name, second), (one.name, first)):
                engine.apply(settings[name], LimitsSettings())
                images = await engine.images()
                assert (name, None) == (images.name, images.previous)
                assert [ImageRole.CURRENT, ImageRole.NEWEST] == images.roles(expected)
                await engine.stop(alice.userhash)
                moved = await engine.ensure(alice)
                assert (name, expected) == (moved.image, moved.image_id)
        finally:
            await engine.close()
