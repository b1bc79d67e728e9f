"""The terminal's page, and who may have the WebSocket behind it."""

from aiohttp import web

from rootblood.domain.accounts import Account
from rootblood.web.api import PREFIX
from rootblood.web.auth import Doorkeeper, Visitor
from rootblood.web.pages import Pages
from rootblood.web.pages.members import Members
from rootblood.web.terminal.sockets import TerminalSockets
from rootblood.web.terminal.websocket import TerminalOpener


class TerminalPage:
    """The page, and its WebSockets as `sockets`.

    Args:
        doorkeeper: knows who is logged in.
        members: make the page's handler.
        pages: renders it.
        terminals: where terminals come from.
    """

    def __init__(
        self, *, doorkeeper: Doorkeeper, members: Members, pages: Pages, terminals: TerminalOpener
    ) -> None:
        self._doorkeeper = doorkeeper
        self._members = members
        self._pages = pages
        self.sockets = TerminalSockets(
            terminals, self._admit, address_of=lambda request: doorkeeper.clients.of(request).address
        )

    def routes(self) -> list[web.RouteDef]:
        """The page's and the WebSocket's."""
        return [web.get("/terminal", self._members.showing(self._show)), *self.sockets.routes()]

    async def _show(self, _request: web.Request, _visitor: Visitor) -> web.Response:
        return self._pages.render("terminal.html", api=PREFIX)

    async def _admit(self, request: web.Request) -> Account:
        # A browser opens a WebSocket for any page, cookies and all, and only says whose page it is.
        if request.headers.get("Origin") != self._doorkeeper.clients.of(request).origin:
            raise web.HTTPForbidden(text="this is for the terminal's page")
        visitor = await self._doorkeeper.visitor(request)
        if visitor is None:
            raise web.HTTPForbidden(text="log in first")
        return visitor.account
