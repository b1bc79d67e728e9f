"""What a client types before the `@`: an account, and perhaps which of its places it wants.

`alice` is her environment, `alice+export` her home as files to take away, `alice+rescue` a console of the
front door for when the environment is broken. Whatever else is typed names nothing, and is answered like any
login that fails. This is the one place where a user name is
taken apart; what stands behind it (keys, passwords, limits, logs) knows accounts only.
"""

from dataclasses import dataclass
from enum import StrEnum

from rootblood.domain.accounts import is_account_name

_SEPARATOR = "+"


class Selector(StrEnum):
    """The places of an account."""

    ENVIRONMENT = ""
    EXPORT = "export"
    RESCUE = "rescue"


_WORDS = frozenset({Selector.EXPORT, Selector.RESCUE})


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client wants to go."""

    account_name: str
    """Could be an account's name; whether there is such an account is another question."""

    selector: Selector


def parse_username(username: str) -> Target | None:
    """Take a user name apart; None where it can be nobody's. Cheap, and safe on hostile input."""
    name, separator, word = username.partition(_SEPARATOR)
    # An empty word is no way to say the environment: there is one name for each place.
    if not is_account_name(name) or (separator and word not in _WORDS):
        return None
    return Target(name, Selector(word))
