"""Whom the door takes for its client, and whose word on that it believes."""

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from rootblood.settings import WebSettings
from rootblood.web.clients import Client, Clients, origin_of

PROXIES = WebSettings(trusted_proxies=("10.0.0.0/8", "fd00::/8"))


def client_of(peer: str, *headers: tuple[str, str], settings: WebSettings = PROXIES) -> Client:
    request = make_mocked_request("GET", "/", CIMultiDict([("Host", "Example.test:8080"), *headers]))
    return Clients(settings).of(request.clone(remote=peer))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.66, x;id, 10.0.0.2"], "10.0.0.2"),
        ("::ffff:10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("", [], "?"),
    ],
)
def test_the_address_is_the_last_that_a_trusted_proxy_vouches_for(
    peer: str, forwarded: list[str], address: str
) -> None:
    assert address == client_of(peer, *(("X-Forwarded-For", value) for value in forwarded)).address


@pytest.mark.parametrize(
    ("peer", "proto", "secure", "confidential"),
    [
        ("127.0.0.1", "", False, True),
        ("::1", "", False, True),
        ("203.0.113.7", "", False, False),
        ("203.0.113.7", "https", False, False),
        ("10.0.0.1", "https", True, True),
        ("10.0.0.1", "http", False, False),
        ("10.0.0.1", "https, http", False, False),
        ("10.0.0.1", "", False, False),
    ],
)
def test_tls_is_what_a_trusted_proxy_says(peer: str, proto: str, *, secure: bool, confidential: bool) -> None:
    client = client_of(peer, *([("X-Forwarded-Proto", proto)] if proto else []))

    assert (secure, confidential) == (client.secure, client.confidential)
    assert f"http{'s' if secure else ''}://example.test:8080" == client.origin


@pytest.mark.parametrize(
    ("url", "peer", "confidential"),
    [
        ("https://example.org/box", "10.0.0.1", True),
        ("https://example.org/box", "127.0.0.1", True),
        ("https://example.org/box", "203.0.113.7", False),
        ("http://192.0.2.1:8080", "203.0.113.7", True),
    ],
)
def test_a_public_url_is_the_operators_word(url: str, peer: str, *, confidential: bool) -> None:
    """Still nobody sends a password past the proxy that has the certificate."""
    client = client_of(peer, settings=PROXIES.model_copy(update={"public_url": url}))

    assert (url.startswith("https"), confidential, origin_of(url)) == (
        client.secure,
        client.confidential,
        client.origin,
    )


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Example.org:443/box", "https://example.org"),
        ("http://example.org:80", "http://example.org"),
        ("https://example.org:80", "https://example.org:80"),
        ("http://[2001:DB8::1]:8080/", "http://[2001:db8::1]:8080"),
    ],
)
def test_an_origin_is_written_as_browsers_do(url: str, origin: str) -> None:
    assert origin == origin_of(url)


def test_other_proxies_can_be_trusted_while_the_door_serves() -> None:
    request = make_mocked_request(
        "GET", "/", CIMultiDict([("Host", "x"), ("X-Forwarded-For", "198.51.100.1")])
    )
    clients = Clients(PROXIES)

    clients.apply(WebSettings(trusted_proxies=("192.0.2.0/24",)))

    assert "10.0.0.1" == clients.of(request.clone(remote="10.0.0.1")).address
    assert "198.51.100.1" == clients.of(request.clone(remote="192.0.2.1")).address
