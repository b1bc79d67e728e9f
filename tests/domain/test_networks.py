"""Addresses and networks, however they are written."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootblood.domain.networks import address_of, network_of, shown_network
from rootblood.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::/0", "::/0"),
    ],
)
def test_a_network_has_one_form(text: str, shown: str) -> None:
    assert shown == shown_network(network_of(text))
    assert network_of(text) == network_of(shown)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "example.org",
        "192.0.2",
        "192.0.2.0/33",
        "192.0.2.1/24",
        "fe80::1%eth0",
        "1" * 99,
        " 192.0.2.1",
        "3",
    ],
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        network_of(text)


def test_an_address_in_a_network_is_neither() -> None:
    with pytest.raises(InvalidInputError, match=r"give the network, 192\.0\.2\.0/24, or the address"):
        network_of("192.0.2.1/24")


def test_an_address_is_the_same_however_a_socket_tells_it() -> None:
    assert ip_address("192.0.2.1") == address_of("::ffff:192.0.2.1")
    assert ip_address("fe80::1") == address_of("fe80::1%eth0")
    assert None is address_of("?")


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_networks_of_a_mapped_range_are_those_of_the_range(address: object, prefix: int) -> None:
    network = ip_network(f"{address}/{prefix}", strict=False)

    assert network == network_of(f"::ffff:{network.network_address}/{96 + prefix}")
