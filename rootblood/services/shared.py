"""What environments share: files of the installation, and the names of its accounts.

Both are there before an environment that needs them is made. What all share is installed at the first need,
and again where somebody has removed it; a name is published once, by whichever server needs it first.
"""

import asyncio
from collections.abc import Sequence

from rootblood.domain.accounts import Account
from rootblood.domain.environments import Identity
from rootblood.engines.base import Engine
from rootblood.link.keys import LinkKeys
from rootblood.stores.base import AccountStore


class Shared:
    """Installs the files, and publishes the names.

    Args:
        engine: has the environments.
        store: knows the accounts, and whose names are published.
        keys: of the link, which every environment has the public halves of.
    """

    def __init__(self, engine: Engine, store: AccountStore, keys: LinkKeys) -> None:
        self._engine = engine
        self._store = store
        self._keys = keys
        self._installing = asyncio.Lock()
        self._installed = False
        self._published: set[str] = set()

    async def prepare(self) -> None:
        """Install what all environments share, once in the life of this process.

        Raises:
            EngineUnavailableError, ImageMissingError, EnvironmentFailedError: it is tried again at the next
                need.
        """
        async with self._installing:
            if not self._installed:
                await self._publish(await self._store.list(include_deleted=True))
                self._installed = True

    async def prepare_for(self, account: Account) -> None:
        """Have all there that the account's environment needs to be made. Raises as `prepare`."""
        await self.prepare()
        if not account.published and account.userhash not in self._published:
            await self.publish([account])

    async def heal(self) -> None:
        """Make anew what somebody has removed meanwhile. Raises as `prepare`.

        An environment must not be made before: its engine might well attach it to something empty instead.
        """
        if any(not lack.taken for lack in await self._engine.lacks()):
            await self.publish(await self._store.list(include_deleted=True))

    async def publish(self, accounts: Sequence[Account]) -> None:
        """Let environments resolve these accounts' names, and give each its /global directory."""
        async with self._installing:
            await self._publish(accounts)

    async def _publish(self, accounts: Sequence[Account]) -> None:
        await self._engine.install(self._keys.files, [Identity.of(account) for account in accounts])
        await self._store.mark_published([account.userhash for account in accounts])
        self._published.update(account.userhash for account in accounts)
