"""Who is logged in over a connection: the account as it is now, its use of its environment, and its arrival.

An account may be locked or deleted while its connections are open: it is looked up again and again, and they
are closed once it may not be here. Its environment counts as used for as long as one of them is open.
"""

import asyncio
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncssh

from rootblood.domain.accounts import Account
from rootblood.domain.leases import LeaseKind
from rootblood.errors import NotFoundError, RootBloodError, StoreUnavailableError
from rootblood.link.waiting import first_of
from rootblood.services.accounts import Accounts
from rootblood.services.visits import Arrival, News
from rootblood.ssh.selectors import Selector, Target

if TYPE_CHECKING:
    from rootblood.ssh.connection import Connection

ACCOUNT_FRESH_S = 1.0
"""For how long what was found out about an account is good."""

_SHOWN_OUT = "this account may no longer log in; ask your administrator"


class Login:
    """The login of one connection, which is there before it has happened.

    Args:
        connection: whose login, and whose tasks do what follows from it.
        accounts: who may log in.
    """

    def __init__(self, connection: "Connection", accounts: Accounts) -> None:
        self._connection = connection
        self._accounts = accounts
        self._target: Target | None = None
        self._account: Account | None = None
        self._looked_up_at = -math.inf
        self._looking_up = asyncio.Lock()
        self._doubt = asyncio.Event()
        """Whether the account may be here has to be asked now."""

        self._lease: asyncio.Future[None] | None = None
        """Done once others know of the use of the environment, an error where they cannot; None before it."""

        self._arrival: asyncio.Task[Arrival | None]

    @property
    def is_complete(self) -> bool:
        """Whether somebody has logged in."""
        return self._target is not None

    @property
    def account_name(self) -> str:
        """Name of the account that logged in; empty before that."""
        return self._target.account_name if self._target is not None else ""

    @property
    def selector(self) -> Selector:
        """Where the account wanted to go."""
        return self._target.selector if self._target is not None else Selector.ENVIRONMENT

    @property
    def userhash(self) -> str:
        """Of the account that logged in; empty where that was not looked up yet."""
        return self._account.userhash if self._account is not None else ""

    def complete(self, target: Target | None, method: str) -> None:
        """Begin with what a login brings about.

        Args:
            target: who logged in, and where to.
            method: how it was proved.
        """
        self._target = target
        if self.selector is not Selector.EXPORT:  # each tarball holds one of its own
            self._claim()
        if self.selector is Selector.ENVIRONMENT:
            self._connection.start(self._open_link_ahead())
        self._arrival = self._connection.start(self._arrive(method))
        self._connection.start(self._watch())

    def ask_again(self) -> None:
        """Ask now whether the account may still be here."""
        self._looked_up_at = -math.inf
        self._doubt.set()

    async def account(self) -> Account:
        """The account that logged in, as it was a second ago at most: it may have been locked since.

        Raises:
            NotFoundError: it may no longer log in.
            StoreUnavailableError: nobody can tell.
        """
        async with self._looking_up:  # a login asks three times at once
            if time.monotonic() - self._looked_up_at > ACCOUNT_FRESH_S:
                self._account = await self._accounts.active(self.account_name)
                self._looked_up_at = time.monotonic()
            account = self._account
        if account is None:
            raise NotFoundError(_SHOWN_OUT)
        return account

    async def entering(self) -> Account:
        """As `account`, for who is about to use its environment: that is known to the reaper from here on.

        Raises:
            NotFoundError, StoreUnavailableError: as `account`; the latter also where no lease can be had.
        """
        account = await self.account()
        await asyncio.shield(self._claim())
        return account

    async def news(self, account: Account) -> News:
        """What to tell the account on a terminal of this connection."""
        return await self._connection.visits.news(account, self._arrival)

    def _claim(self) -> asyncio.Future[None]:
        """Say that this connection uses the environment, once, until it is closed; returns `_lease`."""
        if self._lease is None:
            self._lease = asyncio.get_running_loop().create_future()
            self._connection.start(self._hold(self._lease))
        return self._lease

    async def _hold(self, lease: asyncio.Future[None]) -> None:
        """Hold a lease on the environment for as long as the connection is open."""
        try:
            account = await self.account()
            detail = f"{self.selector.value} from {self._connection.peer}".lstrip()
            async with self._connection.environments.used(account, LeaseKind.SSH, detail):
                lease.set_result(None)
                await self._connection.closed.wait()
        except RootBloodError as error:
            self._connection.log.warning("lease_not_held", cause=str(error))
            lease.set_exception(error)
            lease.exception()  # there may be nobody who wants to enter

    async def _watch(self) -> None:
        """Close the connection once its account may not be here any more."""
        closed = self._connection.closed
        while not closed.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._connection.settings.recheck_s):
                    await first_of(self._doubt.wait(), closed.wait())
            self._doubt.clear()
            try:
                await self.account()
            except NotFoundError:
                self._connection.log.info("account_shown_out")
                self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, _SHOWN_OUT)
                return
            except StoreUnavailableError as error:  # who is in already stays while nobody can tell
                self._connection.log.warning("account_not_asked_again", cause=str(error))

    async def _arrive(self, method: str) -> Arrival | None:
        try:
            account = await self.account()
        except RootBloodError:
            return None  # nobody to be told: every session fails, and says why
        place = self.selector.value
        detail = f"{method}, {place}" if place else method
        return await self._connection.visits.arrive(account, by=self._connection.actor, method=detail)

    async def _open_link_ahead(self) -> None:
        """Open the link that the client's first channel will ask for in a moment; the pool keeps it."""
        try:
            account = await self.entering()
            async with self._connection.environments.link(account, by=self._connection.actor):
                pass
        except RootBloodError as error:
            # Whoever needs it tries again, and is told.
            self._connection.log.info("link_not_opened_ahead", cause=str(error))
