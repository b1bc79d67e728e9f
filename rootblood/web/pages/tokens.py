"""The page on API tokens: where the first one comes from."""

from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus

from aiohttp import web

from rootblood.domain.tokens import Scope, scopes_of
from rootblood.errors import NotFoundError
from rootblood.services.tokens import Tokens
from rootblood.web.auth import Visitor
from rootblood.web.pages import Pages
from rootblood.web.pages.members import Fields, Members

_DAYS = (1, 7, 30, 90, 365)
_MAX_NAME_CHARS = 64

_MEANINGS = {
    Scope.SESSION_READ: "see the sessions",
    Scope.SESSION_WRITE: "log a browser in, end sessions",
    Scope.ENVIRONMENT_READ: "see state, use and who is attached",
    Scope.ENVIRONMENT_WRITE: "start, stop, restart, remove",
    Scope.ACTIVITY_READ: "see what was done to the account",
    Scope.IMPORT_WRITE: "unpack tarballs in the home",
    Scope.KEYS_READ: "see the SSH keys",
    Scope.KEYS_WRITE: "add and delete SSH keys: as good as a login",
    Scope.EXPORT_READ: "download the home",
    Scope.EXPORT_WRITE: "prepare and delete tarballs",
    Scope.LOGINS_READ: "see which browsers are logged in",
    Scope.LOGINS_WRITE: "log browsers out",
    Scope.TOKENS_READ: "see the tokens",
    Scope.TOKENS_WRITE: "make tokens like itself, delete any",
    Scope.ADMIN_READ: "see all accounts, environments and bans",
    Scope.ADMIN_WRITE: "change them: as good as a login to each",
}


class TokenPages:
    """The list of an account's tokens, and the form that makes one.

    Args:
        members: make the handlers.
        tokens: what they act on.
        pages: renders them.
    """

    def __init__(self, *, members: Members, tokens: Tokens, pages: Pages) -> None:
        self._members = members
        self._tokens = tokens
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        return [
            web.get("/tokens", self._members.showing(self._show)),
            web.post("/tokens", self._members.acting(self._make)),
            web.post("/tokens/{id}/delete", self._members.acting(self._delete)),
        ]

    async def _show(self, _request: web.Request, visitor: Visitor) -> web.Response:
        return await self._page(visitor)

    async def _make(self, _request: web.Request, visitor: Visitor, fields: Fields) -> web.Response:
        name = fields.get("name", "").strip()
        wanted = fields.getall("scope", [])
        scopes = {scope for scope in scopes_of(visitor.account) if scope.value in wanted}
        days = next((days for days in _DAYS if str(days) == fields.get("days")), None)
        if not 0 < len(name) <= _MAX_NAME_CHARS or not scopes or days is None:
            return await self._page(
                visitor,
                status=HTTPStatus.UNPROCESSABLE_ENTITY,
                message="A token needs a name, an end, and something that it is good for.",
            )
        secret, _ = await self._tokens.create(
            visitor.account, name=name, scopes=scopes, lifetime=timedelta(days=days), by=visitor.actor
        )
        return await self._page(visitor, status=HTTPStatus.CREATED, secret=secret)

    async def _delete(self, request: web.Request, visitor: Visitor, _fields: Fields) -> web.Response:
        with suppress(NotFoundError):  # by another tab, a moment ago: as wanted
            await self._tokens.delete(visitor.account, request.match_info["id"], by=visitor.actor)
        return self._pages.redirect("/tokens")

    async def _page(
        self, visitor: Visitor, *, status: HTTPStatus = HTTPStatus.OK, message: str = "", secret: str = ""
    ) -> web.Response:
        return self._pages.render(
            "tokens.html",
            status=status,
            form_token=visitor.form_token,
            tokens=await self._tokens.list(visitor.account),
            scopes=[(scope, _MEANINGS[scope]) for scope in Scope if scope in scopes_of(visitor.account)],
            days=_DAYS,
            message=message,
            secret=secret,
        )
