"""A Docker socket that kills whoever asks a certain thing of the engine, before or after it is done."""

import contextlib
import os
import re
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from tests.e2e.proxy import EngineProxy

_CREDENTIALS = struct.Struct("3i")
"""PID, UID and GID."""

_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")


class KillingProxy(EngineProxy):
    """Forwards all, until it is told to kill."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.calls: list[str] = []
        """All that was asked of the engine, as `METHOD PATH`."""

        self._call: re.Pattern[str] | None = None
        self._after = False
        self._awaited: socket.socket | None = None

    def kill_at(self, call: str, *, after: bool = False) -> None:
        """Kill whoever makes the next such call, ahead of it, or after it is answered.

        Neither the call in the one case nor the answer in the other gets through.

        Args:
            call: a regular expression on `METHOD PATH`.
            after: whether the engine is to have done it.
        """
        self._after, self._awaited = after, None
        self._call = re.compile(call)

    @override
    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._is_due(source, sink, data):
                    self._call = None
                    _kill_peer(sink if source is self._awaited else source)
                    break
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _is_due(self, source: socket.socket, sink: socket.socket, data: bytes) -> bool:
        request = _REQUEST.match(data)
        if request is None:
            return self._call is not None and source is self._awaited
        self.calls.append(f"{request[1].decode()} {request[2].decode()}")
        if self._call is None or self._call.search(self.calls[-1]) is None:
            return False
        self._awaited = sink
        return not self._after


def _kill_peer(client: socket.socket) -> None:
    """Kill the process at the other end of a UNIX socket: unix(7), SO_PEERCRED."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    os.kill(_CREDENTIALS.unpack(credentials)[0], signal.SIGKILL)


@contextmanager
def killing_proxy(path: Path) -> Iterator[KillingProxy]:
    """Such a proxy for the length of a block."""
    proxy = KillingProxy(path)
    proxy.open()
    try:
        yield proxy
    finally:
        proxy.cut()
