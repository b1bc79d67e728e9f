"""SIGHUP: the settings, and the files that they name, read again while everything runs.

All is read before anything is applied: when a file cannot be, everything stays as it is. What changes is told
in the log, a line each, and so is what would need a restart. Connections that are open keep what they began
with; how each part takes new settings is its own `apply`.
"""

import asyncio
from collections.abc import Callable

import structlog

from rootblood.changes import applied, changes
from rootblood.errors import ConfigurationError
from rootblood.settings import Settings
from rootblood.systemd import ServiceNotifications

_log = structlog.stdlib.get_logger(__name__)

Prepare = Callable[[Settings], Callable[[], None]]


class Reload:
    """Reads again whenever it is asked to.

    Args:
        running: the settings of the start.
        read: reads those that are to; raises `ConfigurationError`.
        notifications: systemd waits for the end of it.
    """

    def __init__(
        self, running: Settings, read: Callable[[], Settings], notifications: ServiceNotifications
    ) -> None:
        self.running = running
        """Those that count at any time."""

        self._read = read
        self._notifications = notifications
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have all read again, and once more where that is going on already."""
        self._asked.set()

    async def watch(self, prepare: Prepare) -> None:
        """Read again at each `ask`, those before this call included; until it is cancelled.

        Args:
            prepare: reads the files that settings name, and returns what has everything take both; it raises
                `ConfigurationError`, and what it returns raises nothing.
        """
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._notifications.reloading()
            try:
                await self._reload(prepare)
            except ConfigurationError as error:
                _log.error("reload_failed", cause=str(error), kept="all settings are as they were")
            except Exception:  # noqa: BLE001 - the edge
                # A mistake in a file of the operator's must not end a server that many people use.
                _log.exception("reload_crashed")
            await self._notifications.ready()

    async def _reload(self, prepare: Prepare) -> None:
        wanted = await asyncio.to_thread(self._read)
        found = changes(self.running, wanted)
        settings = applied(self.running, wanted)
        take_it = await asyncio.to_thread(prepare, settings)
        take_it()
        self.running = settings
        for change in found:
            if change.needs_restart:
                _log.warning("setting_needs_restart", setting=change.name, runs=change.old, read=change.new)
            else:
                _log.info("setting_changed", setting=change.name, old=change.old, new=change.new)
        _log.info("reloaded", changed=sum(not change.needs_restart for change in found))
