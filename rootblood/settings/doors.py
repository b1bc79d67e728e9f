"""The two doors: where they listen, what a client may do there, and for how long it may be silent.

What a login itself takes is in `accounts`.
"""

import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from rootblood.settings.group import Group, Port, Seconds

_HOST_AND_PORT = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


class ForwardingSettings(Group):
    """What an SSH client may forward."""

    local: bool = True
    """Streams to TCP ports inside the environment: ssh -L, -D and -W."""

    remote: bool = True
    """TCP ports that listen inside the environment: ssh -R."""

    streamlocal: bool = True
    """Streams to UNIX sockets inside the environment: ssh -L to a path."""

    agent: bool = True
    """The client's ssh-agent: ssh -A."""

    destinations: Literal["loopback", "any"] = "loopback"
    """Where `local` streams may go: the environment's own loopback, or whatever it can reach itself."""


class SSHSettings(Group):
    """The SSH door."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback until the operator opens it."""

    port: Port = 2222
    """0 lets the system choose, and the ready line tells which."""

    banner_file: Path | None = None
    """Text that every client is shown before it authenticates; None shows nothing."""

    motd_file: Path | None = None
    """Text that a new terminal shows in place of the image's own /etc/motd; an empty file shows nothing."""

    login_grace_s: Seconds = 30.0
    """From the TCP connection to a finished authentication."""

    max_auth_tries: Annotated[int, Field(ge=1)] = 6
    """Passwords tried on one connection; keys may be offered more often, as agents hold many."""

    keepalive_interval_s: Seconds = 20.0
    """A silent client is asked this often whether it is there."""

    keepalive_count_max: Annotated[int, Field(ge=1)] = 3
    """Unanswered questions after which a client counts as gone: a minute with the interval above."""

    rekey_bytes: Annotated[int, Field(ge=1)] = 2**30
    """Sent to a client under one set of keys; RFC 4253 section 9 recommends a gigabyte."""

    rekey_s: Seconds = 3600.0
    """The same in time: an hour, by the same section."""

    rekey_timeout_s: Seconds = 30.0
    """A key exchange that takes longer ends the connection."""

    recheck_s: Seconds = 5.0
    """How often it is asked whether the account of an open connection may still be here; a lock by this very
    process is noticed at once."""

    max_sessions: Annotated[int, Field(ge=1)] = 64
    """Session channels open at one time on one connection; OpenSSH's MaxSessions is 10."""

    max_forwards: Annotated[int, Field(ge=0)] = 256
    """Forwarded streams and listening ports open at one time on one connection."""

    resize_interval_s: Seconds = 0.05
    """A terminal's size is passed on no more often than this; the last one always is."""

    max_env: Annotated[int, Field(ge=0)] = 32
    """Environment variables accepted on one session channel."""

    max_env_bytes: Annotated[int, Field(ge=0)] = 8192
    """Their names and values together, in bytes."""

    forwarding: ForwardingSettings = ForwardingSettings()
    forwarding_of: dict[str, ForwardingSettings] = Field(default_factory=dict)
    """By name, accounts that have others; each as a whole, in place of `forwarding`."""

    hangup_grace_s: Seconds = 2.0
    """What a command without a terminal gets after HUP, and again after TERM, once its client is gone."""


class WebSettings(Group):
    """The HTTP door."""

    host: str = "127.0.0.1"
    port: Port = 8080
    """0 lets the system choose, and the ready line tells which."""

    public_url: str | None = None
    """What browsers type, where a proxy stands in front; None means the listening address. With a path, such
    as https://example.org/box, everything is below that path, whether or not the proxy takes it off. With
    http:// it says that passwords may be sent in the clear, which is refused otherwise, but on loopback."""

    tls_cert_file: Path | None = None
    """Certificate and its chain, PEM; None leaves TLS to a proxy, or to loopback."""

    tls_key_file: Path | None = None
    """Private key of the certificate, PEM, without passphrase; readable by its owner alone."""

    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; nobody else's are."""

    session_idle_s: Seconds = 12 * 3600.0
    """A login session that nobody uses ends after this: half a day."""

    session_max_s: Seconds = 7 * 24 * 3600.0
    """A login session ends after this in any case: a week."""

    keepalive_s: Seconds = 30.0
    """How long a connection may be without a complete request: idle, or slow to send the headers of one."""

    body_timeout_s: Seconds = 20.0
    """From the headers of a request to the end of its body."""

    @field_validator("public_url")
    @classmethod
    def _public_url_is_a_plain_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        plain = not (parts.query or parts.fragment or parts.username or parts.password)
        if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
            raise ValueError("web.public_url looks like https://example.org or https://example.org/path")
        # Forms are taken from the Origin that browsers make of it: any other spelling shuts everybody out.
        if _HOST_AND_PORT.fullmatch(parts.netloc) is None or parts.port == 0:
            raise ValueError(
                "the host of web.public_url is an address or a name in ASCII, such as xn--bcher-kva.example"
            )
        if re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", parts.path) is None:
            raise ValueError("the path of web.public_url is letters, digits, and ._~- between slashes")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _certificate_and_key_belong_together(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("web.tls_cert_file and web.tls_key_file are given together or not at all")
        return self
