"""What takes an account and its environment together: to add one, and to delete it.

The command line, the API and `rb` all call this, so that none has a way of its own.
"""

import asyncio
from collections.abc import Sequence

import structlog

from rootblood.domain.accounts import Account, AccountState
from rootblood.domain.audit import OPERATOR, Actor
from rootblood.domain.environments import Environment
from rootblood.domain.keys import PublicKey
from rootblood.domain.leases import LeaseKind
from rootblood.errors import ConflictError, EnvironmentFailedError, RootBloodError
from rootblood.services.accounts import Accounts
from rootblood.services.environments import Environments
from rootblood.services.exports import Exports
from rootblood.services.owners import by_account

_log = structlog.stdlib.get_logger(__name__)

_DELETE_BELOW = ("/bin/sh", "-c", 'find "$1" -mindepth 1 -delete 2>&1; ls -A "$1" 2>&1', "sh")
"""Prints what it could not delete, and nothing when it could; the directory comes last."""

_DELETE_S = 600.0

_FAREWELL_S = 1.0
"""Between the word to somebody who leaves and the end of the connection that it goes by."""


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
        self._leaving: dict[str, asyncio.Task[None]] = {}

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
            await self._environments.shared.publish([account])
        except RootBloodError as error:
            _log.warning("name_not_published", userhash=account.userhash, cause=str(error))
            return account, error
        return account, None

    async def delete(self, name: str, *, purge_shared: bool = False, by: Actor = OPERATOR) -> None:
        """Delete an account, its environment, its home, the tarballs of it, and all rows about it.

        Locked first, so that no login makes the environment anew meanwhile; deleted last, so that the same
        can be asked for again when the engine fails, or this process is killed, in between. A tombstone
        keeps name and UID.

        Args:
            name: the account's.
            purge_shared: whether what is in its /global directory goes too, which others may be using.
            by: who asks.

        Raises:
            NotFoundError: there is no such account.
            EngineUnavailableError, EnvironmentFailedError, StoreUnavailableError: the message says whether
                the account is locked by now.
        """
        account = await self._accounts.get(name)
        await self._accounts.lock(name, by=by)
        try:
            if purge_shared:
                await self._empty_shared(account)
            await self._environments.purge(account)
            await self._exports.delete_all(account)
            # Once more, for what a session that was let in just before the lock has started since.
            await self._environments.purge(account)
        except RootBloodError as error:
            raise type(error)(
                f"{error}; {name} is locked but not deleted: give the same command again"
            ) from error
        await self._accounts.delete(name, by=by)

    async def leave(self, account: Account, *, by: Actor) -> None:
        """Have an account deleted that asks for it itself, from inside its own environment.

        That happens in a moment, so that the answer reaches whoever asked before all connections end.

        Raises:
            ConflictError: it is the last administrator who may log in.
        """
        if account.admin:
            others = [
                other
                for other in await self._accounts.list()
                if other.admin and other.state is AccountState.ACTIVE and other.uid != account.uid
            ]
            if not others:
                raise ConflictError(
                    "you are the last administrator; nobody could look after this installation without you"
                )
        if account.userhash not in self._leaving:
            task = asyncio.get_running_loop().create_task(self._leave(account, by))
            self._leaving[account.userhash] = task
            task.add_done_callback(lambda _: self._leaving.pop(account.userhash))

    async def close(self) -> None:
        """Wait for accounts that are leaving."""
        if self._leaving:
            await asyncio.wait(self._leaving.values())

    async def _empty_shared(self, account: Account) -> None:
        """Delete what is in the account's /global directory, which itself stays, as its name does.

        By the account's own right, so in its environment.

        Raises:
            EnvironmentFailedError: something is there still; else as `Environments.lent`.
        """
        async with self._environments.lent(account, LeaseKind.EXPORT, "deletion"):
            left = await self._environments.programs.run(
                account, [*_DELETE_BELOW, f"/global/{account.name}"], timeout_s=_DELETE_S, max_bytes=4096
            )
        if left:
            _log.warning("shared_not_emptied", userhash=account.userhash, said=left)
            raise EnvironmentFailedError(f"not all of /global/{account.name} could be deleted")

    async def _leave(self, account: Account, by: Actor) -> None:
        await asyncio.sleep(_FAREWELL_S)
        try:
            await self.delete(account.name, by=by)
        except RootBloodError as error:  # it is locked, and the operator reads of it there
            _log.error("leaving_failed", userhash=account.userhash, cause=str(error))
        else:
            _log.info("left", userhash=account.userhash)

    async def environments(self) -> list[tuple[str | None, Environment]]:
        """Each environment with the name of its account; None where the database knows no such account."""
        return await by_account(self._accounts, await self._environments.list())
