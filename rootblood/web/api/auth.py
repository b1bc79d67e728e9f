"""Who calls the API: a program by its token, or a page of this site by the browser's cookie."""

import hmac
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.hdrs import METH_GET, METH_HEAD

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Actor, Door
from rootblood.domain.logins import LoginSession
from rootblood.domain.tokens import ADMIN_SCOPES, ApiToken, Scope, scopes_of
from rootblood.services.tokens import Tokens
from rootblood.web.auth import Doorkeeper
from rootblood.web.forms import require_origin

CSRF_HEADER = "X-CSRF-Token"

_BEARER = "bearer"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose call it is, and what it may do."""

    account: Account
    scopes: AbstractSet[Scope]
    login: LoginSession | None = None
    """Of the browser that calls."""

    token: ApiToken | None = None
    """Of the program that calls."""


class ApiAuthentication:
    """Tells the caller of a request.

    Args:
        doorkeeper: knows browsers.
        tokens: know programs.
    """

    def __init__(self, doorkeeper: Doorkeeper, tokens: Tokens) -> None:
        self._doorkeeper = doorkeeper
        self._tokens = tokens

    async def caller(self, request: web.Request, scope: Scope) -> Caller:
        """The caller, who may do what is in `scope`.

        An `Authorization` that is no good is not made up for by a cookie.

        Raises:
            web.HTTPUnauthorized: nobody that is known.
            web.HTTPForbidden: not for this account, or not for this token; or a change that no page of this
                site has asked for.
            StoreUnavailableError: nobody can tell.
        """
        if "Authorization" in request.headers:
            caller = await self._program(request)
        else:
            caller = await self._browser(request)
        if scope in ADMIN_SCOPES and not caller.account.admin:  # by now: it may have been one
            raise web.HTTPForbidden(text="this is for administrators")
        if scope not in caller.scopes:
            raise web.HTTPForbidden(
                text=f"this token has no scope {scope.value}",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope.value}"'},
            )
        return caller

    async def caller_by_body(self, request: web.Request, scope: Scope, body: Any) -> Caller:
        """As `caller`, but a name and a password in the body go before a token or a login.

        Raises:
            PenalizedError, LimitReachedError: the password was not looked at.
        """
        if body.name is None:
            return await self.caller(request, scope)
        if "Origin" in request.headers:
            require_origin(request, self._doorkeeper.clients.of(request))
        account = await self._doorkeeper.check_password(
            request, body.name, body.password.get_secret_value(), door=Door.API
        )
        if account is None:
            raise web.HTTPUnauthorized(
                text="that is not the name of an account with this password",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return Caller(account, scopes_of(account))

    def actor(self, request: web.Request, caller: Caller) -> Actor:
        """The caller, for the trail of the account that the call is about."""
        door = Door.API if caller.login is None else Door.WEB  # a script of this site's pages
        return Actor(door, self._doorkeeper.clients.of(request).address, caller.account.name)

    def origin(self, request: web.Request) -> str:
        """What the caller calls this site."""
        return self._doorkeeper.clients.of(request).origin

    async def _program(self, request: web.Request) -> Caller:
        kind, _, secret = request.headers["Authorization"].partition(" ")
        found = await self._tokens.find(secret.strip()) if kind.lower() == _BEARER else None
        if found is None:
            raise web.HTTPUnauthorized(
                text="this token is none, or has expired",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        account, token = found
        return Caller(account, token.scopes, token=token)

    async def _browser(self, request: web.Request) -> Caller:
        visitor = await self._doorkeeper.visitor(request)
        if visitor is None:
            raise web.HTTPUnauthorized(
                text="log in, or give a token as Authorization: Bearer",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if request.method not in {METH_GET, METH_HEAD}:
            require_origin(request, self._doorkeeper.clients.of(request))
            given = request.headers.get(CSRF_HEADER, "").encode("utf-8", "replace")
            if not hmac.compare_digest(given, visitor.form_token.encode()):
                raise web.HTTPForbidden(text=f"a page sends its form's token as {CSRF_HEADER}")
        return Caller(visitor.account, scopes_of(visitor.account), login=visitor.login)
