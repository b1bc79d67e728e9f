"""What an account is.

An account is a person: a name, keys, a password hash, a UID that is never given again, and a userhash. The
name is what people type; every internal resource is named by the userhash instead, so that no path or
resource name is ever built from what somebody typed.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rootblood.errors import InvalidInputError

NAME_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,31}")
USERHASH_PATTERN = re.compile(r"[0-9a-f]{32}")

_SYSTEM_USERS = """
    root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc nobody sshd appuser
    messagebus polkitd tcpdump uuidd ntp postfix postgres mysql dnsmasq avahi saned colord geoclue
"""

_SYSTEM_GROUPS = """
    adm tty disk kmem dialout fax voice cdrom floppy tape sudo audio dip operator src shadow utmp video sasl
    plugdev staff users nogroup crontab input sgx kvm render netdev ssh docker wheel
"""

RESERVED_NAMES = frozenset(f"{_SYSTEM_USERS} {_SYSTEM_GROUPS} rootblood global home".split())
"""Names that would make a person pass for a part of a Debian system, the image's or the host's.

Groups count, as an account brings a group of its own name.
"""

RESERVED_PREFIX = "systemd-"


class AccountState(StrEnum):
    """Whether an account may log in."""

    ACTIVE = "active"
    LOCKED = "locked"
    DELETED = "deleted"
    """A tombstone: keeps the name and the UID from being given to somebody else."""


@dataclass(frozen=True, slots=True)
class Account:
    """A row of the accounts table, as the services see it."""

    name: str
    uid: int
    userhash: str
    state: AccountState
    admin: bool
    password_hash: str | None
    """argon2id in PHC form; None means that no password is accepted."""

    published: bool
    """Whether the environments know the name: see `Engine.install`."""

    created_at: datetime

    @property
    def gid(self) -> int:
        """Each account has a group of its own, with the number of the UID."""
        return self.uid

    @property
    def home(self) -> str:
        """Path of the home inside the environment."""
        return f"/home/{self.userhash}"


@dataclass(frozen=True, slots=True)
class Login:
    """One login to an account."""

    at: datetime
    address: str
    """Of the client, as the door saw it."""


def is_account_name(text: str) -> bool:
    """Whether `text` could be an account's name; cheap, and safe on hostile input of any length."""
    return NAME_PATTERN.fullmatch(text) is not None


def validated_name(text: str) -> str:
    """Return `text` if it can be an account's name.

    Raises:
        InvalidInputError: it cannot.
    """
    if not is_account_name(text):
        raise InvalidInputError(
            "an account name is a lower-case letter, then up to 31 of a-z, 0-9, '_' and '-'"
        )
    return text


def is_reserved(name: str) -> bool:
    """Whether the system keeps `name` for itself."""
    return name in RESERVED_NAMES or name.startswith(RESERVED_PREFIX)


def new_userhash() -> str:
    """128 random bits in hex: says nothing about the name, and cannot be guessed from it."""
    return secrets.token_hex(16)
