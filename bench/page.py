"""A terminal's page without its browser: RFC 6455 and ttyd's messages, with next to no work of its own.

It speaks to a ttyd and to RootBlood's door alike. A client that takes its time would hide the difference
between the two: a door that puts small messages together would save it more than it costs.
"""

import base64
import json
import os
import socket
from collections.abc import Mapping
from io import BufferedReader
from urllib.parse import urlsplit

_TIMEOUT_S = 60.0
_BUFFER_BYTES = 256 * 1024

_FIN, _OPCODE, _MASKED, _LENGTH = 0x80, 0x0F, 0x80, 0x7F  # in the first two bytes of a frame
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_LONG, _LONGER = 126, 127  # lengths that say that the length follows, in two bytes or in eight

_INPUT = _OUTPUT = b"0"


class Page:
    """An open terminal of 80 by 24 characters.

    Args:
        url: of the WebSocket, `http://...`.
        headers: of the handshake, besides those that every WebSocket has.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        at = urlsplit(url)
        self._socket = socket.create_connection((at.hostname or "", at.port or 80), _TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as browsers do
        self._received = BufferedReader(self._socket.makefile("rb", buffering=0), _BUFFER_BYTES)
        self._is_output = False
        self._shake_hands(f"{at.path}?{at.query}", at.netloc, headers)
        self._send(_TEXT, json.dumps({"AuthToken": "", "columns": 80, "rows": 24}).encode())

    def type(self, keys: bytes) -> None:
        """Send `keys`."""
        self._send(_BINARY, _INPUT + keys)

    def read(self) -> bytes:
        """Output, at least one byte of it, as it comes.

        Raises:
            ConnectionError: the terminal is over.
        """
        while True:
            opcode, data = self._receive()
            if opcode in {_TEXT, _BINARY}:
                self._is_output = data[:1] == _OUTPUT
                data = data[1:]
            elif opcode == _PING:
                self._send(_PONG, data)
            elif opcode == _CLOSE:
                raise ConnectionAbortedError(f"the terminal was closed: {data[2:].decode()}")
            if opcode in {_TEXT, _BINARY, _CONTINUATION} and self._is_output and data:
                return data

    def read_until(self, last: bytes) -> int:
        """Take output until `last` is in it, however it was cut; how many bytes came."""
        count, tail = 0, b""
        while True:
            data = self.read()
            count += len(data)
            tail += data
            if last in tail:
                return count
            tail = tail[-len(last) :]

    def close(self) -> None:
        """Leave."""
        self._received.close()
        self._socket.close()

    def _shake_hands(self, path: str, host: str, headers: Mapping[str, str]) -> None:
        lines = {
            "Host": host,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Protocol": "tty",
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._socket.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        status = self._received.readline()
        if b" 101 " not in status:
            raise ConnectionRefusedError(f"no WebSocket: {status.decode().strip()}")
        while self._received.readline() not in {b"\r\n", b""}:
            pass

    def _send(self, opcode: int, data: bytes) -> None:
        if len(data) >= _LONG:
            raise ValueError("a page sends no more than it types")
        mask = bytes(4)  # it has to be there; this one changes nothing
        self._socket.sendall(bytes((_FIN | opcode, _MASKED | len(data))) + mask + data)

    def _receive(self) -> tuple[int, bytes]:
        first, second = self._take(2)
        length = second & _LENGTH
        if length == _LONG:
            length = int.from_bytes(self._take(2), "big")
        elif length == _LONGER:
            length = int.from_bytes(self._take(8), "big")
        return first & _OPCODE, self._take(length)

    def _take(self, count: int) -> bytes:
        data = self._received.read(count)
        if len(data) < count:
            raise ConnectionResetError("the terminal broke off")
        return data
