"""Sizes of homes: told at once, measured behind, and not too often."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.homes import HomeSize
from rootblood.link.keys import create_link_keys, read_link_keys
from rootblood.services.environments import Environments
from rootblood.services.homes import TIMEOUT_PROGRAM, HomeSizes
from rootblood.services.visits import Visits
from rootblood.settings import LinkSettings, Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.visits import SqlVisitStore
from tests.databases import set_up
from tests.fakes.engine import FakeEngine, FakeHost

PROGRAM = Path(__file__).parent.parent / "fakes" / "disk_use.py"


@dataclass
class Rig:
    """One account whose environment runs, and a clock that is set by hand."""

    engine: FakeEngine
    sizes: HomeSizes
    account: Account
    home: Path
    now: float = 1000.0

    async def measured(self) -> HomeSize:
        """The size once nothing is being measured."""
        return await self.sizes.of(self.account, running=True, patience_s=20)

    @property
    def runs(self) -> list[str]:
        """The measurements there have been, by their arguments."""
        return (self.home / "du-runs").read_text().splitlines()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    database = Database(Settings(state_dir=tmp_path / "state"))
    await set_up(database)
    (tmp_path / "host").mkdir()
    await asyncio.to_thread(create_link_keys, tmp_path / "keys")
    engine = FakeEngine(
        FakeHost(tmp_path / "host"), programs={TIMEOUT_PROGRAM: [sys.executable, str(PROGRAM)]}
    )
    store = SqlAccountStore(database, Settings().accounts)
    visits = Visits(SqlVisitStore(database))
    environments = Environments(
        engine=engine,
        store=store,
        visits=visits,
        keys=await asyncio.to_thread(read_link_keys, tmp_path / "keys"),
        settings=LinkSettings(),
    )
    account = await store.add(name="alice", userhash="a" * 32, admin=False, password_hash=None, keys=[])
    await environments.start(account)
    made = Rig(
        engine, HomeSizes(environments, clock=lambda: made.now), account, engine.host.home(account.userhash)
    )
    yield made
    await made.sizes.close()
    await environments.close()
    await visits.close()
    await engine.close()
    await database.close()


async def test_nobody_waits_for_a_measurement_and_there_is_one_at_a_time(rig: Rig) -> None:
    (rig.home / "hold").touch()
    for _ in range(5):
        assert HomeSize(measuring=True) == await rig.sizes.of(rig.account, running=True)
    (rig.home / "hold").unlink()

    size = await rig.measured()
    assert (12345678, False, "") == (size.used_bytes, size.measuring, size.trouble)
    assert ["--signal=KILL 120 /usr/bin/nice -n 19 /usr/bin/ionice -c 3"] == [
        run.partition(" /usr/bin/du ")[0] for run in rig.runs
    ]


async def test_it_is_measured_anew_when_it_is_old_and_the_last_is_told_meanwhile(rig: Rig) -> None:
    first = await rig.measured()
    rig.now += 59
    assert first == await rig.measured()
    rig.now += 2
    (rig.home / "du").write_text("5\t/home\n")
    (rig.home / "hold").touch()
    anew = await rig.sizes.of(rig.account, running=True)
    assert (12345678, True) == (anew.used_bytes, anew.measuring)
    (rig.home / "hold").unlink()
    assert 5 == (await rig.measured()).used_bytes
    assert 2 == len(rig.runs)


async def test_a_home_that_takes_long_is_measured_less_often(rig: Rig) -> None:
    (rig.home / "hold").touch()
    await rig.sizes.of(rig.account, running=True, patience_s=0.01)
    rig.now += 10
    (rig.home / "hold").unlink()
    await rig.measured()
    rig.now += 199
    assert not (await rig.sizes.of(rig.account, running=True)).measuring
    rig.now += 2
    assert (await rig.sizes.of(rig.account, running=True)).measuring
    await rig.measured()


async def test_one_that_is_broken_off_says_so_and_keeps_the_last(rig: Rig) -> None:
    await rig.measured()
    rig.now += 61
    (rig.home / "du").write_text("")
    (rig.home / "hold").touch()
    await rig.sizes.of(rig.account, running=True, patience_s=0.01)
    rig.now += 121
    (rig.home / "hold").unlink()
    size = await rig.measured()
    assert 12345678 == size.used_bytes
    assert "it has too many files to be measured within 120 s" == size.trouble


@pytest.mark.parametrize(
    "said", ["", "-1\t/home\n", "nan", "٣\t/home\n", "1" * 30, "\x1b[2J\t/home\n", "0x10\t"]
)
async def test_what_is_no_size_is_none(rig: Rig, said: str) -> None:
    (rig.home / "du").write_text(said)
    size = await rig.measured()
    assert (None, "it could not be measured") == (size.used_bytes, size.trouble)


async def test_nothing_is_run_in_what_does_not_run(rig: Rig) -> None:
    assert HomeSize() == await rig.sizes.of(rig.account, running=False)
    assert not (rig.home / "du-runs").exists()

    rig.engine.away = True
    assert "the container engine does not answer" == (await rig.measured()).trouble
    rig.engine.away = False


async def test_closing_ends_what_is_under_way(rig: Rig) -> None:
    (rig.home / "hold").touch()
    await rig.sizes.of(rig.account, running=True, patience_s=0.01)
    async with asyncio.timeout(60):
        await rig.sizes.close()
