"""What an API token is: a secret that programs show in place of a login, for a time and for some things."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rootblood.domain.accounts import Account
from rootblood.domain.logins import is_token, new_token

PREFIX = "rb_"
"""Of every token, so that whoever finds one in a log or a repository knows what it is."""


class Scope(StrEnum):
    """What a token is good for; none includes another."""

    SESSION_READ = "session:read"
    """Lists the account's tmux sessions."""

    SESSION_WRITE = "session:write"
    """As good as a login: it makes links that log a browser in. Ends tmux sessions, too."""

    ENVIRONMENT_READ = "environment:read"
    ENVIRONMENT_WRITE = "environment:write"
    ACTIVITY_READ = "activity:read"
    """Reads what was done to the account, when, and from where."""

    IMPORT_WRITE = "import:write"
    """Unpacks tarballs in the account's home, or in place of it; tells how that goes, too."""

    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    """As good as a login: who may add a key may log in by SSH."""

    EXPORT_READ = "export:read"
    """Downloads the home: the tarballs that are kept, and one made on the spot."""

    EXPORT_WRITE = "export:write"
    """Has tarballs made and kept, and deletes them."""

    LOGINS_READ = "login-sessions:read"
    LOGINS_WRITE = "login-sessions:write"
    TOKENS_READ = "tokens:read"
    TOKENS_WRITE = "tokens:write"
    """Makes tokens of no other scopes than its own, and no longer than itself."""

    ADMIN_READ = "admin:read"
    """Accounts, environments and bans of all; this and the next are administrators' only."""

    ADMIN_WRITE = "admin:write"
    """As good as a login to every account: it sets passwords."""


ADMIN_SCOPES = frozenset({Scope.ADMIN_READ, Scope.ADMIN_WRITE})


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token of an account, without the secret, which is shown once and not kept."""

    id: str
    name: str
    """What its owner calls it, control characters and all: escape it where it is shown."""

    scopes: AbstractSet[Scope]
    created_at: datetime
    expires_at: datetime


def scopes_of(account: Account) -> AbstractSet[Scope]:
    """What an account may do at all, as it is now; none of its tokens is good for more."""
    return frozenset(Scope) if account.admin else frozenset(Scope) - ADMIN_SCOPES


def new_secret() -> str:
    """A token as it is handed over: the prefix, and 256 random bits."""
    return PREFIX + new_token()


def is_secret(text: str) -> bool:
    """Whether `text` could be a token; cheap, and safe on hostile input of any length."""
    return text.startswith(PREFIX) and is_token(text.removeprefix(PREFIX))
