"""The server that calls come to: who calls, whether it is `rb`, and how much it may send."""

import asyncio
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Protocol

import structlog
from aiohttp import web

from rootblood.domain.accounts import Account
from rootblood.domain.tmux import is_session
from rootblood.errors import InvalidInputError, NotFoundError, RootBloodError
from rootblood.services.accounts import Accounts
from rootblood.web.calls.operations import Call, Operation
from rootblood.web.connections import Connection
from rootblood.web.failures import INTERNAL_MESSAGE, explanation, status_of

_log = structlog.stdlib.get_logger(__name__)

HEADER = "X-RootBlood"
HEADER_VALUE = "rb"
SESSION_HEADER = "X-RootBlood-Session"
"""Number of the tmux session that `rb` was typed in; empty where that was in none."""

_HOSTS = frozenset({"127.0.0.1", "localhost"})
_BODY_TYPE = "text/plain"
_REQUEST_TIMEOUT_S = 10.0

Refusal = tuple[HTTPStatus, str]


class OperationGroup(Protocol):
    """Operations that belong together."""

    def table(self) -> Mapping[tuple[str, str], Operation]:
        """All there are, by method and path."""


class Calls:
    """Answers what comes out of environments.

    Args:
        accounts: tell whether an account may still do anything.
        groups: of operations, which do what is asked for.
    """

    def __init__(self, accounts: Accounts, *groups: OperationGroup) -> None:
        self._accounts = accounts
        self._operations = {place: done for group in groups for place, done in group.table().items()}
        self.url: str | None = None
        """What people type to come to the site; None until it can be reached."""

    def answer(self, account: Account) -> asyncio.Protocol | None:
        """What serves one connection out of the account's environment; None while the site is not there."""
        if self.url is None:
            return None
        return Connection(
            web.Server(partial(self._respond, account, self.url), handler_cancellation=True),
            auto_decompress=False,  # `rb` compresses nothing
            keepalive_timeout=_REQUEST_TIMEOUT_S,  # from the start of the connection, so for the headers too
            lingering_time=0,
        )

    async def _respond(self, account: Account, url: str, request: web.BaseRequest) -> web.Response:
        status, text = await self._outcome(account, url, request)
        response = web.Response(status=status, text=text + "\n")
        response.headers["Server"] = "RootBlood"
        response.headers["Cache-Control"] = "no-store"
        response.force_close()
        return response

    async def _outcome(self, caller: Account, url: str, request: web.BaseRequest) -> tuple[HTTPStatus, str]:
        """Status, and what `rb` prints."""
        operation = self._operations.get((request.method, request.path))
        refusal = _refusal(request) or _refused_body(request, operation)
        if refusal is not None:
            return refusal
        if operation is None:
            return HTTPStatus.NOT_FOUND, "this front door does not know that; it may be older than the image"
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                body = await _read_body(request, operation.max_body_bytes)
                call = Call(await self._active(caller), _session(request), url, body)
                return HTTPStatus.OK, await operation.do(call)
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


def _refusal(request: web.BaseRequest) -> Refusal | None:
    """What to say to a request that `rb` does not send."""
    host = request.headers.get("Host", "").partition(":")[0].lower()
    if request.headers.getall(HEADER, []) != [HEADER_VALUE] or "Origin" in request.headers:
        return HTTPStatus.FORBIDDEN, "only rb is answered here"
    if host not in _HOSTS:
        return HTTPStatus.MISDIRECTED_REQUEST, "only rb is answered here"
    return None


def _refused_body(request: web.BaseRequest, operation: Operation | None) -> Refusal | None:
    """What to say to a body that need not be read."""
    if not request.body_exists:
        return None
    if operation is None or not operation.max_body_bytes:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "nothing here takes a body"
    if request.content_type != _BODY_TYPE:
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "only plain text is taken here"
    return None


async def _read_body(request: web.BaseRequest, max_bytes: int) -> str:
    """The body to its end.

    Raises:
        InvalidInputError: it is longer, or no text.
    """
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > max_bytes:
            raise InvalidInputError(f"that is too much: at most {max_bytes} bytes are taken")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError("that is not text in UTF-8") from error


def _session(request: web.BaseRequest) -> str | None:
    session = request.headers.get(SESSION_HEADER, "")
    return session if is_session(session) else None
