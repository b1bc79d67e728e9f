"""What an account is told of its environment's life, why it is alive and when it stops; and `keep`."""

from datetime import datetime, timedelta

import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Action, Actor
from rootblood.domain.leases import LeaseKind, NewLease, Outlook
from rootblood.domain.logins import new_id
from rootblood.domain.rendering import span
from rootblood.errors import InvalidInputError
from rootblood.services.audit import Record, unrecorded
from rootblood.services.reaper import remaining_s
from rootblood.settings import LeaseSettings, ReaperSettings
from rootblood.stores.base import LeaseStore, VisitStore

_log = structlog.stdlib.get_logger(__name__)


class Outlooks:
    """Tells, and keeps.

    Args:
        leases: who uses which environment.
        visits: why one last stopped.
        lease_settings: how long leases hold.
        settings: when what is stopped, and for how long one may be kept.
        record: keeps the accounts' trails.
    """

    def __init__(
        self,
        *,
        leases: LeaseStore,
        visits: VisitStore,
        lease_settings: LeaseSettings,
        settings: ReaperSettings,
        record: Record = unrecorded,
    ) -> None:
        self._leases = leases
        self._visits = visits
        self._ttl_s = lease_settings.ttl_s
        self._settings = settings
        self._record = record

    def apply(self, settings: ReaperSettings) -> None:
        """Go by these settings from now on."""
        self._settings = settings

    async def of(self, account: Account, *, running: bool) -> Outlook:
        """What there is to say of the account's environment.

        Args:
            account: whose.
            running: whether it runs.

        Raises:
            NotFoundError: there is no such account any more.
            StoreUnavailableError: nobody can tell.
        """
        last_stop = await self._visits.last_end(account.userhash)
        if not running:
            return Outlook(last_stop=last_stop)
        known = await self._leases.known(account.userhash)
        live = [lease for lease in known.leases if known.is_live(lease, self._ttl_s)]
        kept = [lease.expires_at for lease in live if lease.kind is LeaseKind.KEEP]
        stops_at = None
        doing = ""
        if not live and known.idleness is not None:
            left_s = remaining_s(known.idleness, self._settings)
            doing = known.idleness.doing
            if left_s is not None:
                stops_at = known.idleness.looked_at + timedelta(seconds=left_s)
        return Outlook(
            uses=tuple(lease for lease in live if lease.kind is not LeaseKind.KEEP),
            kept_until=max(kept, default=None),
            doing=doing,
            stops_at=stops_at,
            last_stop=last_stop,
        )

    async def keep(self, account: Account, for_s: int, *, by: Actor) -> datetime:
        """Have the account's environment run on though nobody uses it; in place of what was asked before.

        Returns:
            Until when.

        Raises:
            InvalidInputError: that is longer than may be asked for.
            StoreUnavailableError: nothing was kept.
        """
        most_s = self._settings.max_keep_s
        if not most_s:
            raise InvalidInputError("there is no keep on this server; ask your administrator")
        if not 0 < for_s <= most_s:
            raise InvalidInputError(f"an environment can be kept for {span(most_s)} at most")
        kept = await self._leases.keep(NewLease(new_id(), account.userhash, LeaseKind.KEEP), for_s)
        self._record(account, Action.ENVIRONMENT_KEPT, by, f"for {span(for_s)}")
        _log.info("environment_kept", userhash=account.userhash, until=kept.expires_at.isoformat())
        return kept.expires_at

    async def end_keep(self, account: Account, *, by: Actor) -> bool:
        """Take that back; False when nothing was asked for. Raises `StoreUnavailableError`."""
        ended = await self._leases.end_keep(account.userhash)
        if ended:
            self._record(account, Action.KEEP_ENDED, by)
        return ended
