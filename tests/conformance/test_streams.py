"""Streams into environments, on every engine."""

import asyncio
import secrets

import pytest

from rootblood.domain.environments import Identity
from rootblood.errors import EnvironmentFailedError
from tests.conformance.rigs import STREAM_TIMEOUT_S, Collector, Rig, output


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
