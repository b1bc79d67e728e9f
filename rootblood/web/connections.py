"""A connection of the door: aiohttp's own, but for how it answers to what is no request of HTTP.

Such a thing never comes to a route, so nothing that stands in front of the routes sees it. aiohttp tells its
own version and Python's then, repeats what came, and leaves a traceback in the log: of anybody who cares to
send a few bytes, as scanners of the internet do all day.
"""

import asyncio
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from typing_extensions import override

from rootblood.web.middlewares import complete_headers

_log = structlog.stdlib.get_logger(__name__)


class Connection(web.RequestHandler):
    """One connection, and the requests on it; there is no access log.

    Args:
        server: answers them.
        options: of aiohttp's own class.
    """

    __slots__ = ()

    def __init__(self, server: web.Server, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        no_log: Any = None  # which it takes, whatever its annotation says
        super().__init__(server, loop=loop, access_log=no_log, **options)

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The last answer of a connection on which something came that is no request."""
        if isinstance(exc, HttpProcessingError):
            _log.info("request_malformed", peer=request.remote, cause=exc.message.partition("\n")[0])
            response: web.StreamResponse = web.Response(status=status, text="this is no request of HTTP\n")
            response.force_close()
        else:
            response = super().handle_error(request, status, exc, message)
        complete_headers(response)
        return response
