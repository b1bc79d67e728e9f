"""The requests that are under way, and how the door waits for them when the server stops.

A connection without a request is closed then, but for one that has only just been made: its request is on the
way. One with a request is left alone until that is answered, as aiohttp reads nothing more from a connection
once it is told to close it, the rest of an upload least of all.
"""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from rootblood.stopping import Stop

_FIRST_REQUEST_S = 1.0
"""From a connection to its first request."""


class Requests:
    """Those of one door."""

    def __init__(self) -> None:
        self._under_way: set[web.RequestHandler] = set()
        """By their connections, each of which has one at a time."""

        self._none_is = asyncio.Event()
        self._none_is.set()
        self._are_last = False

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a request while it is handled; once the server stops, it is the last of its connection."""
        connection = request.protocol
        self._under_way.add(connection)
        self._none_is.clear()
        try:
            response = await handler(request)
            if self._are_last and not response.prepared:
                response.force_close()
            return response
        finally:
            self._under_way.discard(connection)
            if not self._under_way:
                self._none_is.set()
            if self._are_last:
                connection.close()

    async def drain(self, server: web.Server, stop: Stop) -> None:
        """Answer the last requests, as long as there is time, and close the connections without any.

        Args:
            server: accepts no new connections any more.
            stop: says how much time there is.
        """
        self._are_last = True
        if server.connections:
            await asyncio.sleep(min(_FIRST_REQUEST_S, stop.remaining_s))
        for connection in server.connections:
            if connection not in self._under_way:
                connection.close()
        await stop.wait_for(self._none_is.wait())
