"""What holds for every request, whatever its route: one concern each, the outermost first.

`security_headers` is a signal rather than a middleware, as it sees every response, errors of aiohttp's own
included.
"""

from collections.abc import Callable
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from rootblood.errors import RootBloodError
from rootblood.services.metrics import Metrics
from rootblood.web.clients import Clients
from rootblood.web.failures import INTERNAL_MESSAGE, explanation, retry_after_s, status_of

_log = structlog.stdlib.get_logger(__name__)

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=(), "
        "clipboard-read=(self), clipboard-write=(self)"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""On every response that says nothing else itself."""

_KEPT_HEADERS = frozenset({"Allow", "Upload-Offset", "WWW-Authenticate"})
"""Of the errors that aiohttp and handlers raise."""

_MESSAGES: dict[int, str] = {
    HTTPStatus.NOT_FOUND: "there is nothing at this address",
    HTTPStatus.METHOD_NOT_ALLOWED: "this address is for something else",
}

Refusal = Callable[[web.Request, HTTPStatus, str], web.Response]
"""Makes the response that tells of a failure, in the language of whoever asked: a page, or problem+json."""


async def security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Signal: complete the headers of a response that is about to be sent."""
    complete_headers(response)


def complete_headers(response: web.StreamResponse) -> None:
    """Give a response the headers that each has."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "RootBlood"  # in place of aiohttp's version and Python's


def tell_failures(refusal: Refusal) -> Middleware:
    """Turn what handlers and aiohttp raise into responses that say what to do next."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            # The router's own say nothing but their status.
            text = _MESSAGES.get(error.status) if error.text == f"{error.status}: {error.reason}" else None
            response = refusal(request, HTTPStatus(error.status), text or error.text or error.reason)
            for name in _KEPT_HEADERS & error.headers.keys():
                response.headers[name] = error.headers[name]
            if error.keep_alive is False:  # None: as the client likes
                response.force_close()
            return response
        except RootBloodError as error:
            response = refusal(request, status_of(error), explanation(error))
            seconds = retry_after_s(error)
            if seconds is not None:
                response.headers["Retry-After"] = str(seconds)
            _log.info("request_failed", route=_route(request), status=response.status, cause=str(error))
            return response
        except Exception:  # noqa: BLE001 - the edge
            # A defect that one request brought to light is the log's, not the client's.
            _log.exception("request_crashed", route=_route(request))
            return refusal(request, HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_MESSAGE)

    return middleware


def _route(request: web.Request) -> str:
    """What to call a request in the log: not by its path, which may be a link that is still good."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "none"


def count_responses(metrics: Metrics) -> Middleware:
    """Tell whoever counts what was answered, by the route's template."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:  # a redirect
            metrics.responded(_route(request), error.status)
            raise
        metrics.responded(_route(request), response.status)
        return response

    return middleware


def require_confidence(clients: Clients, *, open_paths: frozenset[str]) -> Middleware:
    """Refuse what would send passwords or cookies in the clear over a network.

    Args:
        clients: tell whether anybody can read along.
        open_paths: what may be asked for all the same.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in open_paths and not clients.of(request).confidential:
            raise web.HTTPForbidden(
                text="this site takes no passwords without encryption: use https, or ask your administrator"
            )
        return await handler(request)

    return middleware
