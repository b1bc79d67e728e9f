"""The terminals that browsers have open: who may have one, for how long, and what ends them from outside."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog
from aiohttp import web

from rootblood.domain.accounts import Account
from rootblood.domain.tmux import NEW, is_session
from rootblood.domain.visitors import Visitor
from rootblood.errors import RootBloodError
from rootblood.link.waiting import first_of
from rootblood.web.terminal.endings import LOGGED_OUT, NOT_FROM_THERE, RESTARTING, TOO_MANY
from rootblood.web.terminal.websocket import TerminalOpener, TerminalSocket

_log = structlog.stdlib.get_logger(__name__)

MAX_SOCKETS = 32
"""Open at one time for one account: each costs its environment a few processes."""

_ASK_AGAIN_S = 3.0
"""An account may be locked by another process, which cannot close what is open here."""

Admit = Callable[[web.Request], Awaitable[Account]]
"""Says whose terminal a request may have. Raises an HTTPException where it may have none, most of all where
the Origin is another site's."""

AddressOf = Callable[[web.Request], str]


class TerminalSockets:
    """The open terminals of all browsers.

    Args:
        terminals: where they come from.
        admit: is asked for every WebSocket, and again while it is open.
        address_of: tells the address of a browser.
        ask_again_s: how often.
    """

    def __init__(
        self,
        terminals: TerminalOpener,
        admit: Admit,
        *,
        address_of: AddressOf = lambda request: request.remote or "?",
        ask_again_s: float = _ASK_AGAIN_S,
    ) -> None:
        self._terminals = terminals
        self._admit = admit
        self._address_of = address_of
        self._ask_again_s = ask_again_s
        self._open: dict[str, set[TerminalSocket]] = {}
        self._stopping = False

    def routes(self) -> list[web.RouteDef]:
        """The WebSocket's."""
        return [web.get("/terminal/ws", self.handle)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one WebSocket to its end. `?session=NUMBER` chooses the tmux session, `=new` makes one."""
        session = request.query.get("session")
        if session is not None and session != NEW and not is_session(session):
            raise web.HTTPBadRequest(text="there is no such session")
        if self._stopping:
            raise web.HTTPServiceUnavailable(text=f"{RESTARTING.reason}; try again in a moment")
        account = await self._admit(request)
        connection = TerminalSocket(request, peer=self._address_of(request), session=session)
        if len(self._open.get(account.userhash, ())) >= MAX_SOCKETS:
            # A page learns nothing of a WebSocket that is refused, but of one that is closed.
            await connection.prepare()
            connection.end(TOO_MANY)
            await connection.close()
            return connection.response
        with self._listed(account, connection):
            # A logout while the first answer was on its way found nothing to close.
            await self._admit(request)
            await connection.prepare()
            await first_of(
                connection.serve(self._terminals, account, session),
                connection.told_to_end.wait(),
                connection.tell_steps(),
                self._watch(request, connection),
            )
            await connection.close()
        return connection.response

    def ask_again(self, userhash: str) -> None:
        """Ask now who of those with a terminal of this account may still have one."""
        for connection in self._open.get(userhash, ()):
            connection.in_doubt.set()

    def show(self, userhash: str, text: str) -> None:
        """Show a line on the open terminals of an account."""
        for connection in self._open.get(userhash, ()):
            connection.show(text)

    @property
    def count(self) -> int:
        """How many are open."""
        return sum(len(connections) for connections in self._open.values())

    def end_banned(self, is_banned: Callable[[web.Request], bool]) -> list[web.Request]:
        """Close every terminal whose request is banned by now; returns these requests."""
        found = [
            connection
            for connections in self._open.values()
            for connection in connections
            if is_banned(connection.request)
        ]
        for connection in found:
            connection.end(NOT_FROM_THERE)
        return [connection.request for connection in found]

    def open_of(self, account: Account) -> Sequence[Visitor]:
        """The open terminals of an account."""
        return list(self._open.get(account.userhash, ()))

    def stop(self) -> None:
        """Close every terminal, and open no more: the server stops, and what they show goes on in tmux."""
        self._stopping = True
        for connections in self._open.values():
            for connection in connections:
                connection.end(RESTARTING)

    async def _watch(self, request: web.Request, connection: TerminalSocket) -> None:
        """Return when the browser would not be let in any more."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._ask_again_s):
                    await connection.in_doubt.wait()
            connection.in_doubt.clear()
            try:
                await self._admit(request)
            except web.HTTPException:
                connection.end(LOGGED_OUT)
                return
            except RootBloodError as error:  # who is in already stays while nobody can tell
                _log.warning("terminal_not_asked_again", cause=str(error))

    @contextmanager
    def _listed(self, account: Account, connection: TerminalSocket) -> Iterator[None]:
        mine = self._open.setdefault(account.userhash, set())
        mine.add(connection)
        try:
            yield
        finally:
            mine.discard(connection)
            if not mine:
                self._open.pop(account.userhash, None)
