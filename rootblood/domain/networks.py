"""Addresses and networks as somebody typed or a socket told them, in one form.

An IPv4 address may come as an IPv6 one that stands for it (`::ffff:192.0.2.1`), and an IPv6 address with the
interface it belongs to (`fe80::1%eth0`). Both are told apart from nothing here: they are the same client.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from rootblood.errors import InvalidInputError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAPPED = IPv6Network("::ffff:0:0/96")
_MAX_CHARS = 64
"""Longer than any network in any notation."""


def address_of(text: str) -> Address | None:
    """The address; None where the text is none, as where a client has left already."""
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def network_of(text: str) -> Network:
    """The network of an address, which is a network of one, or of CIDR notation.

    Raises:
        InvalidInputError: it is neither, or says more of the address than of a network.
    """
    try:
        if len(text) > _MAX_CHARS or "%" in text:
            raise ValueError  # noqa: TRY301 - one answer for all that is no network
        parsed = ip_network(text, strict=False)
    except ValueError:
        raise InvalidInputError(
            f"{text[:_MAX_CHARS]!r} is no network: give an address or CIDR notation, such as 192.0.2.0/24"
        ) from None
    if "/" in text and ip_address(text.partition("/")[0]) != parsed.network_address:
        # Either the address is meant or the network: to guess wrong would hit somebody else.
        raise InvalidInputError(
            f"{text} is an address in a network: give the network, {parsed}, or the address"
        )
    if isinstance(parsed, IPv6Network) and parsed.subnet_of(_MAPPED):
        mapped = parsed.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, parsed.prefixlen - _MAPPED.prefixlen))
    return parsed


def shown_network(network: Network) -> str:
    """The network as people write it: a network of one by its address."""
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)
