"""Bans, and the penalties that pass by themselves, for administrators.

A network has a slash in it, which proxies do not leave alone in a path, so it stands in the query.
"""

from datetime import datetime, timedelta
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rootblood.domain import bans
from rootblood.domain.bans import MAX_REASON_CHARS
from rootblood.domain.networks import address_of, network_of, shown_network
from rootblood.domain.tokens import Scope
from rootblood.errors import ConflictError, NotFoundError
from rootblood.services import penalties
from rootblood.services.bans import Bans
from rootblood.services.penalties import Penalties
from rootblood.web.api.table import Call, Operation

_MAX_PENALTIES = 1000
_TEN_YEARS_S = 10 * 365 * 24 * 3600


class Ban(BaseModel):
    """A network from which nobody may come in."""

    model_config = ConfigDict(frozen=True)

    network: str
    reason: str
    created_at: datetime
    expires_at: datetime | None
    """Null means never."""

    @classmethod
    def of(cls, ban: bans.Ban) -> "Ban":
        """A ban."""
        return cls(
            network=shown_network(ban.network),
            reason=ban.reason,
            created_at=ban.created_at,
            expires_at=ban.expires_at,
        )


class Penalty(BaseModel):
    """A source of many wrong passwords, from which none is looked at for a while."""

    model_config = ConfigDict(frozen=True)

    network: str | None
    """Null where the source is none: `account` says it, or the addresses could not be told."""

    account: str | None
    """Userhash of the account out of whose environment `rb` was given wrong passwords."""

    failures: int
    remaining_s: float

    @classmethod
    def of(cls, penalty: penalties.Penalty) -> "Penalty":
        """A penalty."""
        source = penalty.source
        return cls(
            network=shown_network(source) if isinstance(source, IPv4Network | IPv6Network) else None,
            account=source if isinstance(source, str) else None,
            failures=penalty.failures,
            remaining_s=round(penalty.remaining_s, 1),
        )


class BanList(BaseModel):
    """What keeps people out by where they come from."""

    model_config = ConfigDict(frozen=True)

    bans: list[Ban]
    """Those in force, the newest first."""

    penalties: list[Penalty]
    """Those of this server that last longest, a thousand at most; they pass by themselves."""


class NewBan(BaseModel):
    """A network to ban; a ban on the very same network is replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str
    """An IPv4 or IPv6 address, or CIDR notation."""

    reason: Annotated[str, Field(max_length=MAX_REASON_CHARS)] = ""
    """One line, for administrators; whoever is banned is not told."""

    expires_in_s: Annotated[int, Field(ge=1, le=_TEN_YEARS_S)] | None = None
    """Null means never."""

    force: bool = False
    """Ban the network even if you call from it yourself."""


class BannedNetwork(BaseModel):
    """Which ban is meant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str


class BanOperations:
    """What is done with bans.

    Args:
        bans: of the installation.
        penalties: of this server.
    """

    def __init__(self, bans: Bans, penalties: Penalties) -> None:
        self._bans = bans
        self._penalties = penalties

    def operations(self) -> list[Operation]:
        """For the table."""
        return [
            Operation(
                "GET", "/admin/bans", "listBans", "Networks that are banned, and sources that wait",
                Scope.ADMIN_READ, self._list, gives=BanList,
            ),
            Operation(
                "POST", "/admin/bans", "addBan", "Ban a network at both doors; who is in has to leave",
                Scope.ADMIN_WRITE, self._add, takes=NewBan, gives=Ban, status=HTTPStatus.CREATED,
                fails=[HTTPStatus.CONFLICT],
            ),
            Operation(
                "DELETE", "/admin/bans", "liftBan", "Take a network's ban and penalties away",
                Scope.ADMIN_WRITE, self._lift, asks=BannedNetwork, status=HTTPStatus.NO_CONTENT,
                fails=[HTTPStatus.NOT_FOUND],
            ),
        ]  # fmt: skip

    async def _list(self, _call: Call) -> BaseModel:
        return BanList(
            bans=[Ban.of(ban) for ban in await self._bans.list()],
            penalties=[Penalty.of(penalty) for penalty in self._penalties.waiting()[:_MAX_PENALTIES]],
        )

    async def _add(self, call: Call) -> BaseModel:
        new: NewBan = call.body
        network = network_of(new.network)
        own = address_of(call.actor.peer or "")
        if own is not None and own in network and not new.force:
            raise ConflictError(
                f"you call from {own}, which is in that network, and would ban yourself: "
                f"say force if you mean it; `rootblood ban lift` on the server takes it back"
            )
        lifetime = timedelta(seconds=new.expires_in_s) if new.expires_in_s is not None else None
        return Ban.of(await self._bans.add(network, reason=new.reason, lifetime=lifetime))

    async def _lift(self, call: Call) -> None:
        network = network_of(call.query.network)
        forgiven = self._penalties.forgive(network)
        try:
            await self._bans.lift(network)
        except NotFoundError:
            if not forgiven:
                raise
