"""The composition root: settings in, running parts out.

Here, in `rootblood.records` for what needs no more than the rows, and in `rootblood.inventory` for what
looks at containers, it is decided that SQLAlchemy keeps the rows and Docker runs the containers. `open_core`
gives the services, for one command of the CLI as for the server; `rootblood.serving` puts both doors in front
of them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rootblood.engines.base import Engine
from rootblood.inventory import build_engine
from rootblood.link.keys import read_link_keys
from rootblood.records import open_records
from rootblood.services.accounts import Accounts
from rootblood.services.activity import Activity
from rootblood.services.administration import Administration
from rootblood.services.audit import Audit
from rootblood.services.backups import Backups
from rootblood.services.bans import Bans
from rootblood.services.clock import SteadyClock
from rootblood.services.endings import Endings
from rootblood.services.environments import Environments
from rootblood.services.exports import Exports
from rootblood.services.homes import HomeSizes
from rootblood.services.imports import Imports
from rootblood.services.leases import Leases
from rootblood.services.links import Links
from rootblood.services.logins import Logins
from rootblood.services.metrics import UNMEASURED, Metrics
from rootblood.services.notices import Notices
from rootblood.services.outlooks import Outlooks
from rootblood.services.passwords import Passwords
from rootblood.services.reaper import Reaper
from rootblood.services.reconcile import Reconciler
from rootblood.services.restores import Restores
from rootblood.services.strays import Strays
from rootblood.services.takeout import Takeout
from rootblood.services.tokens import Tokens
from rootblood.services.unpackings import Unpackings
from rootblood.services.upgrades import Upgrades
from rootblood.services.visits import Visits
from rootblood.services.watch import Watch
from rootblood.settings import Settings
from rootblood.stores.base import AccountLocks, DatabaseCopies
from rootblood.stores.locks import FileAccountLocks
from rootblood.stores.servers import Servers
from rootblood.stores.spool import Spool
from rootblood.stores.sql.copies import SqliteCopies
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.dumps import PostgresqlCopies
from rootblood.stores.sql.idleness import SqlIdlenessStore
from rootblood.stores.sql.leases import SqlLeaseStore
from rootblood.stores.sql.links import SqlLinkStore
from rootblood.stores.sql.locks import PostgresqlAccountLocks
from rootblood.stores.sql.logins import SqlLoginStore
from rootblood.stores.sql.tokens import SqlTokenStore
from rootblood.stores.sql.visits import SqlVisitStore


@dataclass(frozen=True, slots=True)
class Core:
    """The services both doors and the CLI stand on."""

    engine: Engine
    endings: Endings
    accounts: Accounts
    passwords: Passwords
    environments: Environments
    homes: HomeSizes
    leases: Leases
    outlooks: Outlooks
    reaper: Reaper
    reconciler: Reconciler
    watch: Watch
    servers: Servers
    visits: Visits
    logins: Logins
    links: Links
    tokens: Tokens
    exports: Exports
    takeout: Takeout
    imports: Imports
    unpackings: Unpackings
    backups: Backups
    upgrades: Upgrades
    administration: Administration
    bans: Bans
    audit: Audit

    def apply(self, settings: Settings) -> None:
        """Have all services go by these settings from now on."""
        self.engine.apply(settings.environment, settings.limits)
        self.passwords.apply(settings.passwords)
        self.environments.links.apply(settings.link)
        self.upgrades.apply(settings.link)
        self.outlooks.apply(settings.reaper)
        self.reaper.apply(settings.reaper)
        self.reconciler.apply(settings.reconcile, grace_s=settings.ssh.hangup_grace_s)
        self.environments.crash_loops.apply(settings.crash_loop)
        self.logins.apply(settings.web)
        self.exports.apply(settings.exports)
        self.imports.apply(settings.imports)
        self.audit.apply(settings.audit)


@asynccontextmanager
async def open_core(settings: Settings, metrics: Metrics = UNMEASURED) -> AsyncIterator[Core]:
    """Build the services on this installation's database and engine, and close them at the end.

    Args:
        settings: this installation's.
        metrics: told of what happens.

    Raises:
        ConfigurationError: keys or schema are missing or old.
        StoreUnavailableError: the database does not answer.
    """
    async with open_records(settings) as records:
        keys = read_link_keys(settings.keys_dir)
        database, store, record = records.database, records.store, records.audit.record
        servers = Servers(settings.state_dir.absolute() / "servers")
        await asyncio.to_thread(servers.enter)
        engine = build_engine(settings, servers.own)
        visit_store = SqlVisitStore(database)
        visits = Visits(visit_store, record)
        lease_store = SqlLeaseStore(database)
        idleness_store = SqlIdlenessStore(database)
        leases = Leases(lease_store, idleness_store, settings.leases, server=servers.own)
        locks = _account_locks(settings, database)
        environments = Environments(
            engine=engine,
            store=store,
            visits=visits,
            keys=keys,
            settings=settings.link,
            metrics=metrics,
            record=record,
            hold=leases.hold,
            if_unused=leases.if_unused,
            locks=locks,
            crash_loop=settings.crash_loop,
        )
        homes = HomeSizes(environments)
        spool = Spool(
            settings.state_dir / "exports",
            max_bytes=settings.exports.spool_max_bytes,
            min_free_bytes=settings.exports.spool_min_free_bytes,
            server=servers.own,
        )
        exports = Exports(environments, spool, settings.exports, record)
        logins = Logins(SqlLoginStore(database), settings.web, records.endings, record, now=SteadyClock())
        tokens = Tokens(SqlTokenStore(database), record)
        administration = Administration(records.accounts, environments, exports)
        imports = Imports(environments, settings.imports, record)
        unpackings = Unpackings(imports)
        try:
            yield Core(
                engine=engine,
                endings=records.endings,
                accounts=records.accounts,
                passwords=records.passwords,
                environments=environments,
                homes=homes,
                leases=leases,
                outlooks=Outlooks(
                    leases=lease_store,
                    visits=visit_store,
                    lease_settings=settings.leases,
                    settings=settings.reaper,
                    record=record,
                ),
                reaper=Reaper(
                    accounts=records.accounts,
                    environments=environments,
                    activity=Activity(environments, settings.reaper),
                    notices=Notices(environments),
                    leases=lease_store,
                    store=idleness_store,
                    server=leases.server,
                    lease_settings=settings.leases,
                    settings=settings.reaper,
                ),
                reconciler=Reconciler(
                    engine=engine,
                    accounts=records.accounts,
                    environments=environments,
                    strays=Strays(environments, settings.ssh.hangup_grace_s),
                    leases=lease_store,
                    turns=idleness_store,
                    servers=servers,
                    locks=locks,
                    record=record,
                    settings=settings.reconcile,
                ),
                watch=Watch(engine, environments, visits),
                servers=servers,
                visits=visits,
                logins=logins,
                links=Links(SqlLinkStore(database), record, now=SteadyClock()),
                tokens=tokens,
                exports=exports,
                takeout=Takeout(
                    accounts=records.accounts,
                    audit=records.audit,
                    logins=logins,
                    tokens=tokens,
                    visits=visits,
                    exports=exports,
                ),
                imports=imports,
                unpackings=unpackings,
                administration=administration,
                backups=Backups(
                    engine=engine,
                    environments=environments,
                    store=store,
                    copies=_database_copies(settings, database),
                    settings=settings,
                ),
                upgrades=Upgrades(
                    engine=engine,
                    environments=environments,
                    store=store,
                    notices=Notices(environments),
                    locks=locks,
                    keys=keys,
                    settings=settings.link,
                ),
                bans=records.bans,
                audit=records.audit,
            )
        finally:
            await administration.close()
            await exports.close()
            await unpackings.close()
            await imports.close()
            await homes.close()
            await leases.close()
            await environments.close()
            await visits.close()
            await engine.close()
            await locks.close()
            await asyncio.to_thread(servers.leave)


def _account_locks(settings: Settings, database: Database) -> AccountLocks:
    """Locks that all servers see: those on one SQLite database are on one machine."""
    if database.file is not None:
        return FileAccountLocks(settings.state_dir.absolute() / "locks")
    return PostgresqlAccountLocks(database, settings.database)


def _database_copies(settings: Settings, database: Database) -> DatabaseCopies:
    if database.file is not None:
        return SqliteCopies(database.file, settings)
    return PostgresqlCopies(database)


@asynccontextmanager
async def open_restores(settings: Settings) -> AsyncIterator[Restores]:
    """What restores backups into this installation, which need not be set up. It is closed at the end."""
    database = Database(settings)
    engine = build_engine(settings)
    try:
        yield Restores(engine, _database_copies(settings, database), settings)
    finally:
        await engine.close()
        await database.close()
