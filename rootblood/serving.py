"""The server: both doors in front of the services, until it is told to stop.

When it is, the doors close to what is new and wait for what is under way, then tarballs and uploads that
nobody waits for at a door are waited for, and the rest is broken off: see `rootblood.stopping`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import structlog

from rootblood.app import Core, open_core
from rootblood.errors import (
    ConfigurationError,
    EngineUnavailableError,
    EnvironmentFailedError,
    ImageMissingError,
    StoreUnavailableError,
)
from rootblood.listening import Listener, handed_sockets
from rootblood.logs import configure_logs
from rootblood.reload import Reload
from rootblood.services.penalties import Penalties
from rootblood.services.presence import Presence
from rootblood.services.restoring import require_restored
from rootblood.settings import Settings
from rootblood.signals import reload_on_signal, stop_on_signals
from rootblood.ssh.greeting import read_texts
from rootblood.ssh.hostkeys import read_host_key
from rootblood.ssh.server import SSHDoor
from rootblood.stopping import Stop
from rootblood.systemd import ServiceNotifications
from rootblood.web.metrics.census import Census
from rootblood.web.metrics.listener import MetricsListener
from rootblood.web.metrics.registry import Registry
from rootblood.web.server import WebDoor
from rootblood.web.services import Services
from rootblood.web.tls import read_tls

_log = structlog.stdlib.get_logger(__name__)


async def serve(
    settings: Settings, read: Callable[[], Settings], on_ready: Callable[[str, str, str | None], None]
) -> None:
    """Run both doors, and the listener for metrics where there is to be one, until SIGTERM or SIGINT.

    Args:
        settings: this installation's.
        read: reads them again, at SIGHUP; raises `ConfigurationError`.
        on_ready: called once with `HOST:PORT` of the SSH door, the URL of the web door and that of the
            metrics, None where there are none, when all accept.

    Raises:
        ConfigurationError: the installation is not set up, a file that the settings name cannot be read, or
            an address is taken.
    """
    require_restored(settings.state_dir)
    listeners = _listeners(settings)
    notifications = ServiceNotifications.of_environment()
    stop = Stop()
    reload = Reload(settings, read, notifications)
    stop_on_signals(stop, lambda: reload.running.server.drain_s)
    reload_on_signal(reload.ask)
    loop = asyncio.get_running_loop()
    registry = Registry()
    async with open_core(settings, registry) as core:
        await core.exports.recover(await asyncio.to_thread(core.servers.living))
        await core.bans.refresh()
        penalties = Penalties(settings.penalties)  # of both doors together
        ssh, web = _doors(core, settings, penalties, registry)
        prepare = partial(_prepare_reload, core=core, penalties=penalties, ssh=ssh, web=web)
        ssh_ready: asyncio.Future[str] = loop.create_future()
        web_ready: asyncio.Future[str] = loop.create_future()
        metrics_ready: asyncio.Future[str] | None = None
        serving: list[Coroutine[Any, Any, None]] = [
            ssh.serve(listeners["ssh"], ssh_ready, stop),
            web.serve(listeners["web"], web_ready, stop),
        ]
        if "metrics" in listeners:
            metrics_ready = loop.create_future()
            metrics = MetricsListener(registry, _census(core, ssh, web, penalties), settings.metrics)
            serving.append(metrics.serve(listeners["metrics"], metrics_ready, stop))
        closed = asyncio.Event()
        refused: OSError | None = None
        try:
            async with notifications.alive(lambda: _status(ssh, web)), asyncio.TaskGroup() as tasks:
                tasks.create_task(_tidy(core, stop.told))
                for until_told in (core.audit.keep_small, core.reaper.watch, core.exports.expire):
                    tasks.create_task(until_told(stop.told))
                for until_closed in (core.bans.watch, core.watch.watch):
                    tasks.create_task(until_closed(closed))
                doors = [tasks.create_task(work) for work in serving]
                address, url = await ssh_ready, await web_ready
                metrics_url = await metrics_ready if metrics_ready is not None else None
                await notifications.ready()
                on_ready(address, url, metrics_url)
                _log.info("ready", ssh=address, web=url, metrics=metrics_url)
                reloading = tasks.create_task(reload.watch(prepare))
                await stop.told.wait()
                _log.info("stopping", drain_s=round(stop.remaining_s, 1))
                reloading.cancel()
                await notifications.stopping()
                await asyncio.wait(doors)
                await _drain(core, stop)
                closed.set()
        except* OSError as group:
            refused = _first_of(group)
        # Not in there: Python before 3.11.4 makes a group of what is raised in an `except*`.
        if refused is not None:
            raise ConfigurationError(
                f"cannot listen: {refused.strerror or refused}; another port: ssh.port, web.port or "
                "metrics.port in the settings (ROOTBLOOD_WEB__PORT=8081, for example)"
            ) from refused
    _log.info("stopped")


def _first_of(group: ExceptionGroup[OSError]) -> OSError:
    """The first error of those that are grouped, as each door has a group of its own."""
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, ExceptionGroup) else first


def _doors(
    core: Core, settings: Settings, penalties: Penalties, registry: Registry
) -> tuple[SSHDoor, WebDoor]:
    """Both doors, which are told of what concerns them.

    Raises:
        ConfigurationError: a file that the settings name cannot be read.
    """
    texts = read_texts(settings.ssh)
    presence = Presence()
    ssh = SSHDoor(
        accounts=core.accounts,
        environments=core.environments,
        exports=core.exports,
        visits=core.visits,
        penalties=penalties,
        bans=core.bans,
        host_key=read_host_key(settings.keys_dir),
        texts=texts,
        settings=settings.ssh,
        metrics=registry,
    )
    services = Services(
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
    )
    web = WebDoor(
        services,
        motd=texts.motd,
        tls=read_tls(settings.web),
        settings=settings.web,
        metrics=registry,
    )
    presence.add_door("ssh", lambda account: ssh.connections_of(account.name))
    presence.add_door("web", web.terminals_of)
    core.endings.subscribe(ssh.ask_again)
    core.endings.subscribe(web.ask_again)
    core.bans.subscribe(ssh.close_banned)
    core.bans.subscribe(web.close_banned)
    core.watch.subscribe(ssh.show)
    core.watch.subscribe(web.show)
    core.environments.links.answer_calls(web.answer)
    return ssh, web


def _census(core: Core, ssh: SSHDoor, web: WebDoor, penalties: Penalties) -> Census:
    """What is counted at the moment somebody asks."""
    return Census(
        ssh_connections=lambda: ssh.connection_count,
        web_connections=lambda: web.connection_count,
        ssh_sessions=lambda: ssh.session_count,
        web_terminals=lambda: web.terminal_count,
        penalized=lambda: len(penalties.waiting()),
        bans=lambda: core.bans.count,
        environments=core.environments.list,
    )


def _prepare_reload(
    settings: Settings, *, core: Core, penalties: Penalties, ssh: SSHDoor, web: WebDoor
) -> Callable[[], None]:
    """Read the files that the settings name; returns what has every part take both.

    Raises:
        ConfigurationError: one cannot be read.
    """
    texts = read_texts(settings.ssh)
    tls = read_tls(settings.web)

    def take() -> None:
        configure_logs(settings.log.level, settings.log.format)
        core.apply(settings)
        penalties.apply(settings.penalties)
        ssh.apply(settings.ssh, texts)
        web.apply(settings.web, texts.motd, tls)

    return take


def _status(ssh: SSHDoor, web: WebDoor) -> str:
    return f"{ssh.connection_count} SSH connections, {web.terminal_count} terminals in browsers"


def _listeners(settings: Settings) -> Mapping[str, Listener]:
    """What to listen on, by the names that sockets are handed over with.

    Raises:
        ConfigurationError: a socket is handed over by another name, or is none to listen on.
    """
    addresses = {
        "ssh": (settings.ssh.host, settings.ssh.port),
        "web": (settings.web.host, settings.web.port),
    }
    if settings.metrics.port is not None:
        addresses["metrics"] = (settings.metrics.host, settings.metrics.port)
    handed = handed_sockets()
    for name in handed.keys() - addresses.keys():
        raise ConfigurationError(
            f"a socket is handed over as {name!r}: FileDescriptorName= is one of {', '.join(addresses)}"
        )
    return {
        name: Listener(*address, reuse_port=settings.server.reuse_port, handed=handed.get(name, ()))
        for name, address in addresses.items()
    }


async def _drain(core: Core, stop: Stop) -> None:
    """Wait for what goes on without a client that waits for it, as long as there is time."""
    for settled in (core.exports.settled, core.unpackings.settled):
        if not await stop.wait_for(settled()):
            _log.warning("drain_incomplete", cause="tarballs are on their way still, and are broken off")
            return


async def _tidy(core: Core, stop: asyncio.Event) -> None:
    """Make what is missing, then clear away what is left over, now and at intervals."""
    await _prepare(core)
    await core.reconciler.watch(stop)


async def _prepare(core: Core) -> None:
    """Install what environments share ahead of the first login; a login without it tries again."""
    try:
        await core.environments.shared.prepare()
        for trouble in await core.engine.troubles():
            _log.warning("engine_troubled", cause=trouble)
    except (
        EngineUnavailableError,
        ImageMissingError,
        EnvironmentFailedError,
        StoreUnavailableError,
    ) as error:
        _log.warning("prepare_failed", cause=str(error))
