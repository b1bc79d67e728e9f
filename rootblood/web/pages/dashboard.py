"""The start page of who is logged in: their environment, and where they are logged in."""

from contextlib import suppress
from typing import Any

from aiohttp import web

from rootblood.domain.accounts import Account
from rootblood.domain.environments import StopReason
from rootblood.errors import NotFoundError, RootBloodError
from rootblood.services.environments import RESTART_GRACE_S, Environments
from rootblood.services.logins import Logins
from rootblood.web.auth import Visitor
from rootblood.web.failures import explanation
from rootblood.web.pages import Pages
from rootblood.web.pages.members import Fields, Members


class Dashboard:
    """The start page and its buttons.

    Args:
        members: make the handlers.
        environments: what the buttons act on.
        logins: likewise.
        pages: renders it.
    """

    def __init__(self, *, members: Members, environments: Environments, logins: Logins, pages: Pages) -> None:
        self._members = members
        self._environments = environments
        self._logins = logins
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        acting = self._members.acting
        return [
            web.get("/", self._members.showing(self._show)),
            web.post("/environment/start", acting(self._start)),
            web.post("/environment/stop", acting(self._stop)),
            web.post("/environment/restart", acting(self._restart)),
            web.post("/login-sessions/end", acting(self._end_all)),
            web.post("/login-sessions/{id}/end", acting(self._end)),
        ]

    async def _show(self, _request: web.Request, visitor: Visitor) -> web.Response:
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

    async def _start(self, _request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
        await self._environments.start(visitor.account, by=visitor.actor)
        return self._pages.redirect("/")

    async def _stop(self, _request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
        await self._environments.stop(
            visitor.account, StopReason.OWNER, grace_s=RESTART_GRACE_S, by=visitor.actor
        )
        return self._pages.redirect("/")

    async def _restart(self, _request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
        await self._environments.restart(visitor.account, by=visitor.actor)
        return self._pages.redirect("/")

    async def _end(self, request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
        with suppress(NotFoundError):  # by another tab, a moment ago: as wanted
            await self._logins.end(visitor.account, request.match_info["id"], by=visitor.actor)
        return self._pages.redirect("/")

    async def _end_all(self, _request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
        await self._logins.end_all(visitor.account, by=visitor.actor)
        return self._pages.redirect("/")
