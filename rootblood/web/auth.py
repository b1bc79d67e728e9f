"""Who is at the HTTP door: passwords in, login sessions out, and the cookies between.

A browser holds one cookie, the token of its login session. Over TLS its name starts with `__Host-`, so that
no sibling site and no page without TLS can have set it; over plain HTTP, where browsers refuse that prefix,
it goes by its bare name.
"""

from dataclasses import dataclass

import structlog
from aiohttp import web

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Actor, Door
from rootblood.domain.logins import LoginSession, is_token, new_token
from rootblood.errors import LimitReachedError, NotFoundError, StoreUnavailableError
from rootblood.services.accounts import Accounts
from rootblood.services.logins import Logins
from rootblood.services.metrics import UNMEASURED, LoginOutcome, Metrics
from rootblood.services.penalties import Penalties
from rootblood.services.visits import Visits
from rootblood.web.clients import Client, Clients
from rootblood.web.forms import form_token_of

_log = structlog.stdlib.get_logger(__name__)

_LOGIN_COOKIE = "rootblood"
_FORM_COOKIE = "rootblood-form"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is logged in."""

    account: Account
    login: LoginSession
    token: str
    """The secret of the login session."""

    actor: Actor
    """The same for the account's trail."""

    @property
    def form_token(self) -> str:
        """What the forms of this login session bring along."""
        return form_token_of(self.token)


class Doorkeeper:
    """Lets browsers in and out.

    Args:
        accounts: know who may log in.
        logins: know who has.
        penalties: know from where too many wrong passwords came.
        visits: remember the last login.
        clients: tell the client of a request.
        metrics: count logins.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        logins: Logins,
        penalties: Penalties,
        visits: Visits,
        clients: Clients,
        metrics: Metrics = UNMEASURED,
    ) -> None:
        self._accounts = accounts
        self._logins = logins
        self._penalties = penalties
        self._visits = visits
        self._metrics = metrics
        self.clients = clients

    async def visitor(self, request: web.Request) -> Visitor | None:
        """Who is logged in, by the cookie of the request; None where nobody is.

        Raises:
            StoreUnavailableError: nobody can tell.
        """
        token = request.cookies.get(_cookie(_LOGIN_COOKIE, self.clients.of(request)), "")
        found = await self._logins.find(token)
        return None if found is None else Visitor(*found, token, self.actor(request))

    def actor(self, request: web.Request, door: Door = Door.WEB) -> Actor:
        """Who asks, for the trail of the account."""
        return Actor(door, self.clients.of(request).address)

    async def log_in(self, request: web.Request, response: web.Response, name: str, password: str) -> bool:
        """Log the browser in, if that is the password of an account that may log in.

        Args:
            request: what brought the password.
            response: gets the cookie.
            name: of the account.
            password: as it was typed.

        Raises:
            PenalizedError, LimitReachedError: it was not looked at.
            StoreUnavailableError: nobody can tell.
        """
        account = await self.check_password(request, name, password)
        return account is not None and await self.admit(request, response, account, method="password")

    async def admit(
        self, request: web.Request, response: web.Response, account: Account, *, method: str
    ) -> bool:
        """Log the browser in to an account that it has just shown to be its own.

        The login session is a new one, whatever the browser brought along; an old one of the browser ends.

        Args:
            request: what showed it.
            response: gets the cookie.
            account: as it was then; False when it may not log in any more, or has another password.
            method: how it was shown.

        Raises:
            StoreUnavailableError: nobody can tell.
        """
        client = self.clients.of(request)
        before = await self.visitor(request)
        if not await self.renew(request, response, account):
            return False
        if before is not None:
            await self._end(before)
        self._metrics.login(Door.WEB, LoginOutcome.ACCEPTED)
        self._visits.arrive(account, by=self.actor(request), method=method)
        _log.info("login", account=account.name, peer=client.address, door="web")
        _del_cookie(response, _FORM_COOKIE, client)
        return True

    async def renew(self, request: web.Request, response: web.Response, account: Account) -> bool:
        """Give the browser a new login session of an account that it is in already, which is no visit.

        Args:
            request: of the browser, whose old login session has been ended.
            response: gets the cookie.
            account: as it is now; False when it may not log in any more, or has another password.

        Raises:
            StoreUnavailableError: nobody can tell.
        """
        client = self.clients.of(request)
        try:
            token = await self._logins.begin(
                account, address=client.address, user_agent=request.headers.get("User-Agent", "")
            )
        except NotFoundError:  # locked, or another password, since it was looked at
            return False
        _set_cookie(response, _LOGIN_COOKIE, token, client)
        return True

    async def check_password(
        self, request: web.Request, name: str, password: str, *, door: Door = Door.WEB
    ) -> Account | None:
        """The account if it may log in, this is its password, and its client waits. Raises as `log_in`."""
        address = self.clients.of(request).address
        try:
            async with self._penalties.turn(address):
                if request.transport is None or request.transport.is_closing():
                    return None  # nobody is left to be told: not worth a hash
                account = await self._accounts.authenticate_password(
                    name, password, by=self.actor(request, door)
                )
                if account is None:
                    self._penalties.failed(address)
        except (LimitReachedError, StoreUnavailableError) as error:
            self._metrics.login(Door.WEB, LoginOutcome.of(error))
            raise
        if account is None:
            self._metrics.login(Door.WEB, LoginOutcome.REFUSED)
            _log.info("login_failed", peer=address, door="web")
        return account

    async def log_out(self, visitor: Visitor, request: web.Request, response: web.Response) -> None:
        """End the login session of the browser, and take its cookie."""
        await self._end(visitor)
        _del_cookie(response, _LOGIN_COOKIE, self.clients.of(request))

    def form_secret(self, request: web.Request) -> str:
        """What the login form's token is derived from; empty where the browser was not shown the form."""
        secret = request.cookies.get(_cookie(_FORM_COOKIE, self.clients.of(request)), "")
        return secret if is_token(secret) else ""

    def give_form_secret(self, request: web.Request, response: web.Response, secret: str) -> None:
        """Let the browser keep what `form_secret` returns."""
        _set_cookie(response, _FORM_COOKIE, secret, self.clients.of(request))

    @staticmethod
    def new_form_secret() -> str:
        """A secret for `give_form_secret`."""
        return new_token()

    async def _end(self, visitor: Visitor) -> None:
        try:
            await self._logins.end(visitor.account, visitor.login.id, by=visitor.actor)
        except NotFoundError:
            _log.debug("login_session_ended_already", userhash=visitor.account.userhash)


def _cookie(name: str, client: Client) -> str:
    return f"__Host-{name}" if client.secure else name


def _set_cookie(response: web.Response, name: str, value: str, client: Client) -> None:
    response.set_cookie(
        _cookie(name, client), value, path="/", httponly=True, samesite="Lax", secure=client.secure
    )


def _del_cookie(response: web.Response, name: str, client: Client) -> None:
    response.del_cookie(_cookie(name, client), path="/", httponly=True, samesite="Lax", secure=client.secure)
