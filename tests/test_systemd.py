"""What systemd reads, by a socket in its place."""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rootblood.errors import ConfigurationError
from rootblood.systemd import ServiceNotifications

WATCHDOG_S = 0.1


class Listener:
    """The end that systemd has."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)  # noqa: FBT003 - its only name
        self.socket.bind(address)

    def read(self) -> list[dict[str, str]]:
        """All that was told and not yet read."""
        told: list[dict[str, str]] = []
        while True:
            try:
                lines = self.socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return told
            told.append(dict(line.split("=", 1) for line in lines))

    async def wait(self) -> dict[str, str]:
        """The next that is told."""
        return dict(
            line.split("=", 1)
            for line in (await asyncio.get_running_loop().sock_recv(self.socket, 4096)).decode().split("\n")
        )


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    made = Listener(str(tmp_path / "notify"))
    yield made
    made.socket.close()


def of(listener: Listener, **environ: str) -> ServiceNotifications:
    return ServiceNotifications.of_environment({"NOTIFY_SOCKET": listener.socket.getsockname(), **environ})


async def test_it_is_told_of_the_life_of_the_server(listener: Listener) -> None:
    notifications = of(listener)
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    await notifications.ready()
    await notifications.reloading()
    await notifications.stopping()

    ready, reloading, stopping = listener.read()
    assert {"READY": "1"} == ready
    assert {"STOPPING": "1"} == stopping
    assert {"RELOADING", "MONOTONIC_USEC"} == set(reloading)
    assert (
        before_us <= int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    )


async def test_an_address_may_be_an_abstract_name() -> None:
    name = f"rootblood-test-{secrets.token_hex(8)}"
    listener = Listener("\0" + name)
    try:
        await ServiceNotifications.of_environment({"NOTIFY_SOCKET": "@" + name}).ready()

        assert [{"READY": "1"}] == listener.read()
    finally:
        listener.socket.close()


async def test_a_watchdog_gets_a_sign_of_life_twice_in_its_time(listener: Listener) -> None:
    notifications = of(listener, WATCHDOG_USEC=str(int(WATCHDOG_S * 1e6)), WATCHDOG_PID=str(os.getpid()))
    counted = 0

    def status() -> str:
        nonlocal counted
        counted += 1
        return f"{counted} connections"

    begin = time.monotonic()
    async with notifications.alive(status):
        told = [await listener.wait() for _ in range(4)]
    elapsed_s = time.monotonic() - begin

    assert [{"WATCHDOG": "1", "STATUS": f"{number} connections"} for number in range(1, 5)] == told
    assert 3 * WATCHDOG_S / 2 <= elapsed_s


async def test_a_loop_that_is_stuck_gives_no_sign_of_life(listener: Listener) -> None:
    notifications = of(listener, WATCHDOG_USEC=str(int(WATCHDOG_S * 1e6)))

    async with notifications.alive(lambda: "stuck"):
        await listener.wait()
        listener.read()
        time.sleep(5 * WATCHDOG_S)  # noqa: ASYNC251 - what is tested

        assert [] == listener.read()
        assert "1" == (await listener.wait())["WATCHDOG"]


@pytest.mark.parametrize("environ", [{}, {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}])
async def test_without_a_watchdog_of_its_own_it_shows_its_status_alone(
    listener: Listener, environ: Mapping[str, str]
) -> None:
    async with of(listener, **environ).alive(lambda: "2 connections"):
        told = await listener.wait()

    assert {"STATUS": "2 connections"} == told


async def test_nothing_is_told_where_systemd_did_not_start_it() -> None:
    notifications = ServiceNotifications.of_environment({})

    with capture_logs() as logs:
        await notifications.ready()
        async with notifications.alive(lambda: pytest.fail("nobody asked")):
            await asyncio.sleep(0)

    assert [] == logs


async def test_a_systemd_that_is_gone_harms_nothing(tmp_path: Path) -> None:
    with capture_logs() as logs:
        await ServiceNotifications(str(tmp_path / "gone")).ready()

    assert [("systemd_not_told", "READY=1")] == [(line["event"], line["told"]) for line in logs]


@pytest.mark.parametrize(
    "environ",
    [
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "0"},
    ],
)
def test_what_systemd_would_not_ask_for_is_refused(environ: Mapping[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"^(NOTIFY_SOCKET|WATCHDOG_USEC)="):
        ServiceNotifications.of_environment(environ)
