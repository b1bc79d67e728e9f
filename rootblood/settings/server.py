"""The server as a process: where it keeps its rows, how it ends, and what it tells its operator."""

import re
from ipaddress import ip_address
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from rootblood.settings.group import Group, Port, Seconds


class DatabaseSettings(Group):
    """Where the rows are kept."""

    url: SecretStr | None = None
    """`sqlite+aiosqlite:///FILE`, or `postgresql+asyncpg://USER:PASSWORD@HOST/NAME`; without HOST, and with
    `?host=DIRECTORY` at its end, by a UNIX socket. None means SQLite in `state_dir`."""

    busy_timeout_s: Seconds = 5.0
    """How long a statement waits for another process's write before it fails; on PostgreSQL also how long
    connecting may take. What takes twice that there is broken off."""


class ServerSettings(Group):
    """How a server ends, and another one takes over."""

    drain_s: Annotated[float, Field(ge=0)] = 60.0
    """After SIGTERM, transfers, exports and commands may go on this long, after Ctrl-C for five seconds at
    most. 0: they are cut off at once."""

    reuse_port: bool = False
    """Whether several servers may listen on the same addresses (SO_REUSEPORT), so that a new one accepts
    before the old one stops. Without, an address that is taken is an error."""


class LogSettings(Group):
    """What is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """auto: for people on a terminal, JSON elsewhere."""


class MetricsSettings(Group):
    """Figures for Prometheus, on a listener of their own."""

    port: Port | None = None
    """None is no listener: nobody reads the figures of an installation that has no Prometheus. 0 lets the
    system choose, and the ready line tells which."""

    host: str = "127.0.0.1"
    """Nobody logs in to it: whoever reaches it reads how many connections, logins and so on there are."""

    allow_remote: bool = False
    """Whether `host` may be another address than a loopback one."""

    names: tuple[str, ...] = ()
    """Host names by which a Prometheus calls it, besides `localhost`; an address needs none."""

    @model_validator(mode="after")
    def _remote_is_meant(self) -> Self:
        if self.port is not None and not self.allow_remote and not _is_loopback(self.host):
            raise ValueError(
                "metrics.host is no loopback address: set metrics.allow_remote if everybody who reaches it "
                "may read the metrics"
            )
        return self


def has_password(url: str) -> bool:
    """Whether a database's URL has a password in it."""
    return re.search(r"://[^/@]*:[^/]*@|[?&]password=", url) is not None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
