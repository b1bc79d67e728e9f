"""How an environment comes to run, and how it ends, on every engine."""

import asyncio

import pytest

from rootblood.domain.environments import EnsureStep, EnvironmentState, Identity, RestartReason
from rootblood.errors import EnvironmentFailedError
from tests.conformance.rigs import Rig, output


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
