"""What the reaper stops, and what not: on a real database, the fake engine, and clocks of the tests' own."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from rootblood.domain.audit import Actor, Door
from rootblood.domain.environments import RestartReason
from rootblood.domain.leases import LeaseKind, Outlook
from rootblood.errors import InvalidInputError, StoreUnavailableError
from rootblood.services.leases import STOP_BOUND_S
from rootblood.services.reaper import Verdict
from rootblood.stores.locks import ProcessLocks
from tests.fakes.reaping import REAPER, Ground, Server

RB = Actor(Door.RB)
DAY_S = 24 * 3600


@pytest.fixture
async def ground(ground: Ground) -> Ground:
    await ground.start()
    return ground


async def test_what_is_idle_for_long_enough_is_stopped_and_who_comes_back_is_told(
    ground: Ground, server: Server
) -> None:
    assert Verdict.IDLE is (await server.look()).verdict
    finding = await server.look_on(540)
    assert (Verdict.IDLE, 60.0) == (finding.verdict, finding.stops_in_s)
    assert Verdict.STOPPED is (await server.look_on(60)).verdict
    assert not ground.runs

    await server.environments.start(ground.alice, by=RB)
    await ground.visits.close()
    assert RestartReason.IDLE is await ground.visit_store.restart(ground.alice.userhash)
    assert RestartReason.IDLE is (await server.outlooks.of(ground.alice, running=True)).last_stop


async def test_a_use_keeps_it_and_idleness_begins_with_its_end(ground: Ground, server: Server) -> None:
    await server.look()
    async with server.leases.hold(ground.alice, LeaseKind.SSH, "from 192.0.2.7"):
        for _ in range(30):
            await server.leases.renew()
            finding = await server.look_on(60)
            assert (Verdict.USED, "ssh from 192.0.2.7") == (finding.verdict, finding.why)
    assert Verdict.IDLE is (await server.look_on(540)).verdict
    assert Verdict.STOPPED is (await server.look_on(60)).verdict


async def test_a_short_use_between_two_looks_counts(ground: Ground, server: Server) -> None:
    await server.look()
    await server.look_on(540)
    async with server.leases.hold(ground.alice, LeaseKind.WEB):
        pass
    assert Verdict.IDLE is (await server.look_on(540)).verdict


async def test_what_was_borrowed_runs_on_for_who_came_in_at_another_server(
    ground: Ground, server: Server
) -> None:
    await server.environments.stop(ground.alice)
    other = ground.server()
    async with server.environments.lent(ground.alice, LeaseKind.EXPORT):
        assert ground.runs
    assert not ground.runs

    async with other.leases.hold(ground.alice, LeaseKind.SSH):
        async with server.environments.lent(ground.alice, LeaseKind.EXPORT):
            assert ground.runs
        assert ground.runs
    await other.close()


async def test_the_uses_of_a_server_that_died_are_over_a_while_later(ground: Ground, server: Server) -> None:
    other = ground.server()
    use = other.leases.hold(ground.alice, LeaseKind.SSH)
    await use.__aenter__()
    await other.close()  # as far as the database is told, it died
    ground.clocks.sleep(30)
    assert Verdict.USED is (await server.look()).verdict
    finding = await server.look_on(60)
    assert (Verdict.USED, True) == (finding.verdict, finding.doubtful)
    assert (Verdict.IDLE, False) == ((finding := await server.look_on(60)).verdict, finding.doubtful)
    assert Verdict.STOPPED is (await server.look_on(660)).verdict
    await use.__aexit__(None, None, None)


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
async def test_a_clock_that_jumps_ends_no_use_and_makes_nothing_idle(
    ground: Ground, server: Server, jump_s: int
) -> None:
    await server.look()
    async with server.leases.hold(ground.alice, LeaseKind.SSH):
        ground.clocks.jump(jump_s)
        assert Verdict.USED is (await server.look()).verdict
        ground.clocks.sleep(20)
        await server.leases.renew()
        ground.clocks.sleep(40)
        assert Verdict.USED is (await server.look()).verdict
    await server.look_on(60)
    ground.clocks.jump(jump_s)
    assert Verdict.IDLE is (await server.look_on(60)).verdict
    assert Verdict.STOPPED is (await server.look_on(900)).verdict


async def test_another_server_goes_on_where_the_last_one_stopped_looking(
    ground: Ground, server: Server
) -> None:
    await server.look()
    await server.look_on(300)
    other = ground.server()
    assert Verdict.IDLE is (await other.look_on(240)).verdict
    assert Verdict.STOPPED is (await other.look_on(60)).verdict
    await other.close()


async def test_work_keeps_it_alive_but_not_for_ever(ground: Ground, server: Server) -> None:
    await server.look()
    for minute in range(1, 60):
        ground.work(6)  # a tenth of a core
        finding = await server.look_on(60)
        assert (Verdict.ACTIVE, "uses 0.10 cores", 3600.0 - 60 * minute) == (
            finding.verdict,
            finding.why,
            finding.stops_in_s,
        )
    ground.work(6)
    assert Verdict.STOPPED is (await server.look_on(60)).verdict


@pytest.mark.parametrize(
    ("per_minute", "verdict"), [(60 * 2048, Verdict.ACTIVE), (60 * 512, Verdict.STOPPED)]
)
async def test_what_moves_over_the_network_counts_above_a_threshold(
    ground: Ground, server: Server, per_minute: int, verdict: Verdict
) -> None:
    finding = await server.look()
    for _ in range(10):
        ground.transfer(per_minute)
        finding = await server.look_on(60)
    assert verdict is finding.verdict


@pytest.mark.parametrize(
    ("panes", "verdict"),
    [
        ("0 make\n", Verdict.ACTIVE),
        ("0 bash\n0 -zsh\n", Verdict.IDLE),
        ("1 make\n", Verdict.IDLE),
        ("", Verdict.IDLE),
        ("\x1b[2J\n0\n0 \nmake\n", Verdict.IDLE),
        ("0 " + "x" * 100_000, Verdict.ACTIVE),
    ],
)
async def test_a_program_in_the_foreground_of_tmux_is_a_job(
    ground: Ground, panes: str, verdict: Verdict
) -> None:
    (ground.engine.host.home(ground.alice.userhash) / "tmux-panes").write_text(panes)
    server = ground.server(REAPER.model_copy(update={"tmux_jobs": True}))
    finding = await server.look()
    assert verdict is finding.verdict
    assert len(finding.why) <= 200
    await server.close()


async def test_what_is_switched_off_does_not_count_or_stop(ground: Ground) -> None:
    nothing = {"cpu_threshold": 0.0, "network_threshold": 0.0, "max_unattended_s": 0.0, "idle_stop_s": 0.0}
    server = ground.server(REAPER.model_copy(update=nothing))
    finding = await server.look()
    for _ in range(3):
        ground.work(60)
        ground.transfer(10**9)
        finding = await server.look_on(60)
        assert (Verdict.IDLE, None) == (finding.verdict, finding.stops_in_s)
    ground.clocks.sleep(365 * DAY_S)
    assert Verdict.IDLE is (await server.look()).verdict
    await server.close()


async def test_a_keep_holds_until_it_ends(ground: Ground, server: Server) -> None:
    await server.look()
    until = await server.outlooks.keep(ground.alice, 4 * 3600, by=RB)
    assert ground.clocks.wall + timedelta(hours=4) == until
    assert Outlook(kept_until=until) == await server.outlooks.of(ground.alice, running=True)
    assert Verdict.USED is (await server.look_on(4 * 3600 - 60)).verdict
    assert Verdict.IDLE is (await server.look_on(120)).verdict
    assert Verdict.STOPPED is (await server.look_on(660)).verdict


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S])
async def test_a_clock_that_jumps_makes_no_keep_longer_or_shorter(
    ground: Ground, server: Server, jump_s: int
) -> None:
    await server.look()
    await server.outlooks.keep(ground.alice, 4 * 3600, by=RB)
    assert Verdict.USED is (await server.look_on(60)).verdict
    ground.clocks.jump(jump_s)
    assert Verdict.USED is (await server.look_on(4 * 3600 - 180)).verdict
    assert Verdict.IDLE is (await server.look_on(240)).verdict


async def test_a_keep_can_be_taken_back_and_has_a_bound(ground: Ground, server: Server) -> None:
    with pytest.raises(InvalidInputError, match="7 d 0 h at most"):
        await server.outlooks.keep(ground.alice, 8 * DAY_S, by=RB)
    await server.outlooks.keep(ground.alice, DAY_S, by=RB)
    assert await server.outlooks.end_keep(ground.alice, by=RB)
    assert not await server.outlooks.end_keep(ground.alice, by=RB)
    assert Verdict.STOPPED is (await server.look_on(660)).verdict
    none = ground.server(REAPER.model_copy(update={"max_keep_s": 0}))
    with pytest.raises(InvalidInputError, match="no keep"):
        await none.outlooks.keep(ground.alice, 60, by=RB)


async def test_an_account_is_told_when_it_stops(ground: Ground, server: Server) -> None:
    await server.look()
    await server.look_on(120)
    outlook = await server.outlooks.of(ground.alice, running=True)
    assert ground.clocks.wall + timedelta(seconds=480) == outlook.stops_at
    async with server.leases.hold(ground.alice, LeaseKind.SSH, "from 192.0.2.7"):
        outlook = await server.outlooks.of(ground.alice, running=True)
        assert (None, ["ssh from 192.0.2.7"]) == (outlook.stops_at, outlook.reasons)


async def test_who_looks_at_its_tmux_is_told_of_a_stop_ahead_of_it(ground: Ground) -> None:
    home = ground.engine.host.home(ground.alice.userhash)
    (home / "tmux-clients").write_text("/dev/pts/3\n-t0\n/dev/pts/3 x\n/dev/tty\x1b[2J\n")
    server = ground.server(REAPER.model_copy(update={"warning_s": 120.0}))
    await server.look()
    await server.look_on(420)
    assert not (home / "tmux-shown").exists()
    await server.look_on(240)
    assert [
        f"/dev/pts/3 rootblood: nobody uses this environment; it will be stopped in {left}"
        for left in ("2 min 0 s", "1 min 0 s")
    ] == (home / "tmux-shown").read_text().splitlines()
    await server.close()


async def test_a_dry_run_changes_nothing(ground: Ground, server: Server) -> None:
    await server.look()
    await server.look_on(540)
    ground.clocks.sleep(60)
    for _ in range(2):
        assert Verdict.STOPPED is (await server.look(dry_run=True)).verdict
    assert ground.runs


async def test_who_comes_in_while_it_is_stopped_waits_and_has_it_started_again(
    ground: Ground, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ground.server()
    stopping, may_stop = asyncio.Event(), asyncio.Event()
    stop = ground.engine.stop

    async def slow_stop(userhash: str, *, grace_s: float) -> bool:
        stopping.set()
        await may_stop.wait()
        return await stop(userhash, grace_s=grace_s)

    monkeypatch.setattr(ground.engine, "stop", slow_stop)
    await server.look()
    await server.look_on(540)
    ground.clocks.sleep(60)
    looking = asyncio.ensure_future(server.look())
    await stopping.wait()

    async def come_in() -> bool:
        async with other.leases.hold(ground.alice, LeaseKind.SSH):
            await other.environments.start(ground.alice, by=RB)
            return ground.runs

    coming = asyncio.ensure_future(come_in())
    done, _ = await asyncio.wait([coming], timeout=0.2)
    assert set() == done
    may_stop.set()
    assert Verdict.STOPPED is (await looking).verdict
    assert await coming
    assert ground.runs
    await other.close()


async def test_who_comes_in_between_the_look_and_the_decision_stays(
    ground: Ground, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.look()
    await server.look_on(540)
    ground.clocks.sleep(60)
    begin_stop = server.reaper._store.begin_stop
    use = server.leases.hold(ground.alice, LeaseKind.SSH)

    async def late(userhash: str, *, looked_at: datetime | None, for_s: float) -> bool:
        await use.__aenter__()
        return await begin_stop(userhash, looked_at=looked_at, for_s=for_s)

    monkeypatch.setattr(server.reaper._store, "begin_stop", late)
    assert Verdict.USED is (await server.look()).verdict
    assert ground.runs
    await use.__aexit__(None, None, None)


async def test_who_comes_in_while_the_reaper_waits_for_the_account_s_lock_stays(
    ground: Ground, server: Server
) -> None:
    other = ground.server()
    use = other.leases.hold(ground.alice, LeaseKind.SSH)
    locks = server.environments._locks
    assert isinstance(locks, ProcessLocks)
    await server.look()
    await server.look_on(540)
    async with locks.hold(ground.alice.userhash):
        ground.clocks.sleep(60)
        looking = asyncio.ensure_future(server.look())
        while locks._wanted[ground.alice.userhash] < 2:  # noqa: ASYNC110 - a lock's own count
            await asyncio.sleep(0.01)
        ground.clocks.sleep(STOP_BOUND_S + 1)  # by now, nobody would be kept waiting for a stop any more
        await use.__aenter__()
    assert Verdict.USED is (await looking).verdict
    assert ground.runs
    await use.__aexit__(None, None, None)
    await other.close()


async def test_nobody_is_let_in_without_a_lease(ground: Ground, server: Server) -> None:
    await ground.database.close()
    assert ground.database.file is not None
    ground.database.file.rename(ground.database.file.with_suffix(".away"))
    with pytest.raises(StoreUnavailableError):
        async with server.leases.hold(ground.alice, LeaseKind.SSH):
            raise AssertionError("somebody was let in")
    ground.database.file.with_suffix(".away").rename(ground.database.file)


async def test_who_is_in_stays_while_the_database_is_away_and_is_known_again_then(
    ground: Ground, server: Server
) -> None:
    await server.look()
    async with server.leases.hold(ground.alice, LeaseKind.SSH):
        file = ground.database.file
        assert file is not None
        await ground.database.close()
        file.rename(file.with_suffix(".away"))
        with pytest.raises(StoreUnavailableError):
            await server.leases.renew()
        file.with_suffix(".away").rename(file)
        known = await ground.lease_store.known(ground.alice.userhash)
        await ground.lease_store.close([lease.id for lease in known.leases])  # given up meanwhile
        await server.leases.renew()
        assert Verdict.USED is (await server.look()).verdict


async def test_old_containers_are_removed_and_homes_stay(ground: Ground) -> None:
    server = ground.server(REAPER.model_copy(update={"idle_remove_s": 3600.0}))
    await ground.engine.stop(ground.alice.userhash)
    ground.clocks.wall = datetime.now(UTC) + timedelta(minutes=59)
    assert [] == await server.reaper.look()
    ground.clocks.sleep(120)
    assert Verdict.REMOVED is (await server.look(dry_run=True)).verdict
    assert [ground.alice.userhash] == [*ground.engine.host.containers]
    assert Verdict.REMOVED is (await server.look()).verdict
    assert [] == [*ground.engine.host.containers]
    assert ground.engine.host.home(ground.alice.userhash).is_dir()
    async with server.leases.hold(ground.alice, LeaseKind.SSH):  # nobody has to wait
        pass
    await server.close()
