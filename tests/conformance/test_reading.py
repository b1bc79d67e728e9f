"""What is seen of an environment from outside: its state, what it uses, its processes."""

import asyncio

from rootblood.domain.environments import EnvironmentState, Identity
from tests.conformance.rigs import STREAM_TIMEOUT_S, Collector, DockerRig, Rig, output


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
    assert min(usage.cpu_ns, usage.network_bytes) >= 0
    found = await rig.engine.processes(alice.userhash)
    assert ["cat -u -"] == [process.command for process in found if process.command.startswith("cat")]
    assert all(process.pid > 0 and process.memory_bytes >= 0 for process in found)

    await rig.engine.stop(alice.userhash, grace_s=1)
    async with asyncio.timeout(STREAM_TIMEOUT_S):
        await collector.ended.wait()
    assert await rig.engine.stats(alice.userhash) is None
    assert [] == list(await rig.engine.processes(alice.userhash))


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


async def test_what_was_used_since_the_start_adds_up(docker_rig: DockerRig, alice: Identity) -> None:
    environment = await docker_rig.engine.ensure(alice)
    before = await docker_rig.engine.stats(alice.userhash)
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    assert b"" == await output(docker_rig.engine, environment, "python3", "-c", burn)
    after = await docker_rig.engine.stats(alice.userhash)
    assert before is not None
    assert after is not None
    assert after.cpu_ns - before.cpu_ns >= 0.27e9  # the process counts by another clock than its cgroup
    assert after.network_bytes >= before.network_bytes
