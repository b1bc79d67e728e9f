"""Who is at the SSH door: keys, passwords, and how often a connection may try.

asyncssh has no MaxAuthTries and asks about a key before it has checked the signature, so nothing that is
learnt while authenticating is kept: the identity is `get_extra_info('username')` of the finished
authentication, and a key counts only for the account that owns it.
"""

import asyncio

import structlog

from rootblood.domain.audit import Actor, Door
from rootblood.errors import LimitReachedError, StoreUnavailableError
from rootblood.services.accounts import Accounts
from rootblood.services.metrics import UNMEASURED, LoginOutcome, Metrics
from rootblood.services.penalties import Penalties

MAX_KEY_OFFERS = 64
"""Offered keys are cheap and an agent may hold many; still they end somewhere."""


class Authentication:
    """The tries of one connection.

    Args:
        accounts: knows who may log in.
        penalties: knows from where too many wrong passwords came.
        peer: address of the client.
        max_tries: password tries; one more is refused and `exhausted` is set.
        log: bound to the connection.
        metrics: count what was refused.
    """

    def __init__(
        self,
        accounts: Accounts,
        penalties: Penalties,
        peer: str,
        max_tries: int,
        log: structlog.stdlib.BoundLogger,
        *,
        metrics: Metrics = UNMEASURED,
    ) -> None:
        self._accounts = accounts
        self._penalties = penalties
        self._peer = peer
        self._max_tries = max_tries
        self._log = log
        self._metrics = metrics
        self._one_at_a_time = asyncio.Lock()
        self._tries = 0
        self._offers = 0
        self._accepted: tuple[str, bytes] | None = None
        self.method = ""
        """How the last success was reached, for the log."""

        self.unavailable: StoreUnavailableError | None = None
        """Why nobody can tell who this is; the connection should be closed, and the client told. That says
        nothing about the account, which was not even looked at."""

    @property
    def exhausted(self) -> bool:
        """Whether this connection has tried more than it may, and should be closed."""
        return self._tries > self._max_tries or self._offers > MAX_KEY_OFFERS

    async def password(self, name: str, password: str) -> bool:
        """Check a password. The try counts before it is checked, so that abandoning one is no way around."""
        self._tries += 1
        if self.exhausted:
            self._log.warning("login_refused", cause="too many tries")
            self._metrics.login(Door.SSH, LoginOutcome.REFUSED)
            return False
        try:
            async with self._one_at_a_time:
                self._penalties.check(self._peer)
                account = await self._accounts.authenticate_password(
                    name, password, by=Actor(Door.SSH, self._peer)
                )
        except (LimitReachedError, StoreUnavailableError) as error:
            return self._not_looked_at(error)
        if account is None:
            self._penalties.failed(self._peer)
            self._log.info("login_failed", method="password")
            self._metrics.login(Door.SSH, LoginOutcome.REFUSED)
            return False
        self.method = "password"
        return True

    async def key(self, name: str, blob: bytes) -> bool:
        """Whether this key may log in to that account; asyncssh checks the signature."""
        self._offers += 1
        if self.exhausted:
            self._log.warning("login_refused", cause="too many keys")
            return False
        if self._accepted == (name, blob):  # clients ask first whether a key would do, and then sign with it
            self.method = "publickey"
            return True
        try:
            account = await self._accounts.authenticate_key(name, blob)
        except StoreUnavailableError as error:
            return self._not_looked_at(error)
        if account is None:
            return False
        self._accepted = (name, blob)
        self.method = "publickey"
        return True

    def _not_looked_at(self, error: LimitReachedError | StoreUnavailableError) -> bool:
        self._log.warning("login_refused", cause=str(error))
        self._metrics.login(Door.SSH, LoginOutcome.of(error))
        if isinstance(error, StoreUnavailableError):
            self.unavailable = error
        return False
