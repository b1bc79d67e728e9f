"""What is kept of an account, as fields of JSON objects: in the API, on the command line, in an archive.

Nothing that could let somebody in is in them. Times and enumerations are as Python has them; whoever writes
the JSON says how they look.
"""

from typing import Any

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Event
from rootblood.domain.keys import AccountKey
from rootblood.domain.logins import LoginSession
from rootblood.domain.tokens import ApiToken

Document = dict[str, Any]


def account_document(account: Account) -> Document:
    """An account, without its password's hash."""
    return {
        "name": account.name,
        "uid": account.uid,
        "userhash": account.userhash,
        "state": account.state,
        "admin": account.admin,
        "has_password": account.password_hash is not None,
        "created_at": account.created_at,
    }


def key_document(entry: AccountKey) -> Document:
    """A public key that logs in."""
    return {
        "fingerprint": entry.key.fingerprint,
        "algorithm": entry.key.algorithm,
        "comment": entry.key.comment,
        "created_at": entry.created_at,
        "line": entry.key.line,
    }


def event_document(event: Event) -> Document:
    """Something that was done to the account."""
    return {
        "at": event.at,
        "action": event.action,
        "door": event.door,
        "address": event.peer,
        "actor": event.actor,
        "detail": event.detail,
        "count": event.count,
    }


def login_document(login: LoginSession) -> Document:
    """A browser that is logged in."""
    return {
        "id": login.id,
        "created_at": login.created_at,
        "last_used_at": login.last_used_at,
        "address": login.address,
        "user_agent": login.user_agent,
    }


def token_document(token: ApiToken) -> Document:
    """An API token, without its secret."""
    return {
        "id": token.id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
    }
