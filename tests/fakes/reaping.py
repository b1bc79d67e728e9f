"""An account with an environment, and servers that use it and reap it, under clocks that only tests move."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rootblood.domain.accounts import Account, new_userhash
from rootblood.domain.environments import EnvironmentState, Identity
from rootblood.domain.logins import new_id
from rootblood.link.keys import LinkKeys, create_link_keys, read_link_keys
from rootblood.link.link import ENTER_PROGRAM
from rootblood.services.accounts import Accounts
from rootblood.services.activity import Activity
from rootblood.services.endings import Endings
from rootblood.services.environments import Environments
from rootblood.services.leases import Leases
from rootblood.services.notices import Notices
from rootblood.services.outlooks import Outlooks
from rootblood.services.passwords import Passwords
from rootblood.services.reaper import Finding, Reaper
from rootblood.services.visits import Visits
from rootblood.settings import LeaseSettings, LinkSettings, PasswordSettings, ReaperSettings, Settings
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.idleness import SqlIdlenessStore
from rootblood.stores.sql.leases import SqlLeaseStore
from rootblood.stores.sql.visits import SqlVisitStore
from tests.fakes import sshd, tmux
from tests.fakes.clocks import Clocks
from tests.fakes.engine import FakeEngine, FakeHost

LEASES = LeaseSettings(ttl_s=60, heartbeat_s=20)
REAPER = ReaperSettings(
    interval_s=60, idle_stop_s=600, max_unattended_s=3600, idle_remove_s=0, tmux_jobs=False, warning_s=0
)


@dataclass
class Ground:
    """What all servers share."""

    database: Database
    clocks: Clocks
    engine: FakeEngine
    lease_store: SqlLeaseStore
    visits: Visits
    visit_store: SqlVisitStore
    accounts: Accounts
    store: SqlAccountStore
    keys: LinkKeys
    alice: Account

    def server(self, settings: ReaperSettings = REAPER) -> "Server":
        """One more server, as it begins."""
        return Server(self, settings)

    @property
    def runs(self) -> bool:
        """Whether alice's environment does."""
        found = self.engine.host.containers.get(self.alice.userhash)
        return found is not None and found[1].state is EnvironmentState.RUNNING

    async def start(self) -> None:
        """Have it run, with nobody there."""
        await self.engine.ensure(Identity.of(self.alice))

    def work(self, seconds: float) -> None:
        """Use so much CPU time."""
        usage = self.engine.usage
        self.engine.usage = replace(usage, cpu_ns=usage.cpu_ns + int(seconds * 1e9))

    def transfer(self, count: int) -> None:
        """Move so many bytes over the network."""
        usage = self.engine.usage
        self.engine.usage = replace(usage, network_bytes=usage.network_bytes + count)


@dataclass
class Server:
    """What one process has of its own."""

    ground: Ground
    settings: ReaperSettings
    leases: Leases = field(init=False)
    environments: Environments = field(init=False)
    reaper: Reaper = field(init=False)
    outlooks: Outlooks = field(init=False)

    def __post_init__(self) -> None:
        ground = self.ground
        idleness = SqlIdlenessStore(ground.database, ground.clocks.database)
        self.leases = Leases(ground.lease_store, idleness, LEASES, server=new_id(), poll_s=0.01)
        self.environments = Environments(
            engine=ground.engine,
            store=ground.store,
            visits=ground.visits,
            keys=ground.keys,
            settings=LinkSettings(),
            hold=self.leases.hold,
            if_unused=self.leases.if_unused,
        )
        self.reaper = Reaper(
            accounts=ground.accounts,
            environments=self.environments,
            activity=Activity(self.environments, self.settings),
            notices=Notices(self.environments),
            leases=ground.lease_store,
            store=idleness,
            server=self.leases.server,
            lease_settings=LEASES,
            settings=self.settings,
            monotonic=ground.clocks.monotonic,
        )
        self.outlooks = Outlooks(
            leases=ground.lease_store,
            visits=ground.visit_store,
            lease_settings=LEASES,
            settings=self.settings,
        )

    async def look(self, *, dry_run: bool = False) -> Finding:
        """The reaper's finding on alice's environment."""
        (finding,) = await self.reaper.look(dry_run=dry_run)
        return finding

    async def look_on(self, seconds: float) -> Finding:
        """Let time pass with a look each minute; the last finding, or that of a stop."""
        for _ in range(int(seconds / 60)):
            self.ground.clocks.sleep(60)
            finding = await self.look()
            if not self.ground.runs:
                break
        return finding

    async def close(self) -> None:
        await self.leases.close()
        await self.environments.close()


@asynccontextmanager
async def made_ground(directory: Path, template: Path) -> AsyncIterator[Ground]:
    """A ground in an empty directory.

    Args:
        directory: for all it needs.
        template: a directory with a database that is set up, and `keys`.
    """
    shutil.copytree(template / "state", directory / "state")
    (directory / "host").mkdir()
    clocks = Clocks()
    database = Database(Settings(state_dir=directory / "state"))
    host = FakeHost(directory / "host")
    engine = FakeEngine(
        host,
        programs={
            "/usr/bin/tmux": [sys.executable, tmux.__file__],
            ENTER_PROGRAM: [sys.executable, sshd.__file__, str(host.system("default"))],
        },
    )
    store = SqlAccountStore(database, Settings().accounts)
    visit_store = SqlVisitStore(database)
    visits = Visits(visit_store)
    passwords = Passwords(PasswordSettings())
    try:
        yield Ground(
            database=database,
            clocks=clocks,
            engine=engine,
            lease_store=SqlLeaseStore(database, clocks.database),
            visits=visits,
            visit_store=visit_store,
            accounts=Accounts(store, passwords, Endings()),
            store=store,
            keys=await asyncio.to_thread(read_link_keys, template / "keys"),
            alice=await store.add(
                name="alice", userhash=new_userhash(), admin=False, password_hash=None, keys=()
            ),
        )
    finally:
        await visits.close()
        await engine.close()
        passwords.close()
        await database.close()


def make_keys(template: Path) -> None:
    """What `made_ground` needs besides the database."""
    create_link_keys(template / "keys")
