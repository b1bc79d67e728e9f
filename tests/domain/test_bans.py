"""Which bans an address is under."""

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootblood.domain.bans import Ban, BanTable, validated_reason
from rootblood.domain.networks import Address, network_of
from rootblood.errors import InvalidInputError

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def ban(network: str) -> Ban:
    return Ban(id=network, network=network_of(network), reason="", created_at=NOW, expires_at=None)


def test_every_ban_on_an_address_is_found() -> None:
    bans = [ban(text) for text in ("192.0.2.1", "192.0.2.0/24", "192.0.0.0/16", "2001:db8::/32", "0.0.0.0/0")]
    table = BanTable(bans)

    def on(address: str) -> set[str]:
        return {found.id for found in table.on(ip_address(address))}

    assert {"192.0.2.1", "192.0.2.0/24", "192.0.0.0/16", "0.0.0.0/0"} == on("192.0.2.1")
    assert {"192.0.2.0/24", "192.0.0.0/16", "0.0.0.0/0"} == on("192.0.2.2")
    assert {"0.0.0.0/0"} == on("203.0.113.1")
    assert {"2001:db8::/32"} == on("2001:db8:ffff::1")
    assert set() == on("2001:db9::1")
    assert [] == list(BanTable().on(ip_address("192.0.2.1")))


@given(st.ip_addresses(), st.lists(st.tuples(st.ip_addresses(), st.integers(0, 128)), max_size=8))
def test_it_finds_what_looking_at_each_finds(address: Address, networks: list[tuple[Address, int]]) -> None:
    texts = {f"{base}/{min(length, base.max_prefixlen)}" for base, length in networks}
    bans = {}
    for text in texts:
        try:
            found = ban(text)
        except InvalidInputError:  # an address in a network
            continue
        bans[found.network] = found

    assert {found.network for found in bans.values() if address in found.network} == {
        found.network for found in BanTable(bans.values()).on(address)
    }


def test_a_reason_is_a_line_of_text() -> None:
    assert "brute force, ticket 7" == validated_reason("brute force, ticket 7")
    assert "" == validated_reason("")
    for text in ("x" * 201, "two\nlines", "\x1b[2J", "\x00", "\ud800", "\u202e"):
        with pytest.raises(InvalidInputError):
            validated_reason(text)
