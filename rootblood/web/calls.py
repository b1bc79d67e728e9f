"""What the environment's own command, `rb`, asks for: one request a connection, answered in plain text.

Nobody logs in here: a call comes out of an environment, and the link it comes by tells whose. So what could
be somebody else's doing is refused: a web page that the account looks at can send requests to a port of its
loopback (forwarded there, or by rebinding a name), but not with a header of its own.
"""

import asyncio
import io
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus

import segno
import structlog
from aiohttp import web

from rootblood.domain.accounts import Account
from rootblood.domain.environments import EnvironmentState
from rootblood.domain.rendering import moment, shown, status_rows, table
from rootblood.domain.tmux import is_session
from rootblood.errors import NotFoundError, RootBloodError
from rootblood.services.accounts import Accounts
from rootblood.services.environments import Environments
from rootblood.services.homes import HomeSizes
from rootblood.services.links import Links
from rootblood.services.logins import Logins
from rootblood.services.presence import Presence
from rootblood.web.failures import INTERNAL_MESSAGE, explanation, status_of
from rootblood.web.pages.links import PATH as LINK_PATH

_log = structlog.stdlib.get_logger(__name__)

HEADER = "X-RootBlood"
HEADER_VALUE = "rb"
SESSION_HEADER = "X-RootBlood-Session"
"""Number of the tmux session that `rb` was typed in; empty where that was in none."""

_HOSTS = frozenset({"127.0.0.1", "localhost"})
_REQUEST_TIMEOUT_S = 10.0
_MAX_ROWS = 20

_PATIENCE_S = 1.0
"""For the size of a home that is being measured; a small one is there by then."""

Do = Callable[[Account, web.BaseRequest], Awaitable[str]]


class Calls:
    """Answers what comes out of environments.

    Args:
        accounts: tell whether an account may still do anything.
        environments: what is told of.
        links: made for whoever asks.
        logins: browsers that are logged in.
        homes: how large they are.
        presence: who is attached.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        environments: Environments,
        links: Links,
        logins: Logins,
        homes: HomeSizes,
        presence: Presence,
    ) -> None:
        self._accounts = accounts
        self._environments = environments
        self._links = links
        self._logins = logins
        self._homes = homes
        self._presence = presence
        self._operations: dict[tuple[str, str], Do] = {
            ("POST", "/web"): self._make_link,
            ("POST", "/web/qr"): self._draw_link,
            ("GET", "/status"): self._tell_status,
        }
        self.url: str | None = None
        """What people type to come to the site; None until it can be reached."""

    def answer(self, account: Account) -> asyncio.Protocol | None:
        """What serves one connection out of the account's environment; None while the site is not there."""
        if self.url is None:
            return None
        server = web.Server(
            partial(self._respond, account),
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=_REQUEST_TIMEOUT_S,  # from the start of the connection, so for the headers too
            lingering_time=0,
        )
        return server()

    async def _respond(self, account: Account, request: web.BaseRequest) -> web.Response:
        status, text = await self._outcome(account, request)
        response = web.Response(status=status, text=text + "\n")
        response.headers["Server"] = "RootBlood"
        response.headers["Cache-Control"] = "no-store"
        response.force_close()
        return response

    async def _outcome(self, caller: Account, request: web.BaseRequest) -> tuple[HTTPStatus, str]:
        """Status, and what `rb` prints."""
        operation = self._operations.get((request.method, request.path))
        refusal = _refusal(request)
        if refusal is not None:
            return refusal
        if operation is None:
            return HTTPStatus.NOT_FOUND, "this front door does not know that; it may be older than the image"
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                return HTTPStatus.OK, await operation(await self._active(caller), request)
        except TimeoutError:
            return HTTPStatus.SERVICE_UNAVAILABLE, "that takes too long now; try again in a moment"
        except RootBloodError as error:
            _log.info("call_failed", userhash=caller.userhash, path=request.path, cause=str(error))
            return status_of(error), explanation(error)
        except Exception:  # noqa: BLE001 - the edge
            _log.exception("call_crashed", userhash=caller.userhash, path=request.path)
            return HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_MESSAGE

    async def _active(self, caller: Account) -> Account:
        """The account as it is now: the link is older, and it may have been locked since."""
        account = await self._accounts.active(caller.name)
        if account is None or account.userhash != caller.userhash:
            raise NotFoundError("this account may not log in any more")
        return account

    async def _make_link(self, account: Account, request: web.BaseRequest) -> str:
        session = request.headers.get(SESSION_HEADER, "")
        secret, _ = await self._links.make(account, tmux_session=session if is_session(session) else None)
        return f"{self.url}{LINK_PATH}/{secret}"

    async def _draw_link(self, account: Account, request: web.BaseRequest) -> str:
        url = await self._make_link(account, request)
        drawn = io.StringIO()
        # Two modules a character and half the quiet zone, so that it fits into 80 columns and 24 lines.
        segno.make_qr(url, error="l").terminal(drawn, border=2, compact=True)
        return drawn.getvalue() + url

    async def _tell_status(self, account: Account, _request: web.BaseRequest) -> str:
        details = await self._environments.inspect(account)
        running = details is not None and details.environment.state is EnvironmentState.RUNNING
        usage, home = await asyncio.gather(
            self._environments.usage(account),
            self._homes.of(account, running=running, patience_s=_PATIENCE_S),
        )
        logins = await self._logins.list(account)
        rows = [
            (shown(attached.peer), moment(attached.since), attached.door, shown(activity))
            for attached in self._presence.of(account)
            for activity in (attached.activities or ["-"])
        ]
        rows += [
            (shown(login.address), moment(login.created_at), "browser", shown(login.user_agent))
            for login in logins
        ]
        text = table(status_rows(details, usage, home)) + "\n" if details is not None else ""
        text += table([("FROM", "SINCE", "BY", "WITH"), *rows[:_MAX_ROWS]])
        more = len(rows) - _MAX_ROWS
        return text.rstrip("\n") + (f"\n{more} more" if more > 0 else "")


def _refusal(request: web.BaseRequest) -> tuple[HTTPStatus, str] | None:
    """What to say to a request that `rb` does not send."""
    host = request.headers.get("Host", "").partition(":")[0].lower()
    if request.headers.getall(HEADER, []) != [HEADER_VALUE] or "Origin" in request.headers:
        return HTTPStatus.FORBIDDEN, "only rb is answered here"
    if host not in _HOSTS:
        return HTTPStatus.MISDIRECTED_REQUEST, "only rb is answered here"
    if request.body_exists:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "nothing here takes a body"
    return None
