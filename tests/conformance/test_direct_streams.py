"""Direct streams: whichever way a stream goes, it is the same stream."""

import asyncio
import secrets
import shutil
from pathlib import Path

import pytest

from rootblood.domain.environments import Identity
from rootblood.engines.docker.direct import SOCKET_DIRECTORY, SocketDirectories
from tests.conformance.rigs import STREAM_TIMEOUT_S, Collector, DockerRig, opened, output


async def test_a_container_without_the_sockets_is_entered_through_docker(
    docker_rig: DockerRig, alice: Identity, tmp_path: Path
) -> None:
    environment = await docker_rig.engine.ensure(alice)  # made without
    async with opened(docker_rig.instance, tmp_path / "sockets") as direct:
        data = secrets.token_bytes(1024 * 1024)
        assert data == await output(direct.engine, environment, "cat", stdin=data)
        assert b"" == await output(direct.engine, environment, "true")


async def test_docker_carries_nothing_of_a_direct_stream(
    docker_rig: DockerRig, alice: Identity, tmp_path: Path
) -> None:
    async with opened(docker_rig.instance, tmp_path / "sockets") as direct:
        environment = await direct.engine.ensure(alice)
        shown = await output(direct.engine, environment, "readlink", "/proc/self/fd/0", "/proc/self/fd/1")
        assert all(line.startswith(b"socket:") for line in shown.splitlines())
        assert 2 == len(shown.splitlines())


async def test_an_account_can_neither_list_nor_change_its_sockets(
    docker_rig: DockerRig, alice: Identity, tmp_path: Path
) -> None:
    async with opened(docker_rig.instance, tmp_path / "sockets") as direct:
        environment = await direct.engine.ensure(alice)
        tries = f"cd {SOCKET_DIRECTORY}; id -u; ls; touch x; ln -s /etc/passwd y; rmdir ../sockets; true"
        answers = (
            (await output(direct.engine, environment, "sh", "-c", f"exec 2>&1; {tries}"))
            .decode()
            .splitlines()
        )
    assert str(alice.uid) == answers[0]
    assert all(
        "Permission denied" in line or "Read-only" in line or "refusing" in line for line in answers[1:]
    )
    assert 4 <= len(answers[1:])
    assert [] == list(
        (tmp_path / "sockets" / alice.userhash).iterdir()
    )  # nor is anything left of the streams


async def test_a_program_that_ignores_the_end_of_its_input_is_let_go_with_its_stream(
    docker_rig: DockerRig, alice: Identity, tmp_path: Path
) -> None:
    async with opened(docker_rig.instance, tmp_path / "sockets") as direct:
        environment = await direct.engine.ensure(alice)
        transport, collector = await direct.engine.open_stream(environment, ["sleep", "600"], Collector)
        transport.close()
        async with asyncio.timeout(STREAM_TIMEOUT_S):
            await collector.ended.wait()


async def test_an_installation_that_moved_makes_its_containers_anew(
    docker_rig: DockerRig, alice: Identity, tmp_path: Path
) -> None:
    async with opened(docker_rig.instance, tmp_path / "before") as before:
        made = await before.engine.ensure(alice)
        await before.engine.stop(alice.userhash)
    shutil.rmtree(tmp_path / "before")
    async with opened(docker_rig.instance, tmp_path / "after") as after:
        again = await after.engine.ensure(alice)
        assert made.engine_id != again.engine_id
        assert b"ok" == await output(after.engine, again, "printf", "ok")


async def test_where_docker_sees_other_files_streams_go_through_it(
    docker_rig: DockerRig, alice: Identity, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As for a server in a container, whose state directory is nowhere on Docker's host.
    monkeypatch.setattr(SocketDirectories, "of", lambda _self, _userhash: Path("/nowhere/on/this/machine"))
    async with opened(docker_rig.instance, tmp_path / "sockets") as elsewhere:
        environment = await elsewhere.engine.ensure(alice)
        assert b"ok" == await output(elsewhere.engine, environment, "printf", "ok")


async def test_where_no_socket_can_be_made_streams_go_through_docker(
    docker_rig: DockerRig, alice: Identity, tmp_path: Path
) -> None:
    (tmp_path / "sockets").write_text("a file, where the directory should be")
    async with opened(docker_rig.instance, tmp_path / "sockets") as without:
        environment = await without.engine.ensure(alice)
        assert b"ok" == await output(without.engine, environment, "printf", "ok")


async def test_sockets_of_another_server_are_noticed(
    docker_rig: DockerRig, alice: Identity, tmp_path: Path
) -> None:
    async with (
        opened(docker_rig.instance, tmp_path / "one") as one,
        opened(docker_rig.instance, tmp_path) as two,
    ):
        await one.engine.ensure(alice)
        assert not [line for line in await one.engine.troubles() if str(tmp_path / "one") in line]
        for other in (two, docker_rig):
            [told] = [line for line in await other.engine.troubles() if str(tmp_path / "one") in line]
            assert "each needs engine.direct_streams = false" in told
        await one.engine.stop(alice.userhash)
        assert not [line for line in await two.engine.troubles() if str(tmp_path / "one") in line]
