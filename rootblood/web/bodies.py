"""Bodies of requests: most are small and read whole ahead of their handler, some are taken as they come.

aiohttp waits for a body as long as its sender likes. So a small one has a time in total; of one that streams
each piece has, as it may take hours in all.
"""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

MAX_BODY_BYTES = 64 * 1024

PIECES: web.RequestKey[AsyncIterator[bytes]] = web.RequestKey("pieces", AsyncIterator[bytes])
"""Of a request whose handler takes its body as it comes: the body's pieces. What is not asked for is not
read, and its sender has to wait."""

_MARK = "rootblood_streams"


def streaming(handler: Handler) -> Handler:
    """Mark a handler as one that takes `PIECES`, of which there may be as many as it likes."""
    setattr(handler, _MARK, True)
    return handler


def read_bodies(timeout_s: float) -> Middleware:
    """Read a request's body ahead of its handler, so that a slow one holds nothing for long.

    Args:
        timeout_s: for a body; for each piece of it where the handler is a `streaming` one.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.body_exists and "Content-Encoding" in request.headers:
            raise _closing(web.HTTPUnsupportedMediaType(text="a request's body is not compressed"))
        if getattr(request.match_info.handler, _MARK, False):
            request[PIECES] = _pieces_of(request, timeout_s)
        elif request.body_exists:
            await _read(request, timeout_s)
        return await handler(request)

    return middleware


async def _pieces_of(request: web.Request, timeout_s: float) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(timeout_s):
                piece = await request.content.readany()
        except TimeoutError as error:
            raise _closing(web.HTTPRequestTimeout(text="the request took too long to go on")) from error
        except (web.RequestPayloadError, ConnectionError) as error:
            raise _closing(web.HTTPBadRequest(text="the request's body broke off")) from error
        if not piece:
            return
        yield piece


async def _read(request: web.Request, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await request.read()
    except TimeoutError as error:
        raise _closing(web.HTTPRequestTimeout(text="the request took too long to arrive")) from error
    except web.HTTPRequestEntityTooLarge as error:
        error.text = f"a request has at most {MAX_BODY_BYTES} bytes"
        raise _closing(error) from error
    except web.RequestPayloadError as error:
        raise _closing(web.HTTPBadRequest(text="the request's body is damaged")) from error


def _closing(error: web.HTTPException) -> web.HTTPException:
    """The same, and the connection ends with it: nobody waits for the rest of the body."""
    error.force_close()
    return error
