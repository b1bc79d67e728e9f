"""One-time links: a URL that logs a browser in, for five minutes, once.

Whoever asks for one has shown who they are in another way: in the API, or one day in a terminal. To look at
a link does not use it up, so that a chat's preview of it burns nothing.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from rootblood.domain.accounts import Account
from rootblood.domain.audit import OPERATOR, Action, Actor
from rootblood.domain.logins import LoginLink, is_token, new_token, token_hash_of
from rootblood.services.audit import Record, unrecorded
from rootblood.stores.base import LinkStore

_LIFETIME = timedelta(minutes=5)


def _now() -> datetime:
    return datetime.now(UTC)


class Links:
    """The use cases around one-time links.

    Args:
        store: where they are kept.
        record: keeps the accounts' trails.
        now: the time; a test's own.
    """

    def __init__(
        self, store: LinkStore, record: Record = unrecorded, *, now: Callable[[], datetime] = _now
    ) -> None:
        self._store = store
        self._record = record
        self._now = now

    async def make(
        self, account: Account, *, tmux_session: str | None = None, by: Actor = OPERATOR
    ) -> tuple[str, datetime]:
        """Make a link; returns its secret, which is not kept, and when it ends.

        Args:
            account: whom it logs in.
            tmux_session: number of the tmux session that the browser is to show, if any.
            by: who asks.

        Raises:
            NotFoundError: the account has been locked or deleted, or has got another password, since it was
                read.
        """
        now = self._now()
        secret = new_token()
        link = LoginLink(account, tmux_session)
        await self._store.add(link, token_hash_of(secret), now=now, expires_at=now + _LIFETIME)
        self._record(account, Action.LINK_MADE, by)
        return secret, now + _LIFETIME

    async def look(self, secret: str) -> LoginLink | None:
        """The link of that secret, if it is good."""
        return await self._store.find(token_hash_of(secret), now=self._now()) if is_token(secret) else None

    async def use(self, secret: str, *, by: Actor = OPERATOR) -> LoginLink | None:
        """The link of that secret, if it was good; it is used up."""
        link = await self._store.take(token_hash_of(secret), now=self._now()) if is_token(secret) else None
        if link is not None:
            self._record(link.account, Action.LINK_USED, by)
        return link
