"""What every engine promises: one suite over the fake and over Docker.

The second half is about Docker alone: what only a real engine can be short of.
"""

import asyncio
import gc
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from rootblood.domain.environments import (
    EnsureStep,
    Environment,
    EnvironmentState,
    Identity,
    RestartReason,
    container_name,
    network_name,
    system_volume_name,
)
from rootblood.engines.base import Engine
from rootblood.engines.docker.direct import SOCKET_DIRECTORY, SocketDirectories
from rootblood.engines.docker.engine import DockerEngine
from rootblood.errors import EngineUnavailableError, EnvironmentFailedError, ImageMissingError
from rootblood.settings import EngineSettings, EnvironmentSettings, LimitsSettings
from tests.e2e.installation import Installation, docker_api
from tests.fakes.engine import FakeEngine, FakeHost

STREAM_TIMEOUT_S = 30


class Rig(Protocol):
    """An engine, and the hands of somebody who goes past it."""

    @property
    def engine(self) -> Engine: ...

    def sibling(self) -> Engine:
        """An engine of another installation on the same host."""

    def kill(self, userhash: str) -> None: ...
    def pause(self, userhash: str) -> None: ...
    def remove(self, userhash: str) -> None: ...
    def engine_ids(self, userhash: str) -> list[str]: ...


@dataclass
class FakeRig:
    engine: FakeEngine

    def sibling(self) -> Engine:
        return FakeEngine(self.engine.host, "another")

    def kill(self, userhash: str) -> None:
        self.engine.end_by_hand(userhash)

    def pause(self, userhash: str) -> None:
        self.engine.pause_by_hand(userhash)

    def remove(self, userhash: str) -> None:
        self.engine.remove_by_hand(userhash)

    def engine_ids(self, userhash: str) -> list[str]:
        found = self.engine.host.containers.get(userhash)
        return [found[1].engine_id] if found else []


@dataclass
class DockerRig:
    engine: DockerEngine
    instance: str

    def sibling(self) -> Engine:
        return docker_engine(f"{self.instance}-b")

    def kill(self, userhash: str) -> None:
        with docker_api() as api:
            api.kill(container_name(userhash))

    def pause(self, userhash: str) -> None:
        with docker_api() as api:
            api.pause(container_name(userhash))

    def remove(self, userhash: str) -> None:
        with docker_api() as api:
            api.remove_container(container_name(userhash), force=True)

    def engine_ids(self, userhash: str) -> list[str]:
        with docker_api() as api:
            rows = api.containers(all=True, filters={"label": f"rootblood.userhash={userhash}"})
            return [row["Id"] for row in rows]


def docker_engine(
    instance: str,
    *,
    environment: EnvironmentSettings | None = None,
    limits: LimitsSettings | None = None,
    sockets: Path | None = None,
) -> DockerEngine:
    return DockerEngine(
        EngineSettings(instance=instance),
        environment or EnvironmentSettings(),
        limits or LimitsSettings(),
        sockets,
    )


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An instance label that nobody else has; what carries it is removed at the end."""
    made = Installation(tmp_path_factory.mktemp("engine"))
    yield made.instance
    made.destroy()
    Installation(made.directory, f"{made.instance}-b").destroy()


@asynccontextmanager
async def opened(instance: str, sockets: Path | None = None) -> AsyncIterator[DockerRig]:
    rig = DockerRig(docker_engine(instance, sockets=sockets), instance)
    try:
        yield rig
    finally:
        await rig.engine.close()


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


def new_identity() -> Identity:
    userhash = secrets.token_hex(16)
    uid = 20000 + secrets.randbelow(30000)
    return Identity(name=f"u{userhash[:8]}", userhash=userhash, uid=uid, gid=uid)


@pytest.fixture
def alice() -> Identity:
    return new_identity()


class Collector(asyncio.Protocol):
    """Keeps what arrives, and notices the end."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.arrived = asyncio.Event()
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        assert exc is None
        self.ended.set()


async def output(engine: Engine, environment: Environment, *argv: str, stdin: bytes = b"") -> bytes:
    """Run a program to its end and return what it wrote to stdout."""
    transport, collector = await engine.open_stream(environment, argv, Collector)
    transport.write(stdin)
    transport.write_eof()
    async with asyncio.timeout(STREAM_TIMEOUT_S):
        await collector.ended.wait()
    return bytes(collector.data)


# Environments.


async def test_info_names_the_engine_and_finds_the_image(rig: Rig) -> None:
    info = await rig.engine.info()
    assert info.kind
    assert info.version
    assert info.image_present


async def test_ensure_makes_a_running_environment_and_then_only_finds_it(rig: Rig, alice: Identity) -> None:
    steps: list[EnsureStep] = []
    made = await rig.engine.ensure(alice, on_step=steps.append)
    assert (alice.userhash, EnvironmentState.RUNNING) == (made.userhash, made.state)
    assert [EnsureStep.CREATE] == steps
    assert made == await rig.engine.ensure(alice, on_step=steps.append)
    assert [EnsureStep.CREATE] == steps


async def test_many_at_once_make_one_container(rig: Rig, alice: Identity) -> None:
    found = await asyncio.gather(*(rig.engine.ensure(alice) for _ in range(20)))
    assert rig.engine_ids(alice.userhash) == list({environment.engine_id for environment in found})


async def test_what_was_stopped_is_started_again(rig: Rig, alice: Identity) -> None:
    steps: list[EnsureStep] = []
    made = await rig.engine.ensure(alice)
    assert await rig.engine.stop(alice.userhash) is True
    assert await rig.engine.stop(alice.userhash) is False
    assert made == await rig.engine.ensure(alice, on_step=steps.append)
    assert [EnsureStep.START] == steps


async def test_what_was_killed_is_started_again(rig: Rig, alice: Identity) -> None:
    made = await rig.engine.ensure(alice)
    await asyncio.to_thread(rig.kill, alice.userhash)
    assert made == await rig.engine.ensure(alice)


async def test_what_was_paused_is_resumed(rig: Rig, alice: Identity) -> None:
    steps: list[EnsureStep] = []
    made = await rig.engine.ensure(alice)
    await asyncio.to_thread(rig.pause, alice.userhash)
    assert [EnvironmentState.PAUSED] == [
        found.state for found in await rig.engine.list() if found.userhash == alice.userhash
    ]
    assert made == await rig.engine.ensure(alice, on_step=steps.append)
    assert [EnsureStep.RESUME] == steps


async def test_what_is_paused_can_be_stopped(rig: Rig, alice: Identity) -> None:
    await rig.engine.ensure(alice)
    await asyncio.to_thread(rig.pause, alice.userhash)
    assert await rig.engine.stop(alice.userhash) is True


@pytest.mark.parametrize("by_hand", [False, True])
async def test_what_was_removed_is_made_anew(rig: Rig, alice: Identity, *, by_hand: bool) -> None:
    steps: list[EnsureStep] = []
    made = await rig.engine.ensure(alice)
    if by_hand:
        await asyncio.to_thread(rig.remove, alice.userhash)
    else:
        assert await rig.engine.remove(alice.userhash) is True
    assert [] == rig.engine_ids(alice.userhash)
    again = await rig.engine.ensure(alice, on_step=steps.append)
    assert made.engine_id != again.engine_id
    assert [EnsureStep.CREATE] == steps


async def test_a_first_start_and_one_that_was_not_needed_have_no_reason(rig: Rig, alice: Identity) -> None:
    assert None is (await rig.engine.ensure(alice)).restarted
    assert None is (await rig.engine.ensure(alice)).restarted
    await asyncio.to_thread(rig.pause, alice.userhash)
    assert None is (await rig.engine.ensure(alice)).restarted


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("killed", RestartReason.KILLED),
        ("stopped", RestartReason.STOPPED),
        ("removed", RestartReason.REMOVED),
    ],
)
async def test_who_starts_it_again_is_told_why_it_had_ended(
    rig: Rig, alice: Identity, end: str, reason: RestartReason
) -> None:
    await rig.engine.ensure(alice)
    if end == "stopped":
        assert await rig.engine.stop(alice.userhash)
    else:
        await asyncio.to_thread({"killed": rig.kill, "removed": rig.remove}[end], alice.userhash)
    assert reason is (await rig.engine.ensure(alice)).restarted
    assert None is (await rig.engine.ensure(alice)).restarted


async def test_what_is_not_there_is_neither_stopped_nor_removed_nor_purged(rig: Rig, alice: Identity) -> None:
    assert await rig.engine.stop(alice.userhash) is False
    assert await rig.engine.remove(alice.userhash) is False
    assert await rig.engine.purge_home(alice.userhash) is False


async def test_the_home_outlives_the_container_until_it_is_purged(rig: Rig, alice: Identity) -> None:
    look = ("sh", "-c", 'cat "$HOME/hello" 2>&- || echo none')
    made = await rig.engine.ensure(alice)
    write = ("sh", "-c", 'mkdir -p "$HOME"; echo hi >"$HOME/hello"')
    assert b"" == await output(rig.engine, made, *write)
    with pytest.raises(EnvironmentFailedError):
        await rig.engine.purge_home(alice.userhash)
    await rig.engine.remove(alice.userhash)
    assert b"hi\n" == await output(rig.engine, await rig.engine.ensure(alice), *look)
    await rig.engine.remove(alice.userhash)
    assert await rig.engine.purge_home(alice.userhash) is True
    assert b"none\n" == await output(rig.engine, await rig.engine.ensure(alice), *look)


async def test_list_shows_this_installation_s_environments_alone(rig: Rig, alice: Identity) -> None:
    bob = new_identity()
    other = rig.sibling()
    try:
        await other.install({}, [])
        mine, theirs = await rig.engine.ensure(alice), await other.ensure(bob)
        assert mine in await rig.engine.list()
        assert theirs not in await rig.engine.list()
        listed = await other.list()
        assert theirs in listed
        assert mine not in listed
    finally:
        await other.close()


# Looks from outside.


async def test_what_is_known_of_an_environment_follows_its_state(rig: Rig, alice: Identity) -> None:
    assert await rig.engine.inspect(alice.userhash) is None
    made = await rig.engine.ensure(alice)
    running = await rig.engine.inspect(alice.userhash)
    assert running is not None
    assert made == running.environment
    assert running.started_at is not None
    assert made.created_at <= running.started_at
    assert min(running.memory_limit_bytes, running.cpu_limit, running.pids_limit) > 0

    await asyncio.to_thread(rig.pause, alice.userhash)
    paused = await rig.engine.inspect(alice.userhash)
    assert paused is not None
    assert EnvironmentState.PAUSED is paused.environment.state
    await rig.engine.ensure(alice)
    await asyncio.to_thread(rig.kill, alice.userhash)
    killed = await rig.engine.inspect(alice.userhash)
    assert killed is not None
    assert (EnvironmentState.STOPPED, 137) == (killed.environment.state, killed.exit_status)
    assert killed.stopped_at is not None


async def test_use_and_processes_are_those_of_what_runs(rig: Rig, alice: Identity) -> None:
    assert await rig.engine.stats(alice.userhash) is None
    assert [] == list(await rig.engine.processes(alice.userhash))
    environment = await rig.engine.ensure(alice)
    transport, collector = await rig.engine.open_stream(environment, ["cat", "-u", "-"], Collector)
    transport.write(b"up")
    async with asyncio.timeout(STREAM_TIMEOUT_S):
        await collector.arrived.wait()  # it runs
    usage = await rig.engine.stats(alice.userhash)
    assert usage is not None
    assert usage.memory_bytes > 0
    assert usage.pids > 0
    assert usage.cpus >= 0
    found = await rig.engine.processes(alice.userhash)
    assert ["cat -u -"] == [process.command for process in found if process.command.startswith("cat")]
    assert all(process.pid > 0 and process.memory_bytes >= 0 for process in found)

    await rig.engine.stop(alice.userhash, grace_s=1)
    async with asyncio.timeout(STREAM_TIMEOUT_S):
        await collector.ended.wait()
    assert await rig.engine.stats(alice.userhash) is None
    assert [] == list(await rig.engine.processes(alice.userhash))


# Streams.


async def test_a_stream_brings_every_byte_back_and_ends_after_its_input(rig: Rig, alice: Identity) -> None:
    data = secrets.token_bytes(4 * 1024 * 1024)
    assert data == await output(rig.engine, await rig.engine.ensure(alice), "cat", stdin=data)


async def test_a_stream_answers_while_its_input_is_open(rig: Rig, alice: Identity) -> None:
    environment = await rig.engine.ensure(alice)
    transport, collector = await rig.engine.open_stream(environment, ["cat"], Collector)
    transport.write(b"ping")
    async with asyncio.timeout(STREAM_TIMEOUT_S):
        await collector.arrived.wait()
    assert b"ping" == collector.data
    assert not collector.ended.is_set()
    transport.write_eof()
    async with asyncio.timeout(STREAM_TIMEOUT_S):
        await collector.ended.wait()


async def test_output_goes_on_after_the_end_of_the_input(rig: Rig, alice: Identity) -> None:
    counted = await output(
        rig.engine,
        await rig.engine.ensure(alice),
        "sh",
        "-c",
        "wc -c; seq 100000 | tail -n 1",
        stdin=b"12345",
    )
    assert [b"5", b"100000"] == counted.split()


async def test_stderr_is_never_in_the_stream(rig: Rig, alice: Identity) -> None:
    script = "for i in 1 2 3 4 5; do echo $i; echo error >&2; done"
    assert b"1\n2\n3\n4\n5\n" == await output(rig.engine, await rig.engine.ensure(alice), "sh", "-c", script)


async def test_a_process_that_exits_at_once_ends_its_stream(rig: Rig, alice: Identity) -> None:
    environment = await rig.engine.ensure(alice)
    for _ in range(5):
        _, collector = await rig.engine.open_stream(environment, ["printf", "bye"], Collector)
        async with asyncio.timeout(STREAM_TIMEOUT_S):
            await collector.ended.wait()
        assert b"bye" == collector.data


async def test_stopping_the_environment_ends_its_streams(rig: Rig, alice: Identity) -> None:
    environment = await rig.engine.ensure(alice)
    _, collector = await rig.engine.open_stream(environment, ["cat"], Collector)
    await rig.engine.remove(alice.userhash)
    async with asyncio.timeout(STREAM_TIMEOUT_S):
        await collector.ended.wait()


@pytest.mark.parametrize("state", ["stopped", "paused", "removed"])
async def test_there_is_no_stream_into_what_does_not_run(rig: Rig, alice: Identity, state: str) -> None:
    environment = await rig.engine.ensure(alice)
    await asyncio.to_thread(
        {"stopped": rig.kill, "paused": rig.pause, "removed": rig.remove}[state], alice.userhash
    )
    with pytest.raises(EnvironmentFailedError):
        await rig.engine.open_stream(environment, ["cat"], Collector)


# What environments share.


async def test_install_can_be_repeated_and_refuses_a_second_owner_of_a_name(rig: Rig) -> None:
    alice, bob = new_identity(), new_identity()
    for identities in ([alice], [alice], [bob], []):
        await rig.engine.install({"authorized_keys": "ssh-ed25519 AAAA\n"}, identities)
    taken = Identity(name=alice.name, userhash=secrets.token_hex(16), uid=59999, gid=59999)
    with pytest.raises(EnvironmentFailedError):
        await rig.engine.install({}, [taken])


# Docker alone.


async def test_a_command_line_of_a_hundred_kilobytes_is_cut(docker_rig: DockerRig, alice: Identity) -> None:
    environment = await docker_rig.engine.ensure(alice)
    _, collector = await docker_rig.engine.open_stream(
        environment, ["sh", "-c", "echo up; read line", "x" * 100_000], Collector
    )
    async with asyncio.timeout(STREAM_TIMEOUT_S):
        await collector.arrived.wait()
    found = await docker_rig.engine.processes(alice.userhash)
    assert ["sh -c echo up; read line"] == [
        process.command[:24] for process in found if process.command.startswith("sh -c echo")
    ]
    assert max(len(process.command) for process in found) <= 256
    await docker_rig.engine.remove(alice.userhash)
    async with asyncio.timeout(STREAM_TIMEOUT_S):
        await collector.ended.wait()


async def test_names_add_up_and_files_stay(docker_rig: DockerRig, alice: Identity) -> None:
    engine, bob = docker_rig.engine, new_identity()
    await engine.install({"authorized_keys": "ssh-ed25519 AAAA\n"}, [alice])
    environment = await engine.ensure(alice)
    await engine.install({}, [bob])  # into a running environment
    look = (
        "sh",
        "-c",
        f"cat /etc/rootblood/authorized_keys; id -un; getent passwd {bob.name}; stat -c %U:%a /global/*",
    )
    lines = (await output(engine, environment, *look)).decode().splitlines()
    expected = [
        "ssh-ed25519 AAAA",
        alice.name,
        f"{bob.name}:x:{bob.uid}:{bob.gid}::{bob.home}:/bin/bash",
    ]
    assert expected == lines[:3]
    assert {f"{alice.name}:3755", f"{bob.name}:3755"} <= set(lines[3:])


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


@pytest.fixture
def collected() -> Iterator[None]:
    """The SDK leaves a socket that could not connect to the garbage collector: let it come now."""
    yield
    gc.collect()


@pytest.mark.usefixtures("collected")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
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


async def test_a_container_whose_network_is_gone_is_made_anew(tmp_path: Path, alice: Identity) -> None:
    own = Installation(tmp_path)
    async with opened(own.instance) as rig:
        try:
            await rig.engine.install({}, [])
            await rig.engine.ensure(alice)
            await rig.engine.stop(alice.userhash)
            with docker_api() as api:
                api.remove_network(network_name(own.instance))
            assert EnvironmentState.RUNNING is (await rig.engine.ensure(alice)).state
        finally:
            await asyncio.to_thread(own.destroy)


@pytest.mark.parametrize("icc", [False, True])
async def test_icc_is_a_setting_of_the_network(tmp_path: Path, *, icc: bool) -> None:
    own = Installation(tmp_path)
    engine = docker_engine(own.instance, environment=EnvironmentSettings(icc=icc))
    try:
        await engine.install({}, [])
        with docker_api() as api:
            options = api.inspect_network(network_name(own.instance))["Options"]
            assert {"rootblood.instance": own.instance} == api.inspect_volume(
                system_volume_name(own.instance)
            )["Labels"]
        assert {"com.docker.network.bridge.enable_icc": str(icc).lower()} == options
    finally:
        await engine.close()
        await asyncio.to_thread(own.destroy)


# Direct streams: whichever way a stream goes, it is the same stream.


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
