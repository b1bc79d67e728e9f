"""In and out: /login and /logout."""

from http import HTTPStatus

from aiohttp import web

from rootblood.domain.accounts import is_account_name
from rootblood.errors import LimitReachedError
from rootblood.web.auth import Doorkeeper
from rootblood.web.failures import retry_after_s, status_of
from rootblood.web.forms import form_token_of, read_form
from rootblood.web.pages import Pages

_REFUSED = "That is not the name of an account with this password."
"""For unknown, locked and wrong alike."""


class LoginPages:
    """The login form.

    Args:
        doorkeeper: lets browsers in and out.
        pages: renders it.
    """

    def __init__(self, doorkeeper: Doorkeeper, pages: Pages) -> None:
        self._doorkeeper = doorkeeper
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/login", self._show),
            web.post("/login", self._log_in),
            web.post("/logout", self._log_out),
        ]

    async def _show(self, request: web.Request) -> web.Response:
        if await self._doorkeeper.visitor(request) is not None:
            return self._pages.redirect("/")
        return self._form(request)

    async def _log_in(self, request: web.Request) -> web.Response:
        client = self._doorkeeper.clients.of(request)
        fields = await read_form(request, client, self._doorkeeper.form_secret(request))
        name, password = str(fields.get("name", "")), str(fields.get("password", ""))
        response = self._pages.redirect("/")
        try:
            if await self._doorkeeper.log_in(request, response, name, password):
                return response
        except LimitReachedError as error:
            refused = self._form(request, name, f"{error}.", status_of(error))
            refused.headers["Retry-After"] = str(retry_after_s(error))
            return refused
        return self._form(request, name, _REFUSED, HTTPStatus.FORBIDDEN)

    async def _log_out(self, request: web.Request) -> web.Response:
        visitor = await self._doorkeeper.visitor(request)
        await read_form(
            request, self._doorkeeper.clients.of(request), visitor.token if visitor is not None else ""
        )
        response = self._pages.redirect("/login")
        if visitor is not None:
            await self._doorkeeper.log_out(visitor, request, response)
        return response

    def _form(
        self, request: web.Request, name: str = "", message: str = "", status: HTTPStatus = HTTPStatus.OK
    ) -> web.Response:
        secret = self._doorkeeper.form_secret(request) or self._doorkeeper.new_form_secret()
        response = self._pages.render(
            "login.html",
            status=status,
            form_token=form_token_of(secret),
            name=name if is_account_name(name) else "",
            message=message,
        )
        self._doorkeeper.give_form_secret(request, response, secret)
        return response
