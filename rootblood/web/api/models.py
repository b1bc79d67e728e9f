"""What the API takes and gives: the schemas of its document, and what makes them of the services' values.

Text that somebody else wrote is given as it is: it is data here, and whoever shows it escapes it.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from rootblood.domain import audit, environments, exports, homes, keys, logins, tmux, tokens, visitors
from rootblood.domain import leases as outlooks
from rootblood.domain.documents import event_document, key_document, login_document, token_document
from rootblood.domain.tokens import Scope


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Of an integer, as JSON Schema has it: 60.0 is one, and "60" is not."""


def _without_null(schema: dict[str, Any]) -> None:
    del schema["default"]
    schema.update(schema.pop("anyOf")[0])


NEVER_NULL = Field(json_schema_extra=_without_null)
"""Of a field that may be left out, which is null here then; the document says nothing of null."""


class Usage(_Answer):
    """What an environment uses now."""

    memory_bytes: int
    cpus: float
    pids: int


class Limits(_Answer):
    """What an environment may use."""

    memory_bytes: int
    cpus: float
    pids: int


class Home(_Answer):
    """What the home takes of the disk, as it was measured last."""

    used_bytes: int | None
    measured_at: datetime | None
    measuring: bool
    """Whether it is being measured again now: ask once more in a while."""

    trouble: str | None
    """Why the last try gave nothing."""

    @classmethod
    def of(cls, home: homes.HomeSize) -> "Home":
        """The home of the account."""
        return cls(
            used_bytes=home.used_bytes,
            measured_at=home.measured_at,
            measuring=home.measuring,
            trouble=home.trouble or None,
        )


class Use(_Answer):
    """Somebody or something that an environment is used for."""

    kind: Literal["ssh", "web", "export", "import"]
    detail: str
    since: datetime


class Outlook(_Answer):
    """Why an environment is alive, for how long it will be, and why it last stopped."""

    uses: list[Use]
    doing: str | None
    """What it does though nobody uses it."""

    kept_until: datetime | None
    """As `rb keep` asked."""

    stops_at: datetime | None
    """When it is stopped if nothing happens until then; none while somebody uses it."""

    last_stop: environments.RestartReason | None

    @classmethod
    def of(cls, outlook: outlooks.Outlook) -> "Outlook":
        """The outlook of the account's environment."""
        return cls.model_validate(
            {
                "uses": [
                    {"kind": lease.kind.value, "detail": lease.detail, "since": lease.opened_at}
                    for lease in outlook.uses
                ],
                "doing": outlook.doing or None,
                "kept_until": outlook.kept_until,
                "stops_at": outlook.stops_at,
                "last_stop": outlook.last_stop,
            }
        )


class Environment(_Answer):
    """An account's environment; `absent` before it is first started, and after it is deleted."""

    state: Literal["absent", "running", "stopped", "paused", "broken"]
    image: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    usage: Usage | None = None
    limits: Limits | None = None
    home: Home | None = None
    outlook: Outlook | None = None

    @classmethod
    def of(
        cls,
        details: environments.EnvironmentDetails | None,
        usage: environments.Usage | None,
        home: homes.HomeSize,
        outlook: outlooks.Outlook,
    ) -> "Environment":
        """What the engine says, and the reaper."""
        if details is None:
            return cls(state="absent")
        return cls(
            state=details.environment.state.value,
            image=details.environment.image,
            created_at=details.environment.created_at,
            started_at=details.started_at,
            stopped_at=details.stopped_at,
            usage=Usage(memory_bytes=usage.memory_bytes, cpus=usage.cpus, pids=usage.pids)
            if usage is not None
            else None,
            limits=Limits(
                memory_bytes=details.memory_limit_bytes, cpus=details.cpu_limit, pids=details.pids_limit
            ),
            home=Home.of(home),
            outlook=Outlook.of(outlook),
        )


class Connection(_Answer):
    """Somebody who is attached to the environment now."""

    door: Literal["ssh", "web"]
    address: str
    since: datetime
    activities: list[str]
    """What its sessions run."""

    @classmethod
    def of(cls, attached: visitors.Attached) -> "Connection":
        """A connection of the account."""
        return cls.model_validate(
            {
                "door": attached.door,
                "address": attached.peer,
                "since": attached.since,
                "activities": attached.activities,
            }
        )


class Connections(_Answer):
    """The account's connections, oldest first."""

    connections: list[Connection]


class NewSession(_Request):
    """Who wants a session, where neither a token nor a login says so."""

    model_config = ConfigDict(
        json_schema_extra={"dependentRequired": {"name": ["password"], "password": ["name"]}}
    )

    name: Annotated[Annotated[str, Field(max_length=256)] | None, NEVER_NULL] = None
    password: Annotated[Annotated[SecretStr, Field(max_length=1024)] | None, NEVER_NULL] = None

    @model_validator(mode="after")
    def _name_and_password_belong_together(self) -> Self:
        given = self.model_fields_set
        if given and (self.name is None or self.password is None):
            raise ValueError("name and password are given together or not at all")
        return self


class Session(_Answer):
    """A way into a running environment for a browser."""

    url: str
    """Logs a browser in, once."""

    expires_at: datetime
    """Until when it does."""

    environment: Environment


class Key(_Answer):
    """A public key that logs in."""

    fingerprint: str
    algorithm: str
    comment: str
    created_at: datetime
    line: str
    """As in authorized_keys."""

    @classmethod
    def of(cls, entry: keys.AccountKey) -> "Key":
        """A key of the account."""
        return cls.model_validate(key_document(entry))


class Keys(_Answer):
    """The account's keys, oldest first."""

    keys: list[Key]


class NewKey(_Request):
    """A public key to add."""

    line: Annotated[str, Field(max_length=keys.MAX_LINE_CHARS)]
    """As in a .pub file."""


class TmuxSession(_Answer):
    """A tmux session, which a terminal can show."""

    number: str
    created_at: datetime
    last_used_at: datetime
    attached: int
    """How many terminals show it now."""

    command: str
    title: str

    @classmethod
    def of(cls, session: tmux.TmuxSession) -> "TmuxSession":
        """A tmux session of the account."""
        return cls(
            number=session.number,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            attached=session.attached,
            command=session.command,
            title=session.title,
        )


class TmuxSessions(_Answer):
    """The account's tmux sessions, those used last first."""

    sessions: list[TmuxSession]


class LoginSession(_Answer):
    """A browser that is logged in."""

    id: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    address: str
    user_agent: str
    current: bool
    """Whether it is the one that asks."""

    @classmethod
    def of(cls, login: logins.LoginSession, *, expires_at: datetime, current: bool) -> "LoginSession":
        """A login session of the account."""
        return cls.model_validate({**login_document(login), "expires_at": expires_at, "current": current})


class LoginSessions(_Answer):
    """The account's login sessions, those used last first."""

    login_sessions: list[LoginSession]


class Token(_Answer):
    """An API token, without its secret."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, token: tokens.ApiToken) -> "Token":
        """A token of the account."""
        return cls.model_validate(token_document(token))


class Tokens(_Answer):
    """The account's tokens, the newest first."""

    tokens: list[Token]


class NewExport(_Request):
    """A tarball of the home to make."""

    format: exports.ArchiveFormat


class Export(_Answer):
    """A tarball of the home that is kept, or being made."""

    id: str
    content: exports.ExportContent
    format: exports.ArchiveFormat
    state: exports.ExportState
    created_at: datetime
    expires_at: datetime
    """When it is deleted."""

    bytes: int
    """Of the tarball, until now."""

    files: int
    """Files, directories and links read, until now."""

    bytes_per_s: int | None
    """How fast it is being made, on average; null where it is not."""

    size: int | None
    """In bytes, once it is ready, as are the next two."""

    sha256: str | None
    url: str | None
    """Where it is downloaded, with a token or a login."""

    warnings: list[str]
    """What it lacks, in the words of tar: what matters most."""

    more_warnings: int
    """How many more there were."""

    error: str | None
    """Why it failed."""

    @classmethod
    def of(cls, export: exports.Export, *, url: str) -> "Export":
        """A tarball of the account."""
        ready = export.state is exports.ExportState.READY
        rate = None
        if export.state is exports.ExportState.RUNNING:
            rate = int(
                export.progress.bytes / max(1.0, (datetime.now(UTC) - export.created_at).total_seconds())
            )
        return cls(
            id=export.id,
            content=export.content,
            format=export.format,
            state=export.state,
            created_at=export.created_at,
            expires_at=export.expires_at,
            bytes=export.progress.bytes,
            files=export.progress.files,
            bytes_per_s=rate,
            size=export.progress.bytes if ready else None,
            sha256=export.sha256,
            url=url if ready else None,
            warnings=list(export.warnings.listed),
            more_warnings=export.warnings.unlisted,
            error=export.error,
        )


class Exports(_Answer):
    """The account's tarballs, the newest first."""

    exports: list[Export]


class NewToken(_Request):
    """A token to make."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    # One given twice is as one given once, so the schema need not forbid it.
    scopes: Annotated[
        set[Scope], Field(min_length=1, json_schema_extra=lambda schema: schema.pop("uniqueItems", None))
    ]
    expires_in_s: Annotated[int, Field(ge=60, le=365 * 24 * 3600), WHOLE] = 30 * 24 * 3600
    """A month where nothing is said, and a year at most."""


class MadeToken(_Answer):
    """A token that was made; its secret is shown this once."""

    secret: str
    token: Token


class Event(_Answer):
    """Something that was done to the account."""

    id: int
    at: datetime
    action: audit.Action
    door: audit.Door
    """Through which it was asked for."""

    address: str | None
    """Of the client; null where there is none, or it is not known."""

    actor: str | None
    """The administrator who did it; null where the account itself did, or the operator of the server."""

    detail: str
    count: int
    """How often: failed logins of one minute are one event."""

    @classmethod
    def of(cls, event: audit.Event) -> "Event":
        """An event of the account."""
        return cls.model_validate({"id": event.id, **event_document(event)})


class Activity(_Answer):
    """What was done to the account, the newest first."""

    events: list[Event]
    next_cursor: int | None
    """Gives the events before these; null where there are none."""


_MAX_CURSOR = 2**53 - 1  # what every reader of JSON takes for what it is


class ActivityQuery(_Request):
    """Which part of the activity."""

    cursor: Annotated[int, Field(ge=1, le=_MAX_CURSOR)] = _MAX_CURSOR
    """`next_cursor` of the answer before; the newest are given without."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
