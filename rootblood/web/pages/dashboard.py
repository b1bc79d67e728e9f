"""The start page of who is logged in: their environment, and where they are logged in."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from rootblood.domain.accounts import Account
from rootblood.domain.environments import StopReason
from rootblood.errors import NotFoundError, RootBloodError
from rootblood.services.environments import RESTART_GRACE_S, Environments
from rootblood.services.logins import Logins
from rootblood.web.auth import Doorkeeper, Visitor
from rootblood.web.failures import explanation
from rootblood.web.forms import read_form
from rootblood.web.pages import Pages


class Dashboard:
    """The start page and its buttons.

    Args:
        doorkeeper: knows who is there.
        environments: what the buttons act on.
        logins: likewise.
        pages: renders it.
    """

    def __init__(
        self, *, doorkeeper: Doorkeeper, environments: Environments, logins: Logins, pages: Pages
    ) -> None:
        self._doorkeeper = doorkeeper
        self._environments = environments
        self._logins = logins
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/", self._show),
            web.post("/environment/start", self._acting(self._start)),
            web.post("/environment/stop", self._acting(self._stop)),
            web.post("/environment/restart", self._acting(self._restart)),
            web.post("/login-sessions/end", self._acting(self._end_all)),
            web.post("/login-sessions/{id}/end", self._acting(self._end)),
        ]

    async def _show(self, request: web.Request) -> web.Response:
        visitor = await self._doorkeeper.visitor(request)
        if visitor is None:
            return self._pages.redirect("/login")
        return self._pages.render(
            "dashboard.html",
            account=visitor.account,
            form_token=visitor.form_token,
            logins=await self._logins.list(visitor.account),
            this_login=visitor.login.id,
            **await self._environment(visitor.account),
        )

    async def _environment(self, account: Account) -> dict[str, Any]:
        try:
            details = await self._environments.inspect(account)
            usage = await self._environments.usage(account)
        except RootBloodError as error:  # the rest of the page is of use without it
            return {"details": None, "usage": None, "state": "unknown", "trouble": explanation(error)}
        state = details.environment.state.value if details is not None else "not made yet"
        return {"details": details, "usage": usage, "state": state, "trouble": ""}

    def _acting(
        self, act: Callable[[web.Request, Visitor], Awaitable[None]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A handler that does what a button says and shows the page again."""

        async def handle(request: web.Request) -> web.Response:
            visitor = await self._doorkeeper.visitor(request)
            if visitor is None:
                # Nothing was done. Without this a login session that expired would be a dead end.
                return self._pages.redirect("/login")
            await read_form(request, self._doorkeeper.clients.of(request), visitor.token)
            await act(request, visitor)
            return self._pages.redirect("/")

        return handle

    async def _start(self, _request: web.Request, visitor: Visitor) -> None:
        await self._environments.start(visitor.account)

    async def _stop(self, _request: web.Request, visitor: Visitor) -> None:
        await self._environments.stop(visitor.account, StopReason.OWNER, grace_s=RESTART_GRACE_S)

    async def _restart(self, _request: web.Request, visitor: Visitor) -> None:
        await self._environments.restart(visitor.account)

    async def _end(self, request: web.Request, visitor: Visitor) -> None:
        try:
            await self._logins.end(visitor.account, request.match_info["id"])
        except NotFoundError:
            return  # by another tab, a moment ago: as wanted

    async def _end_all(self, _request: web.Request, visitor: Visitor) -> None:
        await self._logins.end_all(visitor.account)
