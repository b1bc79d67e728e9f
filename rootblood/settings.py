"""What an installation may choose: typed, frozen groups, passed in, never global.

Sources, the later winning: the defaults below, `rootblood.toml` (or the file that `ROOTBLOOD_CONFIG` or
`--config` names), then the process environment as `ROOTBLOOD_<GROUP>__<FIELD>`, for example
`ROOTBLOOD_SSH__PORT=2200`. An unknown key is an error: a misspelt limit must not pass for a limit.

A server reads them at its start, and again at SIGHUP; `rootblood.changes` says which of them count then.
"""

import os
import re
import tomllib
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from rootblood.errors import ConfigurationError

DEFAULT_CONFIG_FILE = Path("rootblood.toml")

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class DatabaseSettings(_Group):
    """Where the rows are kept."""

    url: SecretStr | None = None
    """`sqlite+aiosqlite:///FILE`, or `postgresql+asyncpg://USER:PASSWORD@HOST/NAME`; without HOST, and with
    `?host=DIRECTORY` at its end, by a UNIX socket. None means SQLite in `state_dir`."""

    busy_timeout_s: Seconds = 5.0
    """How long a statement waits for another process's write before it fails; on PostgreSQL also how long
    connecting may take. What takes twice that there is broken off."""


class ForwardingSettings(_Group):
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


class SSHSettings(_Group):
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


class WebSettings(_Group):
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
        if re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", parts.path) is None:
            raise ValueError("the path of web.public_url is letters, digits, and ._~- between slashes")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _certificate_and_key_belong_together(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("web.tls_cert_file and web.tls_key_file are given together or not at all")
        return self


class EngineSettings(_Group):
    """What runs the containers."""

    kind: Literal["docker"] = "docker"

    instance: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")] = "default"
    """Label on every resource, so that two installations on one engine never touch each other's."""

    url: str | None = None
    """Address of the Docker API; None means DOCKER_HOST, or else the local socket."""

    direct_streams: bool = True
    """Streams into environments as UNIX sockets under `state_dir`, where Docker runs on this machine.
    Elsewhere, and with false, they go through Docker, which is slower."""

    subnet: IPv4Network | None = None
    """Addresses of the bridge that environments are on, three of them besides one for each that runs; None
    leaves the choice to the engine, which has addresses for about thirty bridges. Counts when the bridge is
    made: to change it, stop all environments and remove the network `rb_<instance>`."""

    timeout_s: Seconds = 30.0
    """How long one call of the engine's API may take."""

    max_concurrent_calls: Annotated[int, Field(ge=1)] = 16
    """Size of the thread pool that the blocking SDK runs in."""


class EnvironmentSettings(_Group):
    """What every environment is made of, hardening included."""

    image: str = "chaospine:1.0.0"
    """Name of the image. What is built under it later counts once `rootblood image upgrade` has taken it;
    another name counts at the next start of each environment."""

    hostname: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] = "rootblood"

    read_only_root: bool = True
    """Only the home, /global, /tmp and /run can be written."""

    cap_drop: tuple[str, ...] = ("ALL",)
    no_new_privileges: bool = True
    """setuid programs gain nothing."""

    seccomp_profile: Path | None = None
    """JSON file of a profile of your own; None means the engine's default. There is no way to have none."""

    init: bool = True
    """A small PID 1 that reaps zombies."""

    icc: bool = False
    """Whether environments may reach one another's ports over the bridge."""

    nofile: Annotated[int, Field(ge=256)] | None = None
    """Open files a process; None leaves the engine's own default, which it may not be able to raise."""


class LimitsSettings(_Group):
    """What one environment may use at most."""

    memory_mib: Annotated[int, Field(ge=64)] = 1024
    """Memory, swap included, in MiB."""

    cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPU time a second, in cores."""

    pids: Annotated[int, Field(ge=32)] = 512
    """Processes and threads."""

    tmp_mib: Annotated[int, Field(ge=1)] = 256
    """Size of /tmp, which counts as memory, in MiB."""

    run_mib: Annotated[int, Field(ge=1)] = 16
    """Size of /run, which counts as memory, in MiB."""


class LinkSettings(_Group):
    """The inner SSH connection into an environment."""

    open_timeout_s: Seconds = 20.0
    """From the container exec to an authenticated inner connection."""

    session_timeout_s: Seconds = 5.0
    """From the request for a session to the environment's answer, which takes milliseconds. A link without an
    answer (a paused container, a stopped sshd) takes no new session from then on."""

    idle_grace_s: Annotated[float, Field(ge=0)] = 30.0
    """How long an unused link stays open for the next connection of the same account."""

    max_calls: Annotated[int, Field(ge=1)] = 8
    """Connections that programs of one environment, such as `rb`, have to the front door at one time."""

    call_timeout_s: Seconds = 30.0
    """Such a connection is cut off after this; each carries one request."""


class PasswordSettings(_Group):
    """argon2id parameters and the limits around them (OWASP's second recommendation, about 29 ms)."""

    memory_kib: Annotated[int, Field(ge=8)] = 19456
    time_cost: Annotated[int, Field(ge=1)] = 2
    parallelism: Annotated[int, Field(ge=1)] = 1

    max_bytes: Annotated[int, Field(ge=64)] = 1024
    """A longer password is refused unhashed."""

    min_chars: Annotated[int, Field(ge=1)] = 8
    """Shortest password that can be set."""

    refusal_s: Seconds = 0.05
    """A refusal comes so long after the try, or a multiple of it: what checking took does not show."""

    max_concurrent: Annotated[int, Field(ge=1)] = Field(default_factory=lambda: os.cpu_count() or 1)
    """Hashes computed at one time; never more than cores by default."""

    max_queue: Annotated[int, Field(ge=1)] = 64
    """Hashes waiting for their turn; one more is refused at once."""


class PenaltySettings(_Group):
    """What wrong passwords cost the address they come from, at both doors together."""

    free_failures: Annotated[int, Field(ge=0)] = 10
    """So many cost nothing."""

    first_s: Seconds = 5.0
    """For how long no password from there is looked at after one more; each further one doubles it."""

    max_s: Seconds = 600.0
    """No penalty is longer."""

    forget_s: Seconds = 3600.0
    """After so long without a wrong password, what was before is forgotten."""

    max_sources: Annotated[int, Field(ge=1)] = 65536
    """Sources remembered at one time, about 300 bytes each."""

    max_waiting: Annotated[int, Field(ge=0)] = 64
    """Logins of one source at the HTTP door that wait while another one of it is checked; one more is refused
    at once."""

    exempt: tuple[IPv4Network | IPv6Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    """Networks that are never penalised. Loopback is this machine, or a proxy all of whose clients would pay
    for one."""


class ExportSettings(_Group):
    """Homes as tarballs."""

    gzip_level: Annotated[int, Field(ge=1, le=9)] = 6
    zstd_level: Annotated[int, Field(ge=1, le=19)] = 3

    max_bytes: Annotated[int, Field(ge=1)] = 64 * 2**30
    """A larger tarball is broken off: 64 GiB."""

    max_s: Seconds = 4 * 3600.0
    """One that takes longer is broken off: four hours."""

    max_concurrent: Annotated[int, Field(ge=1)] = 8
    """Tarballs made at one time."""

    max_of_account: Annotated[int, Field(ge=1)] = 2
    """The same for one account."""

    spool_expiry_s: Seconds = 24 * 3600.0
    """A tarball in the spool is deleted after this: a day."""

    spool_sweep_interval_s: Seconds = 600.0
    """How often what has expired is looked for; from its expiry on, nobody gets it anyway."""

    spool_max_bytes: Annotated[int, Field(ge=1)] = 32 * 2**30
    """All tarballs in the spool together: 32 GiB."""

    spool_max_of_account: Annotated[int, Field(ge=1)] = 3
    """Tarballs of one account in the spool; the oldest makes room for a new one."""

    spool_min_free_bytes: Annotated[int, Field(ge=0)] = 2**30
    """What a tarball leaves free on the server's disk: a GiB."""


class ImportSettings(_Group):
    """Tarballs into homes."""

    max_bytes: Annotated[int, Field(ge=1)] = 64 * 2**30
    """A larger upload is refused: 64 GiB, compressed."""

    max_unpacked_bytes: Annotated[int, Field(ge=1)] = 256 * 2**30
    """An upload that holds more is broken off while it is unpacked: 256 GiB. What the disk has free is minded
    anyway."""

    max_of_account: Annotated[int, Field(ge=1)] = 4
    """Pieces of uploads that one account sends at a time; each is a process in its environment."""

    max_concurrent: Annotated[int, Field(ge=1)] = 32
    """And all accounts together."""

    max_s: Seconds = 4 * 3600.0
    """One that takes longer to unpack is broken off: four hours."""


class BackupSettings(_Group):
    """Copies of the whole installation."""

    key_file: Path | None = None
    """What restic and borg encrypt with, one line, 0600; None is `backup_key` in `keys_dir`, made when it is
    first needed. Without it, such a backup is lost."""

    min_free_bytes: Annotated[int, Field(ge=0)] = 256 * 2**20
    """What a backup leaves free on its disk: 256 MiB."""


class AccountSettings(_Group):
    """Numbers given to accounts."""

    uid_min: Annotated[int, Field(ge=1000)] = 20000
    uid_max: Annotated[int, Field(le=2**31 - 1)] = 59999
    """UIDs are given once, in order, and never again, so the range bounds the accounts there can ever be."""

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Self:
        if self.uid_min > self.uid_max:
            raise ValueError("accounts.uid_min is above accounts.uid_max")
        return self


class MetricsSettings(_Group):
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


class AuditSettings(_Group):
    """The trail of what was done to each account."""

    retention_days: Annotated[int, Field(ge=1, le=36500)] = 180
    """What is older is deleted: half a year."""

    max_rows_of_account: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Of each account, the oldest go first; about 200 bytes each."""

    prune_interval_s: Seconds = 3600.0
    """How often what is too old is looked for."""


class LeaseSettings(_Group):
    """How servers tell each other, by the database, who uses which environment."""

    ttl_s: Seconds = 60.0
    """For how long the uses count of a server that died."""

    heartbeat_s: Seconds = 20.0
    """How often a server says that its uses go on: two may be missed."""

    @model_validator(mode="after")
    def _heartbeats_come_in_time(self) -> Self:
        if self.heartbeat_s > self.ttl_s / 2:
            raise ValueError("leases.heartbeat_s is at most half of leases.ttl_s, so that one may be missed")
        return self


class ReaperSettings(_Group):
    """When environments are stopped that nobody uses. 0 switches the one or the other off."""

    interval_s: Seconds = 60.0
    """How often the environments that run are looked at."""

    idle_stop_s: Annotated[float, Field(ge=0)] = 12 * 3600.0
    """One that nobody uses and that does nothing is stopped after this: half a day, so that who leaves in the
    evening finds shells as they were in the morning. 0: never."""

    max_unattended_s: Annotated[float, Field(ge=0)] = 7 * 24 * 3600.0
    """One that nobody uses is stopped after this, whatever it does: a week, so that a job of a long weekend
    ends well, and a forgotten loop does not run for ever. 0: never."""

    idle_remove_s: Annotated[float, Field(ge=0)] = 14 * 24 * 3600.0
    """The container of one that has been stopped for so long is removed, never its home: two weeks.
    0: never."""

    warning_s: Annotated[float, Field(ge=0)] = 600.0
    """So long ahead of a stop, and at each look from then on, it is announced to whoever looks at the
    environment's tmux without being connected here. 0: not at all."""

    cpu_threshold: Annotated[float, Field(ge=0)] = 0.05
    """CPU use above this, in cores, is doing something; an idle shell and tmux use a thousandth. 0: CPU use
    does not count."""

    network_threshold: Annotated[float, Field(ge=0)] = 1024.0
    """So many bytes a second, both ways, are doing something; keepalives are below it. 0: they do not
    count."""

    tmux_jobs: bool = True
    """Whether a program other than a shell in the foreground of a tmux pane is doing something."""

    max_keep_s: Annotated[int, Field(ge=0)] = 7 * 24 * 3600
    """For how long `rb keep` may ask: a week. 0: there is no `rb keep`."""


class CrashLoopSettings(_Group):
    """When an environment that ends by itself again and again is no longer started by the next login."""

    ends: Annotated[int, Field(ge=1)] = 5
    """So many in a row, each within `within_s`, are a loop."""

    within_s: Seconds = 120.0
    """So soon after its start."""

    first_wait_s: Seconds = 15.0
    """For how long nobody but its owner, by the rescue console or the dashboard, or an administrator starts
    it then; each further end doubles it."""

    max_wait_s: Seconds = 900.0
    """No wait is longer."""


class ServerSettings(_Group):
    """How a server ends, and another one takes over."""

    drain_s: Annotated[float, Field(ge=0)] = 60.0
    """After SIGTERM, transfers, exports and commands may go on this long, after Ctrl-C for five seconds at
    most. 0: they are cut off at once."""

    reuse_port: bool = False
    """Whether several servers may listen on the same addresses (SO_REUSEPORT), so that a new one accepts
    before the old one stops. Without, an address that is taken is an error."""


class LogSettings(_Group):
    """What is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """auto: for people on a terminal, JSON elsewhere."""


class Settings(BaseSettings):
    """All groups together."""

    model_config = SettingsConfigDict(
        env_prefix="ROOTBLOOD_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    state_dir: Path = Path("state")
    """The database and what else must survive a restart."""

    keys_dir: Path = Path("keys")
    """Host key of the SSH door and the keys of the link, 0600."""

    database: DatabaseSettings = DatabaseSettings()
    ssh: SSHSettings = SSHSettings()
    web: WebSettings = WebSettings()
    engine: EngineSettings = EngineSettings()
    environment: EnvironmentSettings = EnvironmentSettings()
    limits: LimitsSettings = LimitsSettings()
    link: LinkSettings = LinkSettings()
    passwords: PasswordSettings = PasswordSettings()
    penalties: PenaltySettings = PenaltySettings()
    accounts: AccountSettings = AccountSettings()
    exports: ExportSettings = ExportSettings()
    imports: ImportSettings = ImportSettings()
    backups: BackupSettings = BackupSettings()
    metrics: MetricsSettings = MetricsSettings()
    audit: AuditSettings = AuditSettings()
    leases: LeaseSettings = LeaseSettings()
    reaper: ReaperSettings = ReaperSettings()
    crash_loop: CrashLoopSettings = CrashLoopSettings()
    server: ServerSettings = ServerSettings()
    log: LogSettings = LogSettings()


def settings_file(named: Path | None = None) -> Path:
    """Where the settings of this installation are read from, be there a file or not. Argument as below."""
    return named or Path(os.environ.get("ROOTBLOOD_CONFIG") or DEFAULT_CONFIG_FILE)


def load_settings(config_file: Path | None = None) -> Settings:
    """Read the settings of this installation.

    Args:
        config_file: a TOML file that must exist; None takes `ROOTBLOOD_CONFIG`, or else `rootblood.toml` of
            the working directory where there is one.

    Raises:
        ConfigurationError: the file cannot be read, or a value is not of its kind.
    """
    named = config_file or (
        Path(os.environ["ROOTBLOOD_CONFIG"]) if os.environ.get("ROOTBLOOD_CONFIG") else None
    )
    if named is not None and not named.is_file():
        raise ConfigurationError(f"the settings file {named} does not exist")
    toml_file = named or DEFAULT_CONFIG_FILE

    class _FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del dotenv_settings, file_secret_settings
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file)

    known = {f"ROOTBLOOD_{field.upper()}" for field in Settings.model_fields} | {"ROOTBLOOD_CONFIG"}
    for variable in os.environ:
        if variable.startswith("ROOTBLOOD_") and variable.partition("__")[0].upper() not in known:
            raise ConfigurationError(f"there is no setting {variable}")
    try:
        settings = _FileSettings()
        _require_private(toml_file)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"setting {where}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read {toml_file}: {error}") from error
    return settings


def has_password(url: str) -> bool:
    """Whether a database's URL has a password in it."""
    return re.search(r"://[^/@]*:[^/]*@|[?&]password=", url) is not None


def _require_private(toml_file: Path) -> None:
    """Refuse a settings file that shows a password to others."""
    if toml_file.exists() and toml_file.stat().st_mode & 0o077:
        database = tomllib.loads(toml_file.read_text()).get("database", {})
        if has_password(str(database.get("url", ""))):
            raise ConfigurationError(f"others may read the password in {toml_file}: chmod 600 it")
