"""What SIGHUP does, without a server around it: all is read before anything is applied."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from rootblood.errors import ConfigurationError
from rootblood.reload import Reload
from rootblood.settings import ReaperSettings, Settings, SSHSettings
from rootblood.systemd import ServiceNotifications

FEW = Settings(ssh=SSHSettings(max_sessions=3))
FEW_AT_ANOTHER_PORT = Settings(ssh=SSHSettings(max_sessions=3, port=22))


class Notified(ServiceNotifications):
    """Writes down what it is told, and at which time of the rest."""

    def __init__(self, happened: list[Any]) -> None:
        super().__init__(None)
        self.done = asyncio.Semaphore(0)
        self._happened = happened

    async def _tell(self, *assignments: str) -> None:
        self._happened.append(assignments[0])
        if assignments[0] == "READY=1":
            self.done.release()


class Server:
    """What is read, and what becomes of it."""

    def __init__(self) -> None:
        self.happened: list[Any] = []
        self.readings: list[Settings | Exception] = []
        self.refused: set[int] = set()
        """Numbers of sessions that no files can be found for."""

    def read(self) -> Settings:
        reading = self.readings.pop(0)
        if isinstance(reading, Exception):
            raise reading
        return reading

    def prepare(self, settings: Settings) -> Callable[[], None]:
        if settings.ssh.max_sessions in self.refused:
            raise ConfigurationError("ssh.motd_file: cannot read it")
        return lambda: self.happened.append((settings.ssh.port, settings.ssh.max_sessions))


async def reload(server: Server, *readings: Settings | Exception) -> list[Any]:
    """Ask once for each reading, one after the other; returns what was logged."""
    notified = Notified(server.happened)
    reload = Reload(Settings(), server.read, notified)
    with capture_logs() as logs:
        watching = asyncio.create_task(reload.watch(server.prepare))
        for reading in readings:
            server.readings.append(reading)
            reload.ask()
            async with asyncio.timeout(60):
                await notified.done.acquire()
        watching.cancel()
        await asyncio.wait([watching])
    return logs


async def test_what_changed_is_applied_and_told() -> None:
    server = Server()

    logs = await reload(server, FEW)

    assert ["RELOADING=1", (2222, 3), "READY=1"] == server.happened
    assert [
        {"event": "setting_changed", "setting": "ssh.max_sessions", "old": 64, "new": 3, "log_level": "info"},
        {"event": "reloaded", "changed": 1, "log_level": "info"},
    ] == logs


async def test_what_needs_a_restart_is_told_each_time_and_not_applied() -> None:
    server = Server()

    logs = await reload(server, FEW_AT_ANOTHER_PORT, FEW_AT_ANOTHER_PORT)

    assert [(2222, 3), (2222, 3)] == [each for each in server.happened if isinstance(each, tuple)]
    needed = {
        "event": "setting_needs_restart",
        "setting": "ssh.port",
        "runs": 2222,
        "read": 22,
        "log_level": "warning",
    }
    assert [needed, needed] == [line for line in logs if line["event"] == needed["event"]]
    assert 1 == [line["event"] for line in logs].count("setting_changed")


async def test_files_are_read_again_though_no_setting_changed() -> None:
    server = Server()

    logs = await reload(server, Settings())

    assert ["RELOADING=1", (2222, 64), "READY=1"] == server.happened
    assert [("reloaded", 0)] == [(line["event"], line["changed"]) for line in logs]


@pytest.mark.parametrize("broken", ["settings", "files"])
async def test_what_cannot_be_read_leaves_everything_as_it_was(broken: str) -> None:
    server = Server()
    wrong: Settings | Exception = ConfigurationError("setting ssh.max_sessions: too few")
    if broken == "files":
        wrong = Settings(ssh=SSHSettings(max_sessions=5), reaper=ReaperSettings(idle_stop_s=1))
        server.refused = {5}

    logs = await reload(server, FEW, wrong, FEW)

    assert [(2222, 3), (2222, 3)] == [each for each in server.happened if isinstance(each, tuple)]
    assert 3 == server.happened.count("READY=1")
    assert ["setting_changed", "reloaded", "reload_failed", "reloaded"] == [line["event"] for line in logs]
    assert logs[2]["cause"] in {"setting ssh.max_sessions: too few", "ssh.motd_file: cannot read it"}


async def test_a_crash_ends_neither_the_server_nor_the_next_reload() -> None:
    server = Server()

    logs = await reload(server, RuntimeError("a bug"), FEW)

    assert ["reload_crashed", "setting_changed", "reloaded"] == [line["event"] for line in logs]


async def test_asking_ahead_of_the_watch_counts() -> None:
    server = Server()
    server.readings.append(FEW)
    notified = Notified(server.happened)
    reload = Reload(Settings(), server.read, notified)
    reload.ask()

    watching = asyncio.create_task(reload.watch(server.prepare))
    async with asyncio.timeout(60):
        await notified.done.acquire()
    watching.cancel()
    await asyncio.wait([watching])

    assert (2222, 3) in server.happened
