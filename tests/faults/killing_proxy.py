"""A Docker socket that kills whoever asks a certain thing of the engine, before or after it is done."""

import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from tests.e2e.proxy import EngineProxy

_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")


class KillingProxy(EngineProxy):
    """Forwards all, until it is told to kill."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.calls: list[str] = []
        """All that was asked of the engine, as `METHOD PATH`."""

        self._call: re.Pattern[str] | None = None
        self._after = False
        self._kill: Callable[[], None] = lambda: None
        self._awaited: socket.socket | None = None

    def kill_at(self, call: str, *, after: bool, kill: Callable[[], None]) -> None:
        """Kill at the next call, a regular expression on `METHOD PATH`; with `after`, once it is answered.

        Neither the call in the one case nor the answer in the other gets through.
        """
        self._after, self._kill, self._awaited = after, kill, None
        self._call = re.compile(call)

    @override
    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._is_due(source, sink, data):
                    self._call = None
                    self._kill()
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


@contextmanager
def killing_proxy(path: Path) -> Iterator[KillingProxy]:
    """Such a proxy for the length of a block."""
    proxy = KillingProxy(path)
    proxy.open()
    try:
        yield proxy
    finally:
        proxy.cut()
