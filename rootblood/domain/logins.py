"""What a login session is.

The browser's, that is: "session" alone is the SSH session channel. It is known by a random token that only
its browser holds; what is kept, listed and compared is the token's hash.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from rootblood.domain.accounts import Account

TOKEN_PATTERN = re.compile(r"[A-Za-z0-9_-]{43}")

_TOKEN_BYTES = 32
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class LoginSession:
    """One browser that is logged in to an account."""

    id: str
    """Random, public to the account, and good for nothing but to name it."""

    created_at: datetime
    last_used_at: datetime
    """Behind by up to a minute: not every request is worth a write."""

    address: str
    """Of the browser at the login, as the door saw it."""

    user_agent: str
    """What the browser calls itself, control characters and all: escape it where it is shown."""


@dataclass(frozen=True, slots=True)
class LoginLink:
    """A one-time link that logs a browser in."""

    account: Account
    tmux_session: str | None
    """Number of the tmux session that it was asked for in, which the browser is to show."""


def new_token() -> str:
    """256 random bits that can stand in a cookie, a header or a URL."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def new_id() -> str:
    """128 random bits in hex."""
    return secrets.token_hex(_ID_BYTES)


def is_token(text: str) -> bool:
    """Whether `text` could be a token; cheap, and safe on hostile input of any length."""
    return TOKEN_PATTERN.fullmatch(text) is not None


def token_hash_of(token: str) -> bytes:
    """SHA-256 of a token, which is random, so that no salt or work is needed."""
    return hashlib.sha256(token.encode("ascii")).digest()
