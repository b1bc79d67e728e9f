"""The composition root: settings in, running parts out.

Only here is it decided that the rows are kept by SQLAlchemy and the containers run by Docker. `open_core`
gives the services, for one command of the CLI as for the server; `serve` puts both doors in front of them and
runs until it is told to stop.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from rootblood.engines.base import Engine
from rootblood.engines.docker.engine import DockerEngine
from rootblood.errors import (
    ConfigurationError,
    EngineUnavailableError,
    EnvironmentFailedError,
    ImageMissingError,
    StoreUnavailableError,
)
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
from rootblood.services.penalties import Penalties
from rootblood.services.presence import Presence
from rootblood.services.reaper import Reaper
from rootblood.services.restores import Restores, require_restored
from rootblood.services.takeout import Takeout
from rootblood.services.tokens import Tokens
from rootblood.services.unpackings import Unpackings
from rootblood.services.visits import Visits
from rootblood.settings import Settings
from rootblood.ssh.greeting import read_texts
from rootblood.ssh.hostkeys import create_host_key, read_host_key
from rootblood.ssh.server import SSHDoor
from rootblood.stores.base import AccountLocks
from rootblood.stores.locks import FileAccountLocks
from rootblood.stores.spool import Spool
from rootblood.stores.sql.accounts import SqlAccountStore
from rootblood.stores.sql.audit import SqlAuditStore
from rootblood.stores.sql.bans import SqlBanStore
from rootblood.stores.sql.checking import check
from rootblood.stores.sql.copies import SqlDatabaseCopies
from rootblood.stores.sql.copying import TableCount, copy
from rootblood.stores.sql.database import Database
from rootblood.stores.sql.idleness import SqlIdlenessStore
from rootblood.stores.sql.leases import SqlLeaseStore
from rootblood.stores.sql.links import SqlLinkStore
from rootblood.stores.sql.locks import PostgresqlAccountLocks
from rootblood.stores.sql.logins import SqlLoginStore
from rootblood.stores.sql.schema import schema_is_current, upgrade
from rootblood.stores.sql.tokens import SqlTokenStore
from rootblood.stores.sql.visits import SqlVisitStore
from rootblood.web.metrics.census import Census
from rootblood.web.metrics.listener import MetricsListener
from rootblood.web.metrics.registry import Registry
from rootblood.web.server import WebDoor
from rootblood.web.tls import read_tls

_log = structlog.stdlib.get_logger(__name__)

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

SETUP_HINT = "run: rootblood setup"


@dataclass(frozen=True, slots=True)
class Core:
    """The services both doors and the CLI stand on."""

    settings: Settings
    engine: Engine
    endings: Endings
    accounts: Accounts
    environments: Environments
    homes: HomeSizes
    leases: Leases
    outlooks: Outlooks
    reaper: Reaper
    visits: Visits
    logins: Logins
    links: Links
    tokens: Tokens
    exports: Exports
    takeout: Takeout
    imports: Imports
    unpackings: Unpackings
    backups: Backups
    administration: Administration
    bans: Bans
    audit: Audit


def build_engine(settings: Settings) -> Engine:
    """The engine the settings name; it is not asked anything yet."""
    sockets = settings.state_dir.absolute() / "sockets" if settings.engine.direct_streams else None
    return DockerEngine(settings.engine, settings.environment, settings.limits, sockets)


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
        engine = build_engine(settings)
        endings = Endings()
        passwords = Passwords(settings.passwords)
        store = SqlAccountStore(database, settings.accounts)
        audit = Audit(SqlAuditStore(database), settings.audit)
        visit_store = SqlVisitStore(database)
        visits = Visits(visit_store, audit.record)
        lease_store = SqlLeaseStore(database)
        idleness_store = SqlIdlenessStore(database)
        leases = Leases(lease_store, idleness_store, settings.leases)
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
        )
        accounts = Accounts(store, passwords, endings, audit.record)
        homes = HomeSizes(environments)
        spool = Spool(
            settings.state_dir / "exports",
            max_bytes=settings.exports.spool_max_bytes,
            min_free_bytes=settings.exports.spool_min_free_bytes,
        )
        exports = Exports(environments, spool, settings.exports, audit.record)
        clock = SteadyClock()
        logins = Logins(SqlLoginStore(database), settings.web, endings, audit.record, now=clock)
        tokens = Tokens(SqlTokenStore(database), audit.record)
        administration = Administration(accounts, environments, exports)
        imports = Imports(environments, settings.imports, audit.record)
        unpackings = Unpackings(imports)
        try:
            yield Core(
                settings=settings,
                engine=engine,
                endings=endings,
                accounts=accounts,
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
                visits=visits,
                logins=logins,
                links=Links(SqlLinkStore(database), audit.record, now=clock),
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
                    copies=SqlDatabaseCopies(database, settings),
                    settings=settings,
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
    finally:
        await database.close()


def _account_locks(settings: Settings, database: Database) -> AccountLocks:
    """Locks that all servers see: those on one SQLite database are on one machine."""
    if database.file is not None:
        return FileAccountLocks(settings.state_dir.absolute() / "locks")
    return PostgresqlAccountLocks(database, settings.database)


@asynccontextmanager
async def open_restores(settings: Settings) -> AsyncIterator[Restores]:
    """What restores backups into this installation, which need not be set up. It is closed at the end."""
    database = Database(settings)
    engine = build_engine(settings)
    try:
        yield Restores(engine, SqlDatabaseCopies(database, settings), settings)
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
        await core.environments.prepare()


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


async def serve(settings: Settings, on_ready: Callable[[str, str, str | None], None]) -> None:
    """Run both doors, and the listener for metrics where there is to be one, until SIGTERM or SIGINT.

    Args:
        settings: this installation's.
        on_ready: called once with `HOST:PORT` of the SSH door, the URL of the web door and that of the
            metrics, None where there are none, when all accept.

    Raises:
        ConfigurationError: the installation is not set up, a file that the settings name cannot be read, or
            an address is taken.
    """
    require_restored(settings.state_dir)
    host_key = read_host_key(settings.keys_dir)
    texts = read_texts(settings.ssh)
    tls = read_tls(settings.web)
    penalties = Penalties(settings.penalties)  # of both doors together
    registry = Registry()
    stop = _told_to_stop()
    loop = asyncio.get_running_loop()
    async with open_core(settings, registry) as core:
        await core.exports.recover()
        await core.bans.refresh()
        presence = Presence()
        ssh = SSHDoor(
            accounts=core.accounts,
            environments=core.environments,
            exports=core.exports,
            visits=core.visits,
            penalties=penalties,
            bans=core.bans,
            host_key=host_key,
            texts=texts,
            settings=settings.ssh,
            metrics=registry,
        )
        web = WebDoor(
            accounts=core.accounts,
            environments=core.environments,
            homes=core.homes,
            outlooks=core.outlooks,
            imports=core.imports,
            unpackings=core.unpackings,
            logins=core.logins,
            links=core.links,
            tokens=core.tokens,
            exports=core.exports,
            penalties=penalties,
            bans=core.bans,
            administration=core.administration,
            takeout=core.takeout,
            visits=core.visits,
            audit=core.audit,
            presence=presence,
            motd=texts.motd,
            tls=tls,
            settings=settings.web,
            metrics=registry,
        )
        presence.add_door("ssh", lambda account: ssh.connections_of(account.name))
        presence.add_door("web", web.terminals_of)
        core.endings.subscribe(ssh.ask_again)
        core.endings.subscribe(web.ask_again)
        core.bans.subscribe(ssh.close_banned)
        core.bans.subscribe(web.close_banned)
        core.environments.answer_calls(web.answer)
        census = Census(
            ssh_connections=lambda: ssh.connection_count,
            web_connections=lambda: web.connection_count,
            ssh_sessions=lambda: ssh.session_count,
            web_terminals=lambda: web.terminal_count,
            penalized=lambda: len(penalties.waiting()),
            bans=lambda: core.bans.count,
            environments=core.environments.list,
        )
        ssh_ready: asyncio.Future[int] = loop.create_future()
        web_ready: asyncio.Future[str] = loop.create_future()
        metrics_ready: asyncio.Future[str] | None = None
        try:
            async with asyncio.TaskGroup() as doors:
                doors.create_task(_prepare(core.environments))
                doors.create_task(core.audit.keep_small(stop))
                doors.create_task(core.reaper.watch(stop))
                doors.create_task(core.exports.expire(stop))
                doors.create_task(ssh.serve(ssh_ready, stop))
                doors.create_task(web.serve(web_ready, stop))
                doors.create_task(core.bans.watch(stop))
                if settings.metrics.port is not None:
                    metrics_ready = loop.create_future()
                    listener = MetricsListener(registry, census, settings.metrics, settings.metrics.port)
                    doors.create_task(listener.serve(metrics_ready, stop))
                port, url = await ssh_ready, await web_ready
                metrics_url = await metrics_ready if metrics_ready is not None else None
                host = f"[{settings.ssh.host}]" if ":" in settings.ssh.host else settings.ssh.host
                on_ready(f"{host}:{port}", url, metrics_url)
                _log.info("ready", ssh=f"{host}:{port}", web=url, metrics=metrics_url)
                await stop.wait()
                _log.info("stopping")
        except* OSError as group:
            cause = next(iter(group.exceptions))
            raise ConfigurationError(f"cannot listen: {cause}") from group
    _log.info("stopped")


def _told_to_stop() -> asyncio.Event:
    """Set by the first signal that asks this process to stop; a second one ends it at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin_to_stop() -> None:
        stop.set()
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, begin_to_stop)
    return stop


async def _prepare(environments: Environments) -> None:
    """Install what environments share ahead of the first login; a login without it tries again."""
    try:
        await environments.prepare()
    except (
        EngineUnavailableError,
        ImageMissingError,
        EnvironmentFailedError,
        StoreUnavailableError,
    ) as error:
        _log.warning("prepare_failed", cause=str(error))
