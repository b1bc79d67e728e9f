"""The listener that answers /metrics, and nothing else.

Whoever reaches it may read it, so it is on loopback unless the operator says otherwise. A web page that
rebinds a name of its own to this address is not answered: it sends that name as its Host.
"""

import asyncio
import time
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.hdrs import METH_GET, METH_HEAD

from rootblood.domain.audit import Door
from rootblood.listening import Listener
from rootblood.settings import MetricsSettings
from rootblood.stopping import Stop
from rootblood.web.metrics.census import Census, EnvironmentCount
from rootblood.web.metrics.registry import CONTENT_TYPE, Registry

PATH = "/metrics"

_LAG_INTERVAL_S = 0.5
_KEEPALIVE_S = 75.0
"""How long a scraper may be silent, and how long the headers of a request may take: scrapes come every minute
at most, as a rule, and may use one connection."""

_SHUTDOWN_TIMEOUT_S = 1.0
_LOCALHOST = "localhost"


class MetricsListener:
    """An HTTP server with one page.

    Args:
        registry: what was counted.
        census: what there is.
        settings: the names it is called by.
    """

    def __init__(self, registry: Registry, census: Census, settings: MetricsSettings) -> None:
        self._registry = registry
        self._census = census
        self._environments = EnvironmentCount(census.environments)
        self._names = {_LOCALHOST, *(name.lower() for name in settings.names)}

    async def serve(self, listener: Listener, ready: "asyncio.Future[str]", stop: Stop) -> None:
        """Answer until `stop`.

        Args:
            listener: where it is reached.
            ready: gets the URL of the page once it can be read.
            stop: ends it.

        Raises:
            OSError: the address cannot be listened on.
        """
        server = web.Server(self._respond, access_log=None, keepalive_timeout=_KEEPALIVE_S, lingering_time=0)
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)
        await runner.setup()
        measuring = asyncio.create_task(self._measure_lag())
        try:
            for sock in await listener.open():
                await web.SockSite(runner, sock).start()
            ready.set_result(f"http://{listener.address}{PATH}")
            await stop.told.wait()
            await listener.retire()
        finally:
            measuring.cancel()
            await asyncio.wait([measuring])
            await runner.cleanup()
            listener.close()
            await self._environments.close()

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        response = await self._answer(request)
        response.headers["Server"] = "RootBlood"
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if not self._is_called(request.headers.get("Host", "")):
            return _refusal(HTTPStatus.MISDIRECTED_REQUEST, "this is not a name of this listener")
        if request.path != PATH:
            return _refusal(HTTPStatus.NOT_FOUND, f"there is {PATH} here, and nothing else")
        if request.method not in {METH_GET, METH_HEAD}:
            refused = _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "this can only be read")
            refused.headers["Allow"] = "GET, HEAD"
            return refused
        if request.body_exists:
            return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "nothing here takes a body")
        census = self._census
        environments = await self._environments.get()
        self._registry.counted(
            connections={Door.SSH: census.ssh_connections(), Door.WEB: census.web_connections()},
            sessions={Door.SSH: census.ssh_sessions(), Door.WEB: census.web_terminals()},
            penalized=census.penalized(),
            bans=census.bans(),
            environments=environments,
        )
        body = await asyncio.to_thread(self._registry.render)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    def _is_called(self, host: str) -> bool:
        """Whether a Host header has a name of ours, or an address, which nobody can rebind."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True

    async def _measure_lag(self) -> None:
        while True:
            begin = time.monotonic()
            await asyncio.sleep(_LAG_INTERVAL_S)
            self._registry.lagged(max(0.0, time.monotonic() - begin - _LAG_INTERVAL_S))


def _refusal(status: HTTPStatus, text: str) -> web.Response:
    response = web.Response(status=status, text=text + "\n")
    response.force_close()
    return response
