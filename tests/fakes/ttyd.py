"""A stand-in for ttyd: its protocol on a UNIX socket, in the test's own loop, with what came in kept.

It answers input with the same as output, and can be told to misbehave. Run with the path of a socket it is a
process of its own, which ends with its last client, and writes down what it was told beside the socket.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import WSMsgType, web

Session = Callable[[web.WebSocketResponse], Awaitable[None]]


@dataclass
class FakeTtyd:
    """What it was told, and what it does once it knows the size."""

    hellos: list[dict[str, object]] = field(default_factory=list)
    arguments: list[list[str]] = field(default_factory=list)
    """Of each client's URL."""

    typed: bytearray = field(default_factory=bytearray)
    resizes: list[dict[str, int]] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)
    """Messages of other kinds."""

    clients: int = 0
    session: Session | None = None
    """In place of the echo."""

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(protocols=["tty"])
        await websocket.prepare(request)
        self.arguments.append(request.query.getall("arg", []))
        self.hellos.append(json.loads(await websocket.receive_bytes()))
        self.clients += 1
        try:
            await websocket.send_bytes(b"1shell (host)")
            await websocket.send_bytes(b'2{"fontSize": 99}')
            await (self.session or self._echo)(websocket)
        finally:
            self.clients -= 1
        return websocket

    async def _echo(self, websocket: web.WebSocketResponse) -> None:
        async for message in websocket:
            if message.type is not WSMsgType.BINARY:
                continue
            kind, data = message.data[:1], message.data[1:]
            if kind == b"0":
                self.typed += data
                if data == b"exit\r":
                    return
                await websocket.send_bytes(b"0" + data)
            elif kind == b"1":
                self.resizes.append(json.loads(data))
            else:
                self.others.append(message.data)

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        application = web.Application()
        application.router.add_get("/ws", self.handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.UnixSite(runner, str(path)).start()
            yield
        finally:
            await runner.cleanup()


class SocketStream:
    """A UNIX socket as a `ByteStream`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.bytes_read = 0

    async def read(self) -> bytes:
        data = await self._reader.read(65536)
        self.bytes_read += len(data)
        return data

    async def write(self, data: bytes) -> None:
        with suppress(ConnectionError):  # lost, as the Protocol has it
            self._writer.write(data)
            await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


async def connect_stream(path: Path) -> SocketStream:
    return SocketStream(*await asyncio.open_unix_connection(str(path)))


async def run(path: Path) -> None:
    """Until the last client is gone, or none has come for half a minute."""
    ttyd = FakeTtyd()
    async with ttyd.listening(path):
        async with asyncio.timeout(30):
            while not ttyd.hellos:  # noqa: ASYNC110 - nothing else runs here
                await asyncio.sleep(0.01)
        while ttyd.clients:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    told = {"hellos": ttyd.hellos, "arguments": ttyd.arguments, "resizes": ttyd.resizes}
    path.with_suffix(".json").write_text(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
