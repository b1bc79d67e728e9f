"""What an engine has for an installation, and what of it can be taken away."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rootblood.domain.environments import Identity, Volume, network_name
from rootblood.domain.reconciliation import Holding, HoldingKind, Lack
from rootblood.engines.docker.direct import SocketDirectories
from tests.conformance.rigs import DockerRig, Rig, docker_engine, opened
from tests.e2e.installation import docker_api


async def of_account(rig: Rig, alice: Identity, kind: HoldingKind) -> list[Holding]:
    return [
        holding
        for holding in await rig.engine.holdings()
        if (holding.kind, holding.userhash) == (kind, alice.userhash)
    ]


async def test_a_container_can_be_discarded_and_its_home_stays(rig: Rig, alice: Identity) -> None:
    made = await rig.engine.ensure(alice)

    (found,) = await of_account(rig, alice, HoldingKind.CONTAINER)
    assert (made.engine_id, None, False) == (found.id, found.server, found.is_surplus)
    assert abs(datetime.now(UTC) - found.made_at) < timedelta(minutes=5)
    assert await rig.engine.discard(found) is True
    assert await rig.engine.discard(found) is False
    assert [] == await of_account(rig, alice, HoldingKind.CONTAINER)
    assert Volume(alice.userhash) in await rig.engine.volumes()


async def test_of_two_containers_of_an_account_the_one_of_another_name_is_surplus(
    docker_rig: DockerRig, alice: Identity
) -> None:
    first = await docker_rig.engine.ensure(alice)
    with docker_api() as api:
        api.rename(first.engine_id, f"renamed_{secrets.token_hex(4)}")
    second = await docker_rig.engine.ensure(alice)

    found = await of_account(docker_rig, alice, HoldingKind.CONTAINER)
    assert {first.engine_id: True, second.engine_id: False} == {
        holding.id: holding.is_surplus for holding in found
    }


async def test_a_helper_bears_the_id_of_the_process_that_made_it(docker_rig: DockerRig) -> None:
    labels = {"rootblood.instance": docker_rig.instance, "rootblood.server": "5" * 32}
    with docker_api() as api:
        made = str(api.create_container("chaospine:1.0.0", ["true"], labels=labels)["Id"])

    found = {holding.id: holding for holding in await docker_rig.engine.holdings()}[made]
    assert (HoldingKind.HELPER, None, "5" * 32) == (found.kind, found.userhash, found.server)
    assert await docker_rig.engine.discard(found) is True


async def test_sockets_and_their_directories(instance: str, alice: Identity, tmp_path: Path) -> None:
    directories = SocketDirectories(tmp_path / "sockets", "6" * 32)
    async with opened(instance, tmp_path / "sockets") as rig:
        listener = await asyncio.to_thread(directories.listen, alice.userhash)
        (found,) = await of_account(rig, alice, HoldingKind.SOCKET)
        assert "6" * 32 == found.server
        assert await rig.engine.discard(found) is True
        assert await rig.engine.discard(found) is False
        await asyncio.to_thread(listener.close)
        (directory,) = await of_account(rig, alice, HoldingKind.SOCKET_DIRECTORY)
        assert (None, alice.userhash) == (directory.server, directory.id)
        assert await rig.engine.discard(directory) is True
        assert [] == await of_account(rig, alice, HoldingKind.SOCKET_DIRECTORY)


async def test_what_is_missing_of_what_all_share(own_instance: str) -> None:
    engine = docker_engine(own_instance)
    name = network_name(own_instance)
    names = [name, f"{name}_global", f"{name}_system"]
    try:
        assert [Lack(name, taken=False) for name in names] == list(await engine.lacks())
        with docker_api() as api:
            api.create_volume(names[1])
        assert Lack(names[1], taken=True) in await engine.lacks()
        with docker_api() as api:
            api.remove_volume(names[1])
        await engine.install({}, [])
        assert [] == list(await engine.lacks())
    finally:
        await engine.close()
