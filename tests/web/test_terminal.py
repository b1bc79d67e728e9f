"""The browser's terminal: what passes between the page and ttyd, and what does not."""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from rootblood.domain.accounts import Account, AccountState
from rootblood.domain.environments import EnsureStep, RestartReason
from rootblood.domain.rendering import over_first_row
from rootblood.errors import EnvironmentBrokenError, StoreUnavailableError
from rootblood.link.pool import StepListener
from rootblood.services.ttyd import Terminal, TerminalSize, connect
from rootblood.web.terminal.endings import ENDED_CODE, FAILED_CODE
from rootblood.web.terminal.sockets import MAX_SOCKETS, TerminalSockets
from rootblood.web.terminal.websocket import parse_size
from tests.fakes.ttyd import FakeTtyd, SocketStream, connect_stream

ALICE = Account(
    name="alice",
    uid=20001,
    userhash="a" * 32,
    state=AccountState.ACTIVE,
    admin=False,
    password_hash=None,
    published=True,
    created_at=datetime.now(UTC),
)
HELLO = {"AuthToken": "", "columns": 100, "rows": 30}


@dataclass
class SocketTerminals:
    """Terminals of the fake ttyd, or a refusal."""

    path: Path
    refusal: str | None = None
    streams: list[SocketStream] = field(default_factory=list)

    steps: list[EnsureStep] = field(default_factory=list)
    """What it takes to get there."""

    ended: RestartReason | None = None
    """What has become of the environment, as the engine will tell."""

    async def why_ended(self, userhash: str, *, since: float, patience_s: float) -> RestartReason | None:
        assert ALICE.userhash == userhash
        assert since <= time.monotonic()
        assert patience_s > 0
        return self.ended

    @asynccontextmanager
    async def open(
        self,
        account: Account,
        size: TerminalSize,
        *,
        session: str | None = None,
        on_step: StepListener | None = None,
    ) -> AsyncIterator[Terminal]:
        assert ALICE == account
        for step in self.steps:
            assert on_step is not None
            on_step(step)
            await asyncio.sleep(0)
        if self.refusal is not None:
            raise EnvironmentBrokenError(self.refusal)
        self.streams.append(await connect_stream(self.path))
        terminal = await connect(self.streams[-1], size, session)
        try:
            yield terminal
        finally:
            terminal.close()


@dataclass
class Door:
    """A server with nothing but terminals."""

    url: str
    ttyd: FakeTtyd
    terminals: SocketTerminals
    sockets: TerminalSockets
    admitted: int = 0
    refusal: Exception | None = None

    @asynccontextmanager
    async def page(
        self, query: str = "", hello: object = HELLO
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        async with (
            aiohttp.ClientSession() as browser,
            browser.ws_connect(f"{self.url}/terminal/ws{query}", protocols=["tty"]) as page,
        ):
            await page.send_str(json.dumps(hello))
            yield page

    async def status(self, query: str = "", **headers: str) -> int:
        async with (
            aiohttp.ClientSession() as browser,
            browser.get(f"{self.url}/terminal/ws{query}", headers=headers) as response,
        ):
            return response.status


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    ttyd = FakeTtyd()
    terminals = SocketTerminals(tmp_path / "ttyd.sock")

    async def admit(request: web.Request) -> Account:
        if request.headers.get("Origin") == "https://elsewhere.test":
            raise web.HTTPForbidden
        if made.refusal is not None:
            raise made.refusal
        made.admitted += 1
        return ALICE

    sockets = TerminalSockets(terminals, admit)
    application = web.Application()
    application.add_routes(sockets.routes())

    async def stop(_application: web.Application) -> None:
        sockets.stop()

    application.on_shutdown.append(stop)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=5)
    async with asyncio.timeout(120), ttyd.listening(terminals.path):
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made = Door(f"http://127.0.0.1:{runner.addresses[0][1]}", ttyd, terminals, sockets)
        yield made
        await runner.cleanup()


async def received(page: aiohttp.ClientWebSocketResponse, size: int) -> bytes:
    """The next `size` bytes of output."""
    output = b""
    while len(output) < size:
        message = await page.receive_bytes()
        assert b"0" == message[:1]
        output += message[1:]
    return output


async def ending(page: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str]:
    """How the door closes the WebSocket, whatever it sends before."""
    async with asyncio.timeout(60):
        while True:
            message = await page.receive()
            if message.type is aiohttp.WSMsgType.CLOSE:
                return message.data, message.extra or ""
            assert message.type is aiohttp.WSMsgType.BINARY, message


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until `condition` holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what it asks for has no event
            await asyncio.sleep(0.005)


async def test_what_is_typed_and_what_is_shown_pass(door: Door) -> None:
    async with door.page() as page:
        await page.send_bytes(b"0ls \xff\x00\r")
        assert b"ls \xff\x00\r" == await received(page, 6)
        await page.send_str("0\u00fc")
        assert "\u00fc".encode() == await received(page, 2)
    assert [HELLO] == door.ttyd.hellos
    assert [[]] == door.ttyd.arguments


async def test_the_terminal_has_the_size_of_the_page_and_the_last_of_many_sizes_wins(door: Door) -> None:
    async with door.page(hello={"columns": 5000, "rows": -1}) as page:
        began_at = time.monotonic()
        for columns in range(10, 1010):
            await page.send_str("1" + json.dumps({"columns": columns, "rows": 20}))
        await until(lambda: {"columns": 1000, "rows": 20} in door.ttyd.resizes)
        assert {"AuthToken": "", "columns": 1000, "rows": 1} == door.ttyd.hellos[0]
        assert len(door.ttyd.resizes) <= 2 + (time.monotonic() - began_at) / 0.05


async def test_a_session_can_be_chosen_by_its_number_alone(door: Door) -> None:
    async with door.page("?session=3") as page:
        await page.send_bytes(b"0x")
        await received(page, 1)
    assert [["session", "3"]] == door.ttyd.arguments
    for query in ("?session=", "?session=-1", "?session=%243", "?session=a", "?session=3%20-x"):
        assert 400 == await door.status(query)


async def test_the_steps_of_starting_the_environment_are_told(door: Door) -> None:
    door.terminals.steps = [EnsureStep.CREATE, EnsureStep.START]
    async with door.page() as page:
        assert [b"4creating", b"4starting"] == [await page.receive_bytes() for _ in range(2)]
        await page.send_bytes(b"0x")
        assert b"x" == await received(page, 1)


async def test_ttyd_is_never_told_to_pause_as_it_would_lose_output(door: Door) -> None:
    async with door.page() as page:
        await page.send_bytes(b"2")
        await page.send_bytes(b"0held back")
        await until(lambda: bytes(door.ttyd.typed) == b"held back")
        with pytest.raises(TimeoutError):
            await page.receive(timeout=0.2)
        await page.send_bytes(b"3")
        # The client's receive was given up: ask it anew.
        assert b"held back" == await received(page, 9)
    assert [] == door.ttyd.others


NO_MESSAGES = [
    b"",
    b"9x",
    b"{",
    b"1",
    b"1{}",
    b"1[]",
    b"1null",
    b'1{"columns": 1.5, "rows": 2}',
    b"1" + b"[" * 9999,
]


@pytest.mark.parametrize("message", NO_MESSAGES, ids=lambda message: repr(message[:12]))
async def test_what_is_no_message_of_a_terminal_ends_it(door: Door, message: bytes) -> None:
    async with door.page() as page:
        await page.send_bytes(message)
        assert 1008 == (await ending(page))[0]
    await until(lambda: door.ttyd.clients == 0)


@pytest.mark.parametrize("hello", ["x", [], {}, {"columns": "80", "rows": 24}, {"columns": True, "rows": 24}])
async def test_without_a_size_there_is_no_terminal(door: Door, hello: object) -> None:
    async with door.page(hello=hello) as page:
        assert 1008 == (await ending(page))[0]
    assert [] == door.ttyd.hellos


async def test_a_message_of_more_than_64_kib_ends_it(door: Door) -> None:
    async with door.page() as page:
        await page.send_bytes(b"0" + b"x" * (64 * 1024))
        assert 1009 == (await ending(page))[0]


async def test_an_end_of_the_session_is_told_as_one(door: Door) -> None:
    async with door.page() as page:
        await page.send_bytes(b"0exit\r")
        assert (1000, "the session has ended") == await ending(page)


async def test_a_browser_that_leaves_closes_its_terminal(door: Door) -> None:
    async with door.page() as page:
        await until(lambda: door.ttyd.clients == 1)
        await page.close()
    await until(lambda: door.ttyd.clients == 0)


async def test_a_refusal_is_told_in_its_own_words(door: Door) -> None:
    door.terminals.refusal = "no way in: " + "\u00fc" * 100
    async with door.page() as page:
        code, reason = await ending(page)
    assert (FAILED_CODE, door.terminals.refusal[:67]) == (code, reason)


async def test_all_terminals_of_an_account_are_closed_at_once_and_no_others(door: Door) -> None:
    door.sockets._ask_again_s = 3600
    async with door.page() as one, door.page() as other:
        await until(lambda: door.ttyd.clients == 2)
        door.refusal = web.HTTPForbidden()
        door.sockets.ask_again("b" * 32)
        await one.send_bytes(b"0x")
        assert b"x" == await received(one, 1)
        door.sockets.ask_again(ALICE.userhash)
        assert (4401, "you are logged out") == await ending(one)
        assert 4401 == (await ending(other))[0]
    await until(lambda: door.ttyd.clients == 0)


@pytest.mark.usefixtures("silent_pages")
async def test_a_terminal_that_is_still_being_opened_is_closed_too(door: Door) -> None:
    door.sockets._ask_again_s = 3600
    async with (
        aiohttp.ClientSession() as browser,
        browser.ws_connect(f"{door.url}/terminal/ws", protocols=["tty"]) as page,
    ):
        door.refusal = web.HTTPForbidden()
        door.sockets.ask_again(ALICE.userhash)
        assert 4401 == (await ending(page))[0]


async def test_who_is_refused_gets_no_socket(door: Door) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    assert 403 == await door.status(Origin="https://elsewhere.test", **upgrade)
    assert 400 == await door.status(**upgrade)  # another protocol than tty
    assert 400 == await door.status()
    assert 0 == len(door.ttyd.hellos)


async def test_it_is_asked_again_who_may_come_in_once_a_logout_would_find_the_socket(door: Door) -> None:
    async with door.page():
        assert 2 == door.admitted


async def test_who_is_locked_by_another_process_is_closed_soon(door: Door) -> None:
    door.sockets._ask_again_s = 0.05
    async with door.page() as page:
        await until(lambda: door.ttyd.clients == 1)
        door.refusal = StoreUnavailableError("the database is away")  # which costs nobody a terminal
        await asyncio.sleep(0.2)
        await page.send_bytes(b"0x")
        assert b"x" == await received(page, 1)
        door.refusal = web.HTTPForbidden()
        assert (4401, "you are logged out") == await ending(page)
    await until(lambda: door.ttyd.clients == 0)


@pytest.mark.usefixtures("silent_pages")
async def test_an_account_has_so_many_terminals_and_the_next_is_told_why_it_is_none(door: Door) -> None:
    async with aiohttp.ClientSession() as browser:
        url = f"{door.url}/terminal/ws"
        pages = [await browser.ws_connect(url, protocols=["tty"]) for _ in range(MAX_SOCKETS)]
        async with door.page() as page:
            assert (FAILED_CODE, "you have too many terminals open: close some") == await ending(page)
        assert 400 == await door.status()
        await asyncio.gather(*(page.close() for page in pages))
    await until(lambda: door.sockets._open == {})


async def test_a_server_that_stops_says_so(tmp_path: Path) -> None:
    ttyd, path = FakeTtyd(), tmp_path / "ttyd.sock"

    async def admit(_request: web.Request) -> Account:
        return ALICE

    sockets = TerminalSockets(SocketTerminals(path), admit)
    application = web.Application()
    application.add_routes(sockets.routes())

    async def stop(_application: web.Application) -> None:
        sockets.stop()

    application.on_shutdown.append(stop)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=10)
    async with asyncio.timeout(120), ttyd.listening(path):
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/terminal/ws"
        async with aiohttp.ClientSession() as browser, browser.ws_connect(url, protocols=["tty"]) as page:
            await page.send_str(json.dumps(HELLO))
            await until(lambda: ttyd.clients == 1)
            stopping = asyncio.create_task(runner.cleanup())
            assert (1012, "the server is being restarted") == await ending(page)
            await stopping


async def test_a_slow_browser_holds_the_output_back_and_loses_none(door: Door) -> None:
    total = 24 * 1024 * 1024
    sent = hashlib.sha256()
    pieces = random.Random(1)  # noqa: S311 - data that does not repeat

    async def flood(websocket: web.WebSocketResponse) -> None:
        for _ in range(total // 4096):
            piece = pieces.randbytes(4096)
            sent.update(piece)
            await websocket.send_bytes(b"0" + piece)

    door.ttyd.session = flood
    async with door.page() as page:
        await until(lambda: door.terminals.streams)
        stream = door.terminals.streams[0]
        # aiohttp's client reads ahead a little; what the kernels hold of two sockets comes on top.
        before = -1
        while before != stream.bytes_read:
            before = stream.bytes_read
            await asyncio.sleep(0.3)
        assert stream.bytes_read < 12 * 1024 * 1024
        output = hashlib.sha256()
        left = total
        while left:
            data = (await page.receive_bytes())[1:]
            output.update(data)
            left -= len(data)
        assert sent.hexdigest() == output.hexdigest()
        assert (1000, "the session has ended") == await ending(page)


async def test_a_browser_that_takes_nothing_at_all_is_closed_all_the_same(door: Door) -> None:
    async def flood(websocket: web.WebSocketResponse) -> None:
        while True:
            await websocket.send_bytes(b"0" + b"x" * 4096)

    door.ttyd.session = flood
    async with door.page() as page:
        connection = page._response.connection
        assert connection is not None
        assert isinstance(connection.transport, asyncio.Transport)
        connection.transport.pause_reading()
        await until(lambda: door.ttyd.clients == 1)
        await asyncio.sleep(0.3)
        door.refusal = web.HTTPForbidden()
        door.sockets.ask_again(ALICE.userhash)
        await until(lambda: door.ttyd.clients == 0)
        await until(lambda: door.sockets._open == {})


async def misbehaving(path: Path, answer: bytes) -> asyncio.Server:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(handle, str(path))


WRONG_ACCEPT = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0" * 100000,
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        WRONG_ACCEPT,
        b"HTTP/1.1 101 x\r\n" + b"x: y\r\n" * 10000,
    ],
    ids=["nothing", "zeroes", "ssh", "http", "a wrong answer to the key", "endless headers"],
)
async def test_what_is_no_ttyd_is_an_error(tmp_path: Path, answer: bytes) -> None:
    async with asyncio.timeout(60), await misbehaving(tmp_path / "socket", answer):
        stream = await connect_stream(tmp_path / "socket")
        with pytest.raises(OSError):
            await connect(stream, TerminalSize(80, 24))


@pytest.mark.parametrize(
    "frame",
    [
        b"\x82\x7f\x00\x00\x00\xff\x00\x00\x00\x00",
        b"\xff\xff",
        b"\x80\x01x",
        b"\x82\x85masked000",
        b"\x88\x02\x03\xee",
    ],
    ids=["a frame of a terabyte", "no such opcode", "continues nothing", "masked", "closed with 1006"],
)
async def test_what_ceases_to_be_a_ttyd_breaks_off(door: Door, frame: bytes) -> None:
    async def misbehave(websocket: web.WebSocketResponse) -> None:
        await websocket.send_bytes(b"0first")
        request = websocket._req
        assert request is not None
        assert isinstance(request.transport, asyncio.Transport)
        request.transport.write(frame)
        await websocket.receive()

    door.ttyd.session = misbehave
    async with door.page() as page:
        assert b"first" == await received(page, 5)
        assert 1012 == (await ending(page))[0]


@pytest.mark.parametrize("breaks_off", [False, True])
async def test_what_ended_with_its_environment_is_told_why(door: Door, *, breaks_off: bool) -> None:
    async def end(websocket: web.WebSocketResponse) -> None:
        await websocket.send_bytes(b"0last")
        if breaks_off:
            transport = websocket._req.transport if websocket._req is not None else None
            assert isinstance(transport, asyncio.Transport)
            transport.write(b"\x81")
            transport.write(b"\xff" * 10)
            await websocket.receive()

    door.ttyd.session = end
    door.terminals.ended = RestartReason.OUT_OF_MEMORY
    async with door.page() as page:
        assert b"last" == await received(page, 4)
        assert (ENDED_CODE, "your environment ran out of memory") == await ending(page)


async def test_a_notice_is_drawn_over_the_first_row_of_each_terminal_of_the_account(door: Door) -> None:
    async with door.page() as one, door.page() as two:
        await until(lambda: door.ttyd.clients == 2)
        door.sockets.show("b" * 32, "not for alice")
        door.sockets.show(ALICE.userhash, "look here")
        shown = over_first_row("look here")
        assert [shown, shown] == [await received(page, len(shown)) for page in (one, two)]


def test_a_size_is_told_in_numbers_and_kept_within_reason() -> None:
    assert TerminalSize(80, 24) == parse_size(b'{"columns": 80, "rows": 24, "more": 1}')
    assert TerminalSize(1000, 1) == parse_size('{"columns": 100000, "rows": 0}')
    assert None is parse_size(b'{"columns": 80}')
    assert None is parse_size(b"\xff")
