"""Who is at the other end of a request, and over what: the door's one view of proxies.

A header says where a request comes from only if a proxy that the settings trust has written it. Of
X-Forwarded-For that is what such proxies have appended: the list is read from its end, and the first address
that is no trusted proxy's is the client's.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from aiohttp import web

from rootblood.settings import WebSettings

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Client:
    """The client of one request."""

    address: str
    """As far as it can be told; `?` where it has left already."""

    secure: bool
    """Whether the browser speaks TLS, to this door or to a proxy in front."""

    confidential: bool
    """Whether passwords may be sent: nobody on the way can read along, or the operator does not mind."""

    origin: str
    """What the browser calls this site: the one Origin that may change anything."""


class Clients:
    """Tells the client of a request.

    Args:
        settings: public URL and trusted proxies.
    """

    def __init__(self, settings: WebSettings) -> None:
        self.apply(settings)
        self._public_origin = origin_of(settings.public_url) if settings.public_url is not None else None

    def apply(self, settings: WebSettings) -> None:
        """Trust the proxies of these settings from now on; the public URL stays."""
        self._proxies = settings.trusted_proxies

    def of(self, request: web.Request) -> Client:
        """The client of `request`."""
        peer = _address(request.remote or "")
        proxied = peer is not None and self._is_proxy(peer)
        address = self._forwarded_for(request, peer) if peer is not None and proxied else peer
        secure = request.secure or (proxied and _last(request, "X-Forwarded-Proto").lower() == "https")
        loopback = peer is not None and peer.is_loopback and not proxied
        confidential = secure or loopback
        if self._public_origin is not None:
            # What people type is the operator's word: a proxy need not say how it was reached, and http://
            # means that others may read along. Past the proxy, nothing has changed.
            secure = self._public_origin.startswith("https:")
            confidential = confidential or proxied or not secure
        scheme = "https" if secure else "http"
        return Client(
            address=str(address) if address is not None else "?",
            secure=secure,
            confidential=confidential,
            origin=self._public_origin or f"{scheme}://{request.headers.get('Host', '').lower()}",
        )

    def _forwarded_for(
        self, request: web.Request, peer: IPv4Address | IPv6Address
    ) -> IPv4Address | IPv6Address:
        address = peer
        chain = ",".join(request.headers.getall("X-Forwarded-For", []))
        for entry in reversed(chain.split(",")):
            before = _address(entry.strip())
            if before is None:
                break
            address = before
            if not self._is_proxy(before):
                break
        return address

    def _is_proxy(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._proxies)


def origin_of(url: str) -> str:
    """The origin of a URL as browsers write it: no default port, lower case."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    port = "" if parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _last(request: web.Request, name: str) -> str:
    """The last value of a list in a header: what the nearest proxy has written."""
    return ",".join(request.headers.getall(name, [])).rpartition(",")[2].strip()


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
