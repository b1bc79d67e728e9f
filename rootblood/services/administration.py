"""What administrators do that takes an account and its environment together.

The command line and the API both call this, so that neither has a way of its own.
"""

from collections.abc import Sequence

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.audit import OPERATOR, Actor
from rootblood.domain.environments import Environment
from rootblood.domain.keys import PublicKey
from rootblood.errors import RootBloodError
from rootblood.services.accounts import Accounts
from rootblood.services.environments import Environments
from rootblood.services.exports import Exports

_log = structlog.stdlib.get_logger(__name__)


class Administration:
    """The use cases of administrators. `by` is who asks, for the account's trail.

    Args:
        accounts: know people.
        environments: are theirs.
        exports: hold tarballs of their homes.
    """

    def __init__(self, accounts: Accounts, environments: Environments, exports: Exports) -> None:
        self._accounts = accounts
        self._environments = environments
        self._exports = exports

    async def add(
        self,
        name: str,
        *,
        password: str | None,
        keys: Sequence[PublicKey],
        admin: bool,
        by: Actor = OPERATOR,
    ) -> tuple[Account, RootBloodError | None]:
        """Make an account, and let environments resolve its name.

        Returns:
            The account, and what kept its name from being published, if anything did: the account is there
            all the same, and its first login publishes it instead.

        Raises:
            InvalidInputError, ConflictError, LimitReachedError: as `Accounts.create`.
        """
        account = await self._accounts.create(name, password=password, keys=keys, admin=admin, by=by)
        try:
            await self._environments.publish([account])
        except RootBloodError as error:
            _log.warning("name_not_published", userhash=account.userhash, cause=str(error))
            return account, error
        return account, None

    async def delete(self, name: str, *, by: Actor = OPERATOR) -> None:
        """Delete an account, its environment, its home and the tarballs of it.

        Locked first, so that no login makes the environment anew meanwhile; deleted last, so that the same
        can be asked for again when the engine fails in between.

        Raises:
            NotFoundError: there is no such account.
            EngineUnavailableError, EnvironmentFailedError, StoreUnavailableError: the message says whether
                the account is locked by now.
        """
        account = await self._accounts.get(name)
        await self._accounts.lock(name, by=by)
        try:
            await self._environments.purge(account)
            await self._exports.delete_all(account)
        except RootBloodError as error:
            raise type(error)(
                f"{error}; {name} is locked but not deleted: give the same command again"
            ) from error
        await self._accounts.delete(name, by=by)

    async def environments(self) -> list[tuple[str | None, Environment]]:
        """Each environment with the name of its account; None where the database knows no such account."""
        accounts = await self._accounts.list(include_deleted=True)
        names = {account.userhash: account.name for account in accounts}
        rows = [(names.get(found.userhash), found) for found in await self._environments.list()]
        return sorted(rows, key=lambda row: (row[0] is None, row[0] or row[1].userhash))
