"""Whoever comes from a banned network is answered with 403, and what they had begun ends."""

import asyncio
from collections.abc import Collection, Sequence
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from rootblood.domain.audit import Door
from rootblood.services.bans import Bans
from rootblood.services.metrics import Metrics
from rootblood.web.clients import Clients

_GRACE_S = 1.0

BANNED = "this network may not come in; ask your administrator"


class BanGuard:
    """Stands in front of all routes; only a defect of its own is told by what stands in front of it.

    Args:
        bans: which networks.
        clients: tell the client of a request, behind a proxy too.
        metrics: count who was turned away.
    """

    def __init__(self, bans: Bans, clients: Clients, metrics: Metrics) -> None:
        self._bans = bans
        self._clients = clients
        self._metrics = metrics
        self._under_way: dict[int, web.Request] = {}  # by id(), as requests cannot be hashed

    def is_banned(self, request: web.Request) -> bool:
        """Whether the request comes from a banned network."""
        return self._bans.on(self._clients.of(request).address) is not None

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 403 in plain text: no page, and nothing that costs anything."""
        if self.is_banned(request):
            self._metrics.turned_away(Door.WEB)
            response = web.Response(status=HTTPStatus.FORBIDDEN, text=BANNED + "\n")
            response.force_close()
            return response
        self._under_way[id(request)] = request
        try:
            return await handler(request)
        finally:
            del self._under_way[id(request)]

    def break_off(self, *, but: Collection[web.Request]) -> None:
        """Cut the connections of requests from networks that are banned by now, in a moment.

        Args:
            but: those that are being told otherwise.
        """
        told = {id(request) for request in but}
        found = [request for key, request in self._under_way.items() if key not in told]
        # Whoever has just banned themself is to have the answer to that.
        asyncio.get_running_loop().call_later(_GRACE_S, self._cut, found)

    def _cut(self, requests: Sequence[web.Request]) -> None:
        for request in requests:
            if id(request) in self._under_way and request.transport is not None and self.is_banned(request):
                request.transport.abort()
