"""What only a real engine can be short of, and what only Docker can get wrong."""

import asyncio
import time
from pathlib import Path

import pytest

from rootblood.domain.environments import (
    EnvironmentState,
    Identity,
    RestartReason,
    network_name,
    system_volume_name,
)
from rootblood.engines.docker.engine import DockerEngine
from rootblood.errors import EngineUnavailableError, EnvironmentFailedError, ImageMissingError
from rootblood.settings import EngineSettings, EnvironmentSettings, LimitsSettings
from tests.conformance.rigs import DockerRig, docker_engine, opened
from tests.e2e.installation import docker_api


async def test_two_servers_at_once_install_and_ensure_one_container(instance: str, alice: Identity) -> None:
    async with opened(instance) as one, opened(instance) as two:
        rigs = [one, two] * 5
        await asyncio.gather(*(rig.engine.install({}, [alice]) for rig in rigs))
        found = await asyncio.gather(*(rig.engine.ensure(alice) for rig in rigs))
        assert one.engine_ids(alice.userhash) == list({environment.engine_id for environment in found})


async def test_many_at_once_after_a_removal_make_one_container(
    docker_rig: DockerRig, alice: Identity
) -> None:
    engine = docker_rig.engine
    await engine.ensure(alice)
    await asyncio.to_thread(docker_rig.kill, alice.userhash)
    await asyncio.gather(engine.remove(alice.userhash), *(engine.ensure(alice) for _ in range(10)))
    settled = await engine.ensure(alice)
    assert [settled.engine_id] == docker_rig.engine_ids(alice.userhash)


async def test_a_missing_image_is_named_as_such(instance: str, alice: Identity) -> None:
    engine = docker_engine(instance, environment=EnvironmentSettings(image="chaospine:absent"))
    try:
        assert (await engine.info()).image_present is False
        with pytest.raises(ImageMissingError):
            await engine.install({}, [])
        with pytest.raises(ImageMissingError):
            await engine.ensure(alice)
    finally:
        await engine.close()


async def test_an_engine_that_is_away_is_told_quickly(tmp_path: Path, alice: Identity) -> None:
    engine = DockerEngine(
        EngineSettings(url=f"unix://{tmp_path}/absent.sock"), EnvironmentSettings(), LimitsSettings()
    )
    started = time.monotonic()
    try:
        for call in (engine.info, engine.list, lambda: engine.ensure(alice), lambda: engine.install({}, [])):
            with pytest.raises(EngineUnavailableError):
                await call()
    finally:
        await engine.close()
    assert time.monotonic() - started < 5


async def test_a_stopped_container_of_other_settings_is_made_anew(
    docker_rig: DockerRig, alice: Identity
) -> None:
    made = await docker_rig.engine.ensure(alice)
    changed = docker_engine(docker_rig.instance, limits=LimitsSettings(memory_mib=256))
    try:
        assert made.engine_id == (await changed.ensure(alice)).engine_id  # what runs is not torn down
        await changed.stop(alice.userhash)
        again = await changed.ensure(alice)
    finally:
        await changed.close()
    assert made.engine_id != again.engine_id
    assert RestartReason.CHANGED is again.restarted
    assert [again.engine_id] == docker_rig.engine_ids(alice.userhash)
    with docker_api() as api:
        assert 256 * 1024 * 1024 == api.inspect_container(again.engine_id)["HostConfig"]["Memory"]


async def test_a_container_that_cannot_start_is_an_error_and_not_a_loop(
    docker_rig: DockerRig, alice: Identity
) -> None:
    broken = docker_engine(docker_rig.instance, environment=EnvironmentSettings(nofile=2**40))
    try:
        for _ in range(2):
            with pytest.raises(EnvironmentFailedError):
                await broken.ensure(alice)
    finally:
        await broken.close()
    assert EnvironmentState.RUNNING is (await docker_rig.engine.ensure(alice)).state


async def test_a_container_whose_network_is_gone_is_made_anew(own_instance: str, alice: Identity) -> None:
    async with opened(own_instance) as rig:
        await rig.engine.install({}, [])
        await rig.engine.ensure(alice)
        await rig.engine.stop(alice.userhash)
        with docker_api() as api:
            api.remove_network(network_name(own_instance))
        assert EnvironmentState.RUNNING is (await rig.engine.ensure(alice)).state


@pytest.mark.parametrize("icc", [False, True])
async def test_icc_is_a_setting_of_the_network(own_instance: str, *, icc: bool) -> None:
    engine = docker_engine(own_instance, environment=EnvironmentSettings(icc=icc))
    try:
        await engine.install({}, [])
        with docker_api() as api:
            options = api.inspect_network(network_name(own_instance))["Options"]
            assert {"rootblood.instance": own_instance} == api.inspect_volume(
                system_volume_name(own_instance)
            )["Labels"]
        assert {"com.docker.network.bridge.enable_icc": str(icc).lower()} == options
    finally:
        await engine.close()
