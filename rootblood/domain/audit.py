"""What is kept of an account's activity: who did what to it, when, and through which door."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

MAX_PEER_CHARS = 64
MAX_DETAIL_CHARS = 200
MAX_NAME_CHARS = 32

_SEVERAL = "from several addresses"


class Door(StrEnum):
    """Through which something was asked for."""

    SSH = "ssh"
    WEB = "web"
    """A page in a browser."""

    RB = "rb"
    """The command in the environment."""

    CLI = "cli"
    """The operator's command line, on the server itself."""

    API = "api"
    """A program, by a token or a password."""

    SERVER = "server"
    """Nobody: the server itself, as its settings say."""


class Action(StrEnum):
    """What is kept, and nothing else is."""

    LOGGED_IN = "logged_in"
    LOGIN_FAILED = "login_failed"
    LOGGED_OUT = "logged_out"
    LINK_MADE = "link_made"
    LINK_USED = "link_used"
    KEY_ADDED = "key_added"
    KEY_DELETED = "key_deleted"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - what was done
    TOKEN_MADE = "token_made"  # noqa: S105
    TOKEN_DELETED = "token_deleted"  # noqa: S105
    ENVIRONMENT_STARTED = "environment_started"
    ENVIRONMENT_STOPPED = "environment_stopped"
    ENVIRONMENT_RESTARTED = "environment_restarted"
    ENVIRONMENT_REMOVED = "environment_removed"
    ENVIRONMENT_KEPT = "environment_kept"
    KEEP_ENDED = "keep_ended"
    RECONCILED = "reconciled"
    CREATED = "created"
    LOCKED = "locked"
    UNLOCKED = "unlocked"
    DELETED = "deleted"
    EXPORT_MADE = "export_made"
    IMPORT_DONE = "import_done"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks a service for something, as far as its trail is concerned."""

    door: Door
    peer: str | None = None
    """Address of the client; None where there is none, or it is not known."""

    name: str | None = None
    """The account that asks; None is the one that it is about, or whoever has the server's command line."""


OPERATOR = Actor(Door.CLI)
"""Whoever may use the command line of the server: what services take for granted where no door says more."""

SERVER = Actor(Door.SERVER)
"""The server itself, which stops what is idle and mends what a crash left."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that was done, before it has a number."""

    account_uid: int
    at: datetime
    door: Door
    action: Action
    peer: str | None = None
    actor: str | None = None
    """Name of the account that did it, where that is another one: an administrator's."""

    detail: str = ""
    """In a few words, which others may have chosen: escape it where it is shown."""

    count: int = 1
    """How often. Only failed logins are counted together, those of one minute."""

    def with_more(self, later: "NewEvent") -> "NewEvent":
        """This one, and `later` of the same minute counted in."""
        several = _SEVERAL in {self.detail, later.detail} or self.peer != later.peer
        return replace(
            self, count=self.count + later.count, detail=_SEVERAL if several else self.detail or later.detail
        )

    @property
    def minute(self) -> datetime:
        """The minute it belongs to."""
        return self.at.replace(second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Event(NewEvent):
    """One that is kept."""

    id: int = 0
    """Grows with each; larger is later."""


def new_event(
    account_uid: int, action: Action, *, at: datetime, by: Actor, detail: str, name: str
) -> NewEvent:
    """An event with all its text as it may be kept.

    Args:
        account_uid: UID of the account it is about.
        action: what was done.
        at: when.
        by: who did it.
        detail: more about it, of any length and any characters.
        name: of the account it is about.
    """
    return NewEvent(
        account_uid=account_uid,
        at=at,
        door=by.door,
        action=action,
        peer=None if by.peer is None else _kept(by.peer, MAX_PEER_CHARS),
        actor=None if by.name in {None, name} else by.name,
        detail=_kept(detail, MAX_DETAIL_CHARS),
    )


def _kept(text: str, max_chars: int) -> str:
    """Cut, and without what a database does not store: NUL and lone surrogates."""
    return text[:max_chars].replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
