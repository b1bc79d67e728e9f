"""The browser's terminal: a WebSocket between its page and a terminal in the environment.

The page speaks ttyd's messages, whose first byte is their kind. From the page come `0` input, `1` the size as
JSON, `2` "send no more for now" and `3` "go on"; to it go `0` output, and before the first of that `4` the
step of starting the environment that is being taken, a word. The first message is the size without a kind, as
ttyd has it. Each is taken for what it says and none is passed on as it came: ttyd itself would lose output
over `2` and `3`, which are this door's to obey.

What a browser does not take stays in the environment: the buffer of its socket is small, and while that is
full, nothing more is read from the link.
"""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from rootblood.domain.accounts import Account
from rootblood.domain.environments import EnsureStep, RestartReason
from rootblood.domain.rendering import ENDS, over_first_row
from rootblood.domain.tmux import NEW, is_session
from rootblood.domain.visitors import Visitor
from rootblood.errors import RootBloodError
from rootblood.link.pool import StepListener
from rootblood.link.waiting import first_of
from rootblood.services.ttyd import Terminal, TerminalSize

_log = structlog.stdlib.get_logger(__name__)

SUBPROTOCOL = "tty"

_INPUT, _RESIZE, _PAUSE, _RESUME = b"0", b"1", b"2", b"3"  # from the page
_OUTPUT, _STEP = b"0", b"4"  # to it
_DATA = frozenset({WSMsgType.TEXT, WSMsgType.BINARY})

_MAX_MESSAGE_BYTES = 64 * 1024
"""Either way."""

_MAX_DIMENSION = 1000
"""Characters a side; tmux keeps the screen in memory."""

_SEND_BUFFER_BYTES = 128 * 1024
"""Of the kernel, for one socket. A ping waits behind it, and a reader of 300 KB/s is to answer in time."""

_HEARTBEAT_S = 30.0
_HELLO_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 1.0

_RESIZE_INTERVAL_S = 0.05
"""A size is passed on no more often than this; the last one always is."""

_BULK_BYTES = 2048
"""At once: more than a key's echo, and half of what ttyd reads at a time."""

_GATHERING_S = 0.001
"""How long what follows on so much comes together: each message costs the browser and this door more than
what is in it."""

MAX_SOCKETS = 32
"""Open at one time for one account: each costs its environment a few processes."""

_ASK_AGAIN_S = 3.0
"""An account may be locked by another process, which cannot close what is open here."""

_MAX_REASON_BYTES = 123
"""RFC 6455 section 5.5: a control frame's 125, less the code."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What the page is told at the end; it connects anew by itself after some of the codes."""

    code: int
    reason: str


OVER = Ending(WSCloseCode.OK, "the session has ended")
BROKEN_OFF = Ending(WSCloseCode.SERVICE_RESTART, "the way into your environment broke off")
RESTARTING = Ending(WSCloseCode.SERVICE_RESTART, "the server is being restarted")
NOT_THE_PROTOCOL = Ending(WSCloseCode.POLICY_VIOLATION, "that was no message of a terminal")
NOT_FROM_THERE = Ending(WSCloseCode.POLICY_VIOLATION, "this network may not come in; ask your administrator")
LOGGED_OUT = Ending(4401, "you are logged out")
FAILED_CODE = 4503
"""There is no terminal, and the reason says why: a message of `RootBloodError`."""

ENDED_CODE = 4504
"""The environment has ended, and the reason says why. The page does not connect anew by itself: that would
undo what somebody may have meant, and nobody would have read why."""

_CAUSE_S = 5.0
"""For word of why a way in broke off; it comes within milliseconds, unless the engine is away or busy.
Without it the page connects anew, and so starts what somebody has stopped."""

_DOUBT_S = 0.3
"""The same, where a session ended as it would have of itself, or with its environment."""

CRASHED = Ending(WSCloseCode.INTERNAL_ERROR, "internal error; your administrator finds it in the log")

Admit = Callable[[web.Request], Awaitable[Account]]
"""Says whose terminal a request may have. Raises an HTTPException where it may have none, most of all where
the Origin is another site's."""

AddressOf = Callable[[web.Request], str]


class TerminalOpener(Protocol):
    """What terminals come from: `rootblood.services.terminals.Terminals`."""

    def open(
        self,
        account: Account,
        size: TerminalSize,
        *,
        session: str | None = None,
        on_step: StepListener | None = None,
    ) -> AbstractAsyncContextManager[Terminal]:
        """Lend a terminal; raises `RootBloodError` where there is none."""

    async def why_ended(self, userhash: str, *, since: float, patience_s: float) -> RestartReason | None:
        """Why an environment has ended since somebody came in: see `rootblood.services.ends.Ends.since`."""


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
        self._open: dict[str, set[_Socket]] = {}
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
        connection = _Socket(request, peer=self._address_of(request), session=session)
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

    async def _watch(self, request: web.Request, connection: "_Socket") -> None:
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
    def _listed(self, account: Account, connection: "_Socket") -> Iterator[None]:
        mine = self._open.setdefault(account.userhash, set())
        if len(mine) >= MAX_SOCKETS:
            raise web.HTTPTooManyRequests(text="too many terminals; close some")
        mine.add(connection)
        try:
            yield
        finally:
            mine.discard(connection)
            if not mine:
                self._open.pop(account.userhash, None)


class _Socket:
    """One browser's WebSocket."""

    def __init__(self, request: web.Request, *, peer: str, session: str | None) -> None:
        self.request = request
        self.peer = peer
        self.since = datetime.now(UTC)
        self.activities = [_activity(session)]
        self.response = web.WebSocketResponse(
            protocols=[SUBPROTOCOL],
            max_msg_size=_MAX_MESSAGE_BYTES,
            compress=False,
            heartbeat=_HEARTBEAT_S,
            timeout=_CLOSE_TIMEOUT_S,
        )
        self._ending: Ending | None = None
        self.told_to_end = asyncio.Event()
        self.in_doubt = asyncio.Event()
        """Whether the browser may be here has to be asked now."""

        self._may_send = asyncio.Event()
        self._may_send.set()
        self._size = TerminalSize(80, 24)
        self._resized = asyncio.Event()
        self._steps: asyncio.Queue[EnsureStep] = asyncio.Queue()
        self._notices: asyncio.Queue[str] = asyncio.Queue()

    async def prepare(self) -> None:
        """Answer the handshake.

        Raises:
            web.HTTPBadRequest: it is none, or not of this protocol.
        """
        ready = self.response.can_prepare(self.request)
        if not ready.ok or ready.protocol != SUBPROTOCOL:
            raise web.HTTPBadRequest(text="this is for the terminal's page")
        if self.request.transport is not None:
            connected = self.request.transport.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        await self.response.prepare(self.request)

    def end(self, ending: Ending) -> None:
        """Close it, from outside; nothing goes either way from now on."""
        self._end(ending)
        self.told_to_end.set()

    async def serve(self, terminals: TerminalOpener, account: Account, session: str | None) -> None:
        """Connect it with a terminal, until either of the two is over."""
        try:
            if not await self._greeted():
                return
            opening = terminals.open(account, self._size, session=session, on_step=self._steps.put_nowait)
            async with opening as terminal:
                came_in_at = time.monotonic()

                async def why_ended(patience_s: float) -> Ending | None:
                    cause = await terminals.why_ended(
                        account.userhash, since=came_in_at, patience_s=patience_s
                    )
                    return Ending(ENDED_CODE, ENDS[cause]) if cause is not None else None

                await first_of(
                    self._pass_output(terminal, why_ended),
                    self._pass_input(terminal),
                    self._pass_sizes(terminal),
                    self._tell_notices(),
                )
        except RootBloodError as error:
            _log.warning("terminal_failed", userhash=account.userhash, cause=str(error))
            self._end(Ending(FAILED_CODE, str(error)))
        except Exception:  # noqa: BLE001 - the edge
            _log.exception("terminal_crashed", userhash=account.userhash)
            self._end(CRASHED)

    def show(self, text: str) -> None:
        """Show a line on the terminal, without disturbing what is there."""
        self._notices.put_nowait(text)

    async def tell_steps(self) -> None:
        """Tell the browser each step of starting the environment; never returns."""
        while True:
            step = await self._steps.get()
            if not self.response.closed:
                await self.response.send_bytes(_STEP + step.value.encode())

    async def close(self) -> None:
        """Tell the browser the end, and leave one that does not answer."""
        ending = self._ending or OVER
        reason = ending.reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore").encode()
        await self.response.close(code=ending.code, message=reason, drain=False)
        if self.response.close_code == WSCloseCode.ABNORMAL_CLOSURE and self.request.transport is not None:
            self.request.transport.abort()

    def _end(self, ending: Ending) -> None:
        self._ending = self._ending or ending

    async def _greeted(self) -> bool:
        """Wait for the message that comes first, with the size."""
        try:
            first = await self.response.receive(timeout=_HELLO_TIMEOUT_S)
        except TimeoutError:
            self._end(NOT_THE_PROTOCOL)
            return False
        if first.type not in _DATA:
            return False  # it left
        size = parse_size(first.data)
        if size is None:
            self._end(NOT_THE_PROTOCOL)
            return False
        self._size = size
        return True

    async def _tell_notices(self) -> None:
        while True:
            text = await self._notices.get()
            await self._may_send.wait()
            await self.response.send_bytes(_OUTPUT + over_first_row(text))

    async def _pass_output(
        self, terminal: Terminal, why_ended: Callable[[float], Awaitable[Ending | None]]
    ) -> None:
        try:
            while output := await terminal.read():
                for start in range(0, len(output), _MAX_MESSAGE_BYTES):
                    await self._may_send.wait()
                    if self.told_to_end.is_set():
                        return
                    await self.response.send_bytes(_OUTPUT + output[start : start + _MAX_MESSAGE_BYTES])
                if len(output) >= _BULK_BYTES:  # more is on its way, in pieces as small as a tty's
                    await asyncio.sleep(_GATHERING_S)
        except OSError as error:  # the browser's end as well: then nobody is left to be told
            _log.info("terminal_broke_off", cause=str(error))
            self._end(await why_ended(_CAUSE_S) or BROKEN_OFF)
        else:
            self._end(await why_ended(_DOUBT_S) or OVER)

    async def _pass_input(self, terminal: Terminal) -> None:
        async for message in self.response:
            if message.type not in _DATA or self.told_to_end.is_set():
                return  # of an error aiohttp has told the browser
            data = message.data.encode() if message.type is WSMsgType.TEXT else message.data
            if not await self._obey(data[:1], data[1:], terminal):
                self._end(NOT_THE_PROTOCOL)
                return

    async def _obey(self, kind: bytes, data: bytes, terminal: Terminal) -> bool:
        """Do what one message says; False where it says nothing."""
        if kind == _INPUT:
            await terminal.write(data)
        elif kind == _RESIZE:
            size = parse_size(data)
            if size is None:
                return False
            self._size = size
            self._resized.set()
        elif kind == _PAUSE:
            self._may_send.clear()
        elif kind == _RESUME:
            self._may_send.set()
        else:
            return False
        return True

    async def _pass_sizes(self, terminal: Terminal) -> None:
        while True:
            await self._resized.wait()
            self._resized.clear()
            await terminal.resize(self._size)
            await asyncio.sleep(_RESIZE_INTERVAL_S)


def parse_size(data: bytes | str) -> TerminalSize | None:
    """The size that a message tells, as far as it makes sense; None where it tells none."""
    try:
        told = json.loads(data)
        columns, rows = told["columns"], told["rows"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if type(columns) is not int or type(rows) is not int:  # bool is an int, to isinstance
        return None
    return TerminalSize(_clamped(columns), _clamped(rows))


def _activity(session: str | None) -> str:
    """What a terminal shows, as far as it was asked for; which session tmux chose, only tmux knows."""
    if session is None:
        return "terminal"
    return "new session" if session == NEW else f"session {session}"


def _clamped(characters: int) -> int:
    return max(1, min(characters, _MAX_DIMENSION))
