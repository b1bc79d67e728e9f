"""One terminal in a browser: a WebSocket between its page and a terminal in the environment.

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
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Protocol

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from rootblood.domain.accounts import Account
from rootblood.domain.environments import EnsureStep, RestartReason
from rootblood.domain.rendering import ENDS, over_first_row
from rootblood.domain.tmux import NEW
from rootblood.errors import RootBloodError
from rootblood.link.pool import StepListener
from rootblood.link.waiting import first_of
from rootblood.services.ttyd import Terminal, TerminalSize
from rootblood.web.terminal.endings import (
    BROKEN_OFF,
    CRASHED,
    ENDED_CODE,
    FAILED_CODE,
    NOT_THE_PROTOCOL,
    OVER,
    Ending,
)

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

_MAX_REASON_BYTES = 123
"""RFC 6455 section 5.5: a control frame's 125, less the code."""

_CAUSE_S = 5.0
"""For word of why a way in broke off; it comes within milliseconds, unless the engine is away or busy.
Without it the page connects anew, and so starts what somebody has stopped."""

_DOUBT_S = 1.0
"""The same, where a session ended as it would have of itself, or with its environment."""


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


class TerminalSocket:
    """One browser's WebSocket, from its handshake to its end."""

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
