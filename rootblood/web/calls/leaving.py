"""`rb account delete`: an account that wants to be no more."""

import structlog

from rootblood.errors import InvalidInputError
from rootblood.services.accounts import Accounts
from rootblood.services.administration import Administration
from rootblood.services.penalties import Penalties
from rootblood.web.calls.operations import ACTOR, Call, Operation, require_password

_log = structlog.stdlib.get_logger(__name__)

_MAX_BODY_BYTES = 4096
"""A name and a password of at most `passwords.max_bytes`, 1 KiB."""


class LeavingOperations:
    """Does what `rb` asks for.

    Args:
        accounts: know passwords.
        administration: deletes accounts.
        penalties: whose wrong passwords cost time.
    """

    def __init__(self, accounts: Accounts, administration: Administration, penalties: Penalties) -> None:
        self._accounts = accounts
        self._administration = administration
        self._penalties = penalties

    def table(self) -> dict[tuple[str, str], Operation]:
        """All there are, by method and path."""
        return {
            ("GET", "/account"): Operation(self._tell_name),
            ("POST", "/account/delete"): Operation(self._delete, _MAX_BODY_BYTES),
        }

    async def _tell_name(self, call: Call) -> str:
        return call.account.name

    async def _delete(self, call: Call) -> str:
        """Take two lines, the account's name and its password, an empty line where it has none."""
        name, newline, password = call.body.removesuffix("\n").partition("\n")
        account = call.account
        if name.removesuffix("\r") != account.name:
            raise InvalidInputError(f"that is not {account.name}; nothing was deleted")
        if not newline or "\n" in password:
            raise InvalidInputError(
                "two lines are needed: the name of your account, and your password (or an empty one)"
            )
        if account.password_hash is not None:
            await require_password(self._accounts, self._penalties, account, password.removesuffix("\r"))
        await self._administration.leave(account, by=ACTOR)
        _log.info("leaving", userhash=account.userhash)
        return (
            f"{account.name} is being deleted now: environment, home, keys, tarballs, activity. "
            "This connection ends with it. Goodbye."
        )
