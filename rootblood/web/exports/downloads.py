"""Downloads under way: who may have one, and what ends it.

A download lasts as long as its client takes, hours perhaps. So whoever has one is asked for again while it
lasts, as with terminals: a lock, a logout or a token that was deleted breaks it off.

However a download is broken off, its client must see that. In HTTP/1.1 a body without a length comes in
chunks, and the last one is missing then. HTTP/1.0 has no chunks, and the end of the connection is the end of
the body (RFC 9112 section 8): there the connection is reset unless all went well, by the kernel even if this
process is killed.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import structlog
from aiohttp import HttpVersion11, web

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Actor
from rootblood.domain.tokens import Scope
from rootblood.errors import RootBloodError
from rootblood.link.waiting import first_of
from rootblood.web.api.auth import ApiAuthentication, Caller

_log = structlog.stdlib.get_logger(__name__)

MAX_OF_ACCOUNT = 16
"""At one time."""

_ASK_AGAIN_S = 3.0
"""An account may be locked by another process, which cannot break off what goes on here."""

_LOOK_S = 0.5
"""A client that left is not heard of while there is nothing to send to it."""

_RESET = struct.pack("ii", 1, 0)
_CLOSE = struct.pack("ii", 0, 0)

_PAGES_OF_THIS_SITE = {"same-origin", "none"}
"""What a browser says of the page that a request comes from (Fetch Metadata); none is the address bar."""

Send = Callable[[web.StreamResponse], Awaitable[None]]
"""Begins the response, sends its whole body, and ends it. Raises `RootBloodError` where it cannot."""


class Download:
    """One that is under way."""

    def __init__(self, request: web.Request) -> None:
        self.request = request
        self.in_doubt = asyncio.Event()
        """Whether its client may have it has to be asked now."""

        self.told_to_end = asyncio.Event()
        self.is_whole = False
        self.failure: RootBloodError | web.HTTPException | None = None
        """Why it came to nothing, as far as the client is to know."""

    @property
    def has_client(self) -> bool:
        """Whether anybody is left to take it."""
        return self.request.transport is not None and not self.request.transport.is_closing()

    def end(self, failure: web.HTTPException) -> None:
        """Break it off."""
        self.failure = self.failure or failure
        self.told_to_end.set()


class Downloads:
    """All downloads of this door.

    Args:
        authentication: tells who asks.
        ask_again_s: how often while a download lasts.
    """

    def __init__(self, authentication: ApiAuthentication, *, ask_again_s: float = _ASK_AGAIN_S) -> None:
        self._authentication = authentication
        self._ask_again_s = ask_again_s
        self._under_way: dict[str, set[Download]] = {}

    async def admit(self, request: web.Request) -> Caller:
        """Who asks, if it is a page of this site for who is logged in, or a program with a token.

        Raises:
            web.HTTPUnauthorized, web.HTTPForbidden: it is not.
            StoreUnavailableError: nobody can tell.
        """
        caller = await self._authentication.caller(request, Scope.EXPORT_READ)
        site = request.headers.get("Sec-Fetch-Site", "none")
        if caller.login is not None and site not in _PAGES_OF_THIS_SITE:
            raise web.HTTPForbidden(text="a page of another site led here; open this site and try again")
        return caller

    def actor(self, request: web.Request, caller: Caller) -> Actor:
        """Who asks, for the account's trail."""
        return self._authentication.actor(request, caller)

    async def serve(
        self, request: web.Request, account: Account, response: web.StreamResponse, send: Send
    ) -> web.StreamResponse:
        """Answer with what `send` sends, for as long as the client may have it.

        Args:
            request: what asked for it, admitted.
            account: whose it is.
            response: not begun yet.
            send: what does it.

        Raises:
            RootBloodError, web.HTTPException: nothing has been sent, and nothing will be.
        """
        download = Download(request)
        with self._listed(account, download):
            await self.admit(request)  # a logout until now found nothing to break off
            _reset_unless_whole(request)
            try:
                await first_of(
                    self._send(download, response, send),
                    self._watch(download),
                    download.told_to_end.wait(),
                )
            finally:
                if download.is_whole or not response.prepared:
                    _close_as_usual(request)
                elif request.transport is not None:
                    request.transport.abort()
        if not response.prepared and download.failure is not None:
            raise download.failure
        if not download.is_whole:
            cause = str(download.failure or "the client left")
            _log.info("download_broke_off", userhash=account.userhash, cause=cause)
        return response

    def ask_again(self, userhash: str) -> None:
        """Ask now whether those who download from this account still may."""
        for download in self._under_way.get(userhash, ()):
            download.in_doubt.set()

    async def stop(self, _application: web.Application) -> None:
        """Break off what was waited for in vain; for `Application.on_shutdown`."""
        for downloads in self._under_way.values():
            for download in downloads:
                download.end(web.HTTPServiceUnavailable(text="the server is being stopped; try again later"))

    @staticmethod
    async def _send(download: Download, response: web.StreamResponse, send: Send) -> None:
        try:
            await send(response)
            download.is_whole = True
        except (RootBloodError, web.HTTPException) as error:
            download.failure = error
        except OSError as error:  # the client left
            _log.debug("download_not_taken", cause=str(error))

    async def _watch(self, download: Download) -> None:
        """Return when the client has left, or may not have it any more."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        while download.has_client:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_LOOK_S, self._ask_again_s)):
                    await download.in_doubt.wait()
            if not download.in_doubt.is_set() and loop.time() - asked_at < self._ask_again_s:
                continue
            download.in_doubt.clear()
            asked_at = loop.time()
            try:
                await self.admit(download.request)
            except web.HTTPException as error:
                download.end(error)
                return
            except RootBloodError as error:  # who has one already keeps it while nobody can tell
                _log.warning("download_not_asked_again", cause=str(error))

    @contextmanager
    def _listed(self, account: Account, download: Download) -> Iterator[None]:
        mine = self._under_way.setdefault(account.userhash, set())
        if len(mine) >= MAX_OF_ACCOUNT:
            raise web.HTTPTooManyRequests(text="too many downloads at one time; wait for one of them")
        mine.add(download)
        try:
            yield
        finally:
            mine.discard(download)
            if not mine:
                self._under_way.pop(account.userhash, None)


def _reset_unless_whole(request: web.Request) -> None:
    """Whoever closes this connection from now on, resets it, where its end could pass for the body's."""
    if request.version < HttpVersion11:
        _linger(request, _RESET)


def _close_as_usual(request: web.Request) -> None:
    if request.version < HttpVersion11:
        _linger(request, _CLOSE)


def _linger(request: web.Request, how: bytes) -> None:
    connected = request.transport.get_extra_info("socket") if request.transport is not None else None
    if connected is not None and connected.fileno() >= 0:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)
