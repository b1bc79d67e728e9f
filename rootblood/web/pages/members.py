"""Pages that only who is logged in sees, and buttons that only they press."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import MultiDictProxy

from rootblood.web.auth import Doorkeeper, Visitor
from rootblood.web.forms import read_form
from rootblood.web.pages import Pages

Fields = MultiDictProxy[str]
Show = Callable[[web.Request, Visitor], Awaitable[web.Response]]
Act = Callable[[web.Request, Visitor, Fields], Awaitable[web.StreamResponse]]


class Members:
    """Makes handlers that ask who is there first.

    Args:
        doorkeeper: knows.
        pages: where the login form is.
    """

    def __init__(self, doorkeeper: Doorkeeper, pages: Pages) -> None:
        self._doorkeeper = doorkeeper
        self._pages = pages

    def showing(self, show: Show) -> Handler:
        """A handler that shows a page; others get the login form."""

        async def handle(request: web.Request) -> web.Response:
            visitor = await self._doorkeeper.visitor(request)
            return self._pages.redirect("/login") if visitor is None else await show(request, visitor)

        return handle

    def acting(self, act: Act) -> Handler:
        """A handler that does what a form of one of these pages says; others get the login form."""

        async def handle(request: web.Request) -> web.StreamResponse:
            visitor = await self._doorkeeper.visitor(request)
            if visitor is None:
                # Nothing is done. Without this a login session that expired would be a dead end.
                return self._pages.redirect("/login")
            fields = await read_form(request, self._doorkeeper.clients.of(request), visitor.token)
            return await act(request, visitor, fields)

        return handle
