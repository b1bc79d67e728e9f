"""The plan carried out on a real database and the fake engine: under locks, once, and told in the trails."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rootblood.domain.accounts import new_userhash
from rootblood.domain.audit import Action
from rootblood.domain.environments import Identity
from rootblood.domain.leases import LeaseKind, NewLease
from rootblood.domain.reconciliation import Holding, HoldingKind
from rootblood.errors import EngineUnavailableError, EnvironmentFailedError
from rootblood.services.reconcile import Outcome, Reconciler
from rootblood.services.strays import Strays
from rootblood.settings import ReconcileSettings
from rootblood.stores.locks import ProcessLocks
from rootblood.stores.servers import Servers
from rootblood.stores.sql.idleness import SqlIdlenessStore
from tests.fakes.reaping import Ground, Server

DEAD = "d" * 32


@dataclass
class Bench:
    """A reconciler, and what it is to reconcile."""

    ground: Ground
    server: Server
    servers: Servers
    locks: ProcessLocks
    recorded: list[tuple[str, Action, str]]

    def reconciler(self, interval_s: float = 0.05) -> Reconciler:
        return Reconciler(
            engine=self.ground.engine,
            accounts=self.ground.accounts,
            environments=self.server.environments,
            strays=Strays(self.server.environments, 0.1),
            leases=self.ground.lease_store,
            turns=SqlIdlenessStore(self.ground.database),
            servers=self.servers,
            locks=self.locks,
            record=lambda account, action, _by, detail="": self.recorded.append(
                (account.name, action, detail)
            ),
            settings=ReconcileSettings(interval_s=interval_s),
        )

    async def reconcile(self) -> list[str]:
        return told(await self.reconciler().reconcile())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it is a file, or a lock's own count
            await asyncio.sleep(0.01)


def told(outcomes: list[Outcome]) -> list[str]:
    return [f"{outcome.difference.remedy} {outcome.difference.kind}" for outcome in outcomes]


@pytest.fixture
async def bench(ground: Ground, tmp_path: Path) -> AsyncIterator[Bench]:
    server = ground.server()
    servers = Servers(tmp_path / "servers")
    await asyncio.to_thread(servers.enter)
    made = Bench(ground, server, servers, ProcessLocks(), [])
    await server.environments.shared.prepare()
    yield made
    await asyncio.to_thread(servers.leave)
    await server.close()


def kill_a_server(bench: Bench) -> None:
    """What is left of one: a file that nobody holds."""
    (bench.servers._directory / f"{DEAD}.lock").touch()


async def test_a_second_run_has_nothing_to_do(bench: Bench) -> None:
    stranger, alice = new_userhash(), bench.ground.alice
    await bench.ground.engine.ensure(Identity("stranger", stranger, 21000, 21000))
    await bench.ground.start()
    helper = Holding(HoldingKind.HELPER, "helper", datetime.now(UTC), server=DEAD)
    bench.ground.engine.more_holdings.append(helper)
    lease = NewLease("e" * 32, alice.userhash, LeaseKind.SSH)
    await bench.ground.lease_store.open(lease, server=DEAD, ttl_s=60, even_if_stopping=False)
    await asyncio.to_thread(kill_a_server, bench)
    expected = [
        "remove container-without-account",
        "remove helper-left",
        "report home-without-account",
        "remove leases-left",
        "remove process-killed",
    ]
    plan = await bench.reconciler().plan()
    assert expected == [f"{difference.remedy} {difference.kind}" for difference in plan]

    assert expected == await bench.reconcile()
    assert ["report home-without-account"] == await bench.reconcile()

    assert [alice.userhash] == list(bench.ground.engine.host.containers)
    assert bench.ground.engine.host.home(stranger).is_dir()
    assert () == tuple((await bench.ground.lease_store.known(alice.userhash)).leases)
    assert [("alice", Action.RECONCILED, "leases-left: 1 of a server that was killed")] == bench.recorded


async def test_what_is_missing_is_made(bench: Bench) -> None:
    bench.ground.engine.host.shared(bench.ground.engine.instance).rmdir()
    late = await bench.ground.accounts.create("late")

    assert ["heal shared-missing", "heal name-not-published"] == await bench.reconcile()
    assert [] == await bench.reconcile()
    assert late.name in bench.ground.engine.installs[-1]


async def test_a_container_is_removed_under_its_lock_and_looked_at_again_there(bench: Bench) -> None:
    userhash = new_userhash()
    await bench.ground.engine.ensure(Identity("new", userhash, 21000, 21000))
    async with bench.locks.hold(userhash):
        mending = asyncio.create_task(bench.reconcile())
        await until(lambda: bench.locks._wanted.get(userhash) == 2)
        # The account turns up while the lock is waited for.
        await bench.ground.store.add(name="new", userhash=userhash, admin=False, password_hash=None, keys=())
    await mending

    assert userhash in bench.ground.engine.host.containers


async def test_what_fails_is_told_and_the_dead_are_not_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(kill_a_server, bench)
    helper = Holding(HoldingKind.HELPER, "helper", datetime.now(UTC), server=DEAD)
    bench.ground.engine.more_holdings.append(helper)

    async def fail(_holding: Holding) -> bool:
        raise EnvironmentFailedError("it does not go")

    with monkeypatch.context() as patch:
        patch.setattr(bench.ground.engine, "discard", fail)
        (outcome,) = await bench.reconciler().reconcile()
    assert "it does not go" == outcome.error
    assert DEAD in (await asyncio.to_thread(bench.servers.look))[1]
    assert ["remove helper-left", "remove process-killed"] == await bench.reconcile()


async def test_an_engine_that_is_away_is_an_error_here_and_only_a_delay_for_a_server(bench: Bench) -> None:
    await asyncio.to_thread(kill_a_server, bench)
    bench.ground.engine.away = True
    with pytest.raises(EngineUnavailableError):
        await bench.reconciler().reconcile()

    stop = asyncio.Event()
    watching = asyncio.create_task(bench.reconciler().watch(stop))
    await asyncio.sleep(0)
    assert DEAD in (await asyncio.to_thread(bench.servers.look))[1]
    bench.ground.engine.away = False
    await until(lambda: not list(bench.servers._directory.glob(f"{DEAD}*")))
    stop.set()
    await watching


async def test_at_its_start_a_server_does_not_wait_for_its_turn(bench: Bench) -> None:
    turns = SqlIdlenessStore(bench.ground.database)
    assert await turns.take_turn("reconcile", server="another", for_s=3600)
    await asyncio.to_thread(kill_a_server, bench)

    stop = asyncio.Event()
    watching = asyncio.create_task(bench.reconciler(interval_s=3600).watch(stop))
    await until(lambda: not list(bench.servers._directory.glob(f"{DEAD}*")))
    stop.set()
    await watching
