"""The client's side of ttyd: one terminal, over a stream into the environment.

ttyd speaks WebSocket, and in it messages whose first byte is their kind. Both are spoken here to their end,
and nothing of either is passed on: whoever listens on that socket is the account's own, and hostile input.

Only what ttyd 1.7.7 does right is used of it. Its PAUSE does nothing and its RESUME loses output, so a slow
reader holds the stream back instead. Its title is the command line that it runs and its preferences are for
its own page; both are dropped, as a session's own titles come with its output.
"""

import json
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

_INPUT, _RESIZE = b"0", b"1"  # to ttyd
_OUTPUT = b"0"  # from it

_MAX_FRAME_BYTES = 1024 * 1024
"""Of what ttyd sends; its own are as long as what it reads at a time, some 4 KiB."""


class ByteStream(Protocol):
    """What ttyd is spoken to over."""

    async def read(self) -> bytes:
        """What has come, at least one byte of it; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Send `data`, waiting while the other end takes nothing."""

    def close(self) -> None:
        """End it in both directions."""


@dataclass(frozen=True, slots=True)
class TerminalSize:
    """Of a terminal, in characters."""

    columns: int
    rows: int


class Terminal:
    """An open terminal. Made by `connect`."""

    def __init__(self, stream: ByteStream, protocol: ClientProtocol) -> None:
        self._stream = stream
        self._protocol = protocol
        self._output: list[bytes] = []
        self._is_output = False
        self._ended = False

    async def read(self) -> bytes:
        """The output since the last call, waiting for some.

        Empty when it is over: what ran in the terminal has ended, or was detached. A ttyd that ends with its
        last client (`-q`) does not wait to say so in WebSocket's way, so the end of the stream is enough.

        Raises:
            OSError: the way there broke off, or what is there is no ttyd any more.
        """
        while not self._output and not self._ended:
            await self._receive()
        output = b"".join(self._output)
        self._output.clear()
        if not output and self._protocol.parser_exc is not None:
            raise ConnectionAbortedError("not WebSocket") from self._protocol.parser_exc
        return output

    async def write(self, data: bytes) -> None:
        """Type `data`, waiting while the environment takes nothing; lost when the terminal is over."""
        await self._send(_INPUT + data)

    async def resize(self, size: TerminalSize) -> None:
        """Tell the terminal its size."""
        await self._send(_RESIZE + json.dumps({"columns": size.columns, "rows": size.rows}).encode())

    def close(self) -> None:
        """Hang up. A session of tmux stays."""
        self._stream.close()

    async def _send(self, message: bytes) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_binary(message)
            await self.flush()

    async def _receive(self) -> None:
        data = await self._stream.read()
        if data:
            await self.feed(data)
        if not data or self._protocol.state is not State.OPEN:
            self._ended = True

    async def feed(self, data: bytes) -> None:
        """Take what has come over the stream; of use to `connect` alone."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        await self.flush()

    async def flush(self) -> None:
        """Send what the protocol has to say; of use to `connect` alone."""
        for data in self._protocol.data_to_send():
            if data:
                await self._stream.write(data)

    def _take(self, frame: Frame) -> None:
        data = bytes(frame.data)
        if frame.opcode in {Opcode.TEXT, Opcode.BINARY}:
            self._is_output = data[:1] == _OUTPUT
            data = data[1:]
        elif frame.opcode is not Opcode.CONT:
            return
        if self._is_output and data:
            self._output.append(data)


async def connect(stream: ByteStream, size: TerminalSize, session: str | None = None) -> Terminal:
    """Open a terminal of the ttyd at the other end of `stream`.

    Args:
        stream: is closed with the terminal, and when this fails.
        size: of the terminal.
        session: number of the tmux session to show, or `NEW`, see `rootblood.domain.tmux`; None takes the
            one detached last, or a new one.

    Raises:
        OSError: what is there is no ttyd, or one that is about to end.
    """
    query = urlencode([("arg", "session"), ("arg", session)]) if session is not None else ""
    protocol = ClientProtocol(
        WebSocketURI(secure=False, host="localhost", port=80, path="/ws", query=query),
        subprotocols=[Subprotocol("tty")],
        max_size=(None, _MAX_FRAME_BYTES),
    )
    terminal = Terminal(stream, protocol)
    try:
        await _shake_hands(stream, protocol, terminal)
        hello = {"AuthToken": "", "columns": size.columns, "rows": size.rows}
        protocol.send_binary(json.dumps(hello).encode())
        await terminal.flush()
    except BaseException:
        stream.close()
        raise
    return terminal


async def _shake_hands(stream: ByteStream, protocol: ClientProtocol, terminal: Terminal) -> None:
    protocol.send_request(protocol.connect())
    await terminal.flush()
    while protocol.state is State.CONNECTING:
        data = await stream.read()
        if not data:
            raise ConnectionResetError("closed in the handshake")
        await terminal.feed(data)
        if protocol.handshake_exc is not None:
            raise ConnectionRefusedError("not a ttyd") from protocol.handshake_exc
