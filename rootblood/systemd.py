"""What systemd is told of this server, where systemd started it: `sd_notify(3)` and its watchdog.

A service of `Type=notify` says when it is ready, when it reads its settings again and when it stops, and
shows a line in `systemctl status`. With `WatchdogSec=` systemd expects a sign of life in time and starts anew
what gives none; ours comes from the event loop, so that a loop that is stuck is noticed. The protocol is a
few lines of text in a datagram to a UNIX socket, so no library is needed for it.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import structlog

from rootblood.errors import ConfigurationError

_log = structlog.stdlib.get_logger(__name__)

_STATUS_INTERVAL_S = 30.0
_SEND_TIMEOUT_S = 5.0


class ServiceNotifications:
    """Tells systemd how this process is; where it was not started by systemd, nothing happens.

    Args:
        address: of the socket that is told: a path, or `@` and an abstract name; None is nobody.
        watchdog_s: how long systemd waits for a sign of life; None is no watchdog.
    """

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self._address = address
        self._interval_s = watchdog_s / 2 if watchdog_s is not None else _STATUS_INTERVAL_S
        self._sign_of_life = ["WATCHDOG=1"] if watchdog_s is not None else []

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] = os.environ) -> "ServiceNotifications":
        """Those that systemd asks for by NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.

        Raises:
            ConfigurationError: one of them is not as systemd sets it.
        """
        address = environ.get("NOTIFY_SOCKET") or None
        if address is not None and not address.startswith(("/", "@")):
            raise ConfigurationError(f"NOTIFY_SOCKET={address} is neither a path nor an abstract name")
        period_us, process = environ.get("WATCHDOG_USEC"), environ.get("WATCHDOG_PID")
        # Another process's own where it was inherited from it.
        if period_us is None or (process is not None and process != str(os.getpid())):
            return cls(address)
        if not period_us.isascii() or not period_us.isdigit() or int(period_us) == 0:
            raise ConfigurationError(f"WATCHDOG_USEC={period_us} is no number of microseconds")
        return cls(address, int(period_us) / 1e6)

    async def ready(self) -> None:
        """Say that both doors accept; after `reloading`, that it is done."""
        await self._tell("READY=1")

    async def reloading(self) -> None:
        """Say that the settings are being read again; `ready` follows in any case."""
        # systemd compares the time with that of its own signal.
        await self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    async def stopping(self) -> None:
        """Say that the end has begun."""
        await self._tell("STOPPING=1")

    @asynccontextmanager
    async def alive(self, status: Callable[[], str]) -> AsyncIterator[None]:
        """Give a sign of life, and a line of status, at intervals for the length of a block.

        Args:
            status: what to show; asked on the event loop.
        """
        beating = asyncio.get_running_loop().create_task(self._beat(status))
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])

    async def _beat(self, status: Callable[[], str]) -> None:
        while self._address is not None:
            await self._tell(*self._sign_of_life, f"STATUS={status()}")
            await asyncio.sleep(self._interval_s)

    async def _tell(self, *assignments: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)  # noqa: FBT003 - its only name
            try:
                # Waits while systemd has more to read than it takes.
                async with asyncio.timeout(_SEND_TIMEOUT_S):
                    await asyncio.get_running_loop().sock_sendto(
                        sender, "\n".join(assignments).encode(), address
                    )
            except OSError as error:  # the work goes on without
                _log.warning("systemd_not_told", told=assignments[0], cause=str(error) or "it does not read")
