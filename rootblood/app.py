"""The composition root: settings in, running parts out.

Only here is it decided that the rows are kept by SQLAlchemy and the containers run by Docker. `open_core`
gives the services, for one command of the CLI as for the server; `rootblood.serving` puts both doors in front
of them.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rootblood.engines.base import Engine
from rootblood.engines.docker.engine import DockerEngine
from rootblood.errors import ConfigurationError
from rootblood.link.keys import create_link_keys, read_link_keys
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
from rootblood.services.restores import Restores, require_restored
from rootblood.services.strays import Strays
from rootblood.services.takeout import Takeout
from rootblood.services.tokens import Tokens
from rootblood.services.unpackings import Unpackings
from rootblood.services.upgrades import Upgrades
from rootblood.services.visits import Visits
from rootblood.services.watch import Watch
from rootblood.settings import Settings
from rootblood.ssh.hostkeys import create_host_key
from rootblood.stores.base import AccountLocks, DatabaseCopies
from rootblood.stores.locks import FileAccountLocks
from rootblood.stores.servers import Servers
from rootblood.stores.spool import Spool
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.audit import SqlAuditStore
from rootblood.stores.sql.bans import SqlBanStore
from rootblood.stores.sql.checking import check
from rootblood.stores.sql.copies import SqliteCopies
from rootblood.stores.sql.copying import TableCount, copy
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.dumps import PostgresqlCopies
from rootblood.stores.sql.idleness import SqlIdlenessStore
from rootblood.stores.sql.leases import SqlLeaseStore
from rootblood.stores.sql.links import SqlLinkStore
from rootblood.stores.sql.locks import PostgresqlAccountLocks
from rootblood.stores.sql.logins import SqlLoginStore
from rootblood.stores.sql.schema import schema_is_current, upgrade
from rootblood.stores.sql.tokens import SqlTokenStore
from rootblood.stores.sql.visits import SqlVisitStore

SETUP_HINT = "run: rootblood setup"


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


def build_engine(settings: Settings, server: str = "") -> Engine:
    """The engine the settings name, for the process of that ID; it is not asked anything yet."""
    sockets = settings.state_dir.absolute() / "sockets" if settings.engine.direct_streams else None
    return DockerEngine(settings.engine, settings.environment, settings.limits, sockets, server=server)


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
    require_restored(settings.state_dir)
    keys = read_link_keys(settings.keys_dir)
    database = Database(settings)
    try:
        if not await schema_is_current(database):
            raise ConfigurationError(f"the database has no schema, or an old one; {SETUP_HINT}")
        servers = Servers(settings.state_dir.absolute() / "servers")
        await asyncio.to_thread(servers.enter)
        engine = build_engine(settings, servers.own)
        endings = Endings()
        passwords = Passwords(settings.passwords)
        store = SqlAccountStore(database, settings.accounts)
        audit = Audit(SqlAuditStore(database), settings.audit)
        visit_store = SqlVisitStore(database)
        visits = Visits(visit_store, audit.record)
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
            record=audit.record,
            hold=leases.hold,
            if_unused=leases.if_unused,
            locks=locks,
            crash_loop=settings.crash_loop,
        )
        accounts = Accounts(store, passwords, endings, audit.record)
        homes = HomeSizes(environments)
        spool = Spool(
            settings.state_dir / "exports",
            max_bytes=settings.exports.spool_max_bytes,
            min_free_bytes=settings.exports.spool_min_free_bytes,
            server=servers.own,
        )
        exports = Exports(environments, spool, settings.exports, audit.record)
        logins = Logins(SqlLoginStore(database), settings.web, endings, audit.record, now=SteadyClock())
        tokens = Tokens(SqlTokenStore(database), audit.record)
        administration = Administration(accounts, environments, exports)
        imports = Imports(environments, settings.imports, audit.record)
        unpackings = Unpackings(imports)
        try:
            yield Core(
                engine=engine,
                endings=endings,
                accounts=accounts,
                passwords=passwords,
                environments=environments,
                homes=homes,
                leases=leases,
                outlooks=Outlooks(
                    leases=lease_store,
                    visits=visit_store,
                    lease_settings=settings.leases,
                    settings=settings.reaper,
                    record=audit.record,
                ),
                reaper=Reaper(
                    accounts=accounts,
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
                    accounts=accounts,
                    environments=environments,
                    strays=Strays(environments, settings.ssh.hangup_grace_s),
                    leases=lease_store,
                    turns=idleness_store,
                    servers=servers,
                    locks=locks,
                    record=audit.record,
                    settings=settings.reconcile,
                ),
                watch=Watch(engine, environments, visits),
                servers=servers,
                visits=visits,
                logins=logins,
                links=Links(SqlLinkStore(database), audit.record, now=SteadyClock()),
                tokens=tokens,
                exports=exports,
                takeout=Takeout(
                    accounts=accounts,
                    audit=audit,
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
                    keys=keys,
                    settings=settings.link,
                ),
                bans=Bans(SqlBanStore(database)),
                audit=audit,
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
            await audit.close()
            await engine.close()
            await locks.close()
            passwords.close()
            await asyncio.to_thread(servers.leave)
    finally:
        await database.close()


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


async def finish_restore(settings: Settings) -> None:
    """Bring what was restored up to this version, and let environments resolve the accounts' names.

    Raises:
        EngineUnavailableError, ImageMissingError, EnvironmentFailedError, StoreUnavailableError: `serve` does
            it at its start, too.
    """
    await set_up(settings)
    async with open_core(settings) as core:
        await core.environments.shared.prepare()


async def set_up(settings: Settings) -> list[str]:
    """Make what an installation needs and does not have yet; nothing that is there is touched.

    Returns:
        One line for each thing that was made.
    """
    require_restored(settings.state_dir)
    made = []
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if create_host_key(settings.keys_dir):
        made.append(f"host key in {settings.keys_dir}")
    if create_link_keys(settings.keys_dir):
        made.append(f"keys of the link in {settings.keys_dir}")
    database = Database(settings)
    try:
        if not await schema_is_current(database):
            await upgrade(database)
            made.append("database schema")
    finally:
        await database.close()
    return made


def database_name(settings: Settings) -> str:
    """Which database the settings name, without user and password. Raises `ConfigurationError`."""
    return Database(settings).name


async def check_database(settings: Settings) -> Sequence[str]:
    """What is wrong with this installation's database, a line each. Raises as `checking.check`."""
    database = Database(settings)
    try:
        return await check(database)
    finally:
        await database.close()


async def copy_database(source: Settings, target: Settings, *, dry_run: bool) -> Sequence[TableCount]:
    """Copy all rows of one installation into the empty database of another. Raises as `copying.copy`."""
    databases = Database(source), Database(target)
    try:
        return await copy(*databases, dry_run=dry_run)
    finally:
        for database in databases:
            await database.close()
