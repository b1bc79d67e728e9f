"""What a ban is: a network from which nobody may come in, at either door, for a time or for ever."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from rootblood.domain.networks import Address, Network
from rootblood.errors import InvalidInputError

MAX_REASON_CHARS = 200


@dataclass(frozen=True, slots=True)
class Ban:
    """One network that is banned."""

    id: str
    """Random. A network that is banned anew is another ban."""

    network: Network
    reason: str
    """For administrators; whoever is banned is not told."""

    created_at: datetime
    expires_at: datetime | None
    """None means never."""


class BanTable:
    """Finds the bans on an address, by as many look-ups as the bans have different prefix lengths.

    Args:
        bans: all there are.
    """

    def __init__(self, bans: Iterable[Ban] = ()) -> None:
        self._by_prefix: dict[tuple[int, int], dict[int, Ban]] = {}
        for ban in bans:
            network = ban.network
            host_bits = network.max_prefixlen - network.prefixlen
            networks = self._by_prefix.setdefault((network.version, host_bits), {})
            networks[int(network.network_address) >> host_bits] = ban

    def on(self, address: Address) -> Iterator[Ban]:
        """The bans on networks that the address is in."""
        for (version, host_bits), networks in self._by_prefix.items():
            if version == address.version:
                ban = networks.get(int(address) >> host_bits)
                if ban is not None:
                    yield ban


def validated_reason(text: str) -> str:
    """Return `text` if it can be the reason of a ban.

    Raises:
        InvalidInputError: it is too long, or no single line of plain text.
    """
    if len(text) > MAX_REASON_CHARS or not text.isprintable():
        raise InvalidInputError(f"a reason is one line of at most {MAX_REASON_CHARS} characters")
    return text
