"""What an installation keeps about an account, as files that its owner can read.

All that is about the person, as the GDPR's articles 15 and 20 want it, and nothing that could let somebody
in: hashes of passwords and tokens stay here, as whoever has them can try to find what they were made from.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rootblood.domain.accounts import Account, Login
from rootblood.domain.audit import Event
from rootblood.domain.documents import (
    account_document,
    event_document,
    key_document,
    login_document,
    token_document,
)
from rootblood.domain.exports import Export
from rootblood.domain.keys import AccountKey
from rootblood.domain.logins import LoginSession
from rootblood.domain.rendering import moment
from rootblood.domain.text import escape_controls
from rootblood.domain.tokens import ApiToken

DIRECTORY = "account"
"""Of the files in the archive; the home is beside it."""

_README = """\
This is what {name} had at a RootBlood front door, as it was on {at}.

home/                    the home: files, links, times, modes
account/account.json     the account: name, number, state; whether there is a password
account/keys.json        public keys that log in, and since when
account/authorized_keys  the same keys, as OpenSSH has them
account/activity.json    what was done, when, by which door and from where; the newest first
account/sessions.json    browsers that are logged in
account/tokens.json      API tokens: names, scopes, ends
account/visits.json      the last login
account/exports.json     tarballs that are kept for a while

Times are ISO 8601, in UTC. Not in here: hashes of the password, of tokens and of cookies, as whoever finds
this archive could try to guess what they were made from; one-time links, which end within five minutes; what
is in /global/{name}.
"""


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What is kept about an account, but for its home."""

    account: Account
    keys: Sequence[AccountKey]
    events: Sequence[Event]
    logins: Sequence[LoginSession]
    tokens: Sequence[ApiToken]
    last_login: Login | None
    exports: Sequence[Export]

    def files(self, at: datetime) -> Mapping[str, bytes]:
        """All of it as files, by path.

        Args:
            at: when it was read.
        """
        documents: dict[str, Any] = {
            "account.json": account_document(self.account),
            "keys.json": [key_document(entry) for entry in self.keys],
            "activity.json": [event_document(event) for event in self.events],
            "sessions.json": [login_document(login) for login in self.logins],
            "tokens.json": [token_document(token) for token in self.tokens],
            "visits.json": {"last_login": None if self.last_login is None else _visit(self.last_login)},
            "exports.json": [_export(export) for export in self.exports],
        }
        texts = {
            "README.txt": _README.format(name=self.account.name, at=moment(at)),
            "authorized_keys": "".join(f"{escape_controls(entry.key.line)}\n" for entry in self.keys),
            **{name: _json(document) for name, document in documents.items()},
        }
        return {f"{DIRECTORY}/{name}": text.encode() for name, text in texts.items()}


def _visit(login: Login) -> dict[str, Any]:
    return {"at": login.at, "address": login.address}


def _export(export: Export) -> dict[str, Any]:
    return {
        "name": export.file_name,
        "state": export.state,
        "bytes": export.progress.bytes,
        "sha256": export.sha256,
        "created_at": export.created_at,
        "expires_at": export.expires_at,
    }


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=True, default=_moment) + "\n"


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="seconds")
