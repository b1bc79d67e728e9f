"""A Docker socket that can be taken away and brought back: it forwards to the real one while it is there."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DOCKER_SOCKET = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")


class EngineProxy:
    """Listens at `path` between `open` and `cut`; `cut` breaks what is connected, too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._server: socket.socket | None = None
        self._open_sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def open(self) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen(64)
        self._run(self._accept, self._server)

    def cut(self) -> None:
        if self._server is None:
            return
        self.path.unlink()
        self._server.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(timeout=10)  # that accepts: only then is it known who is connected
        for sock in self._open_sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(timeout=10)
        for sock in (self._server, *self._open_sockets):
            sock.close()
        self._server = None
        self._open_sockets.clear()
        self._threads.clear()

    def _run(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                engine = socket.socket(socket.AF_UNIX)
                self._open_sockets += [client, engine]
                engine.connect(DOCKER_SOCKET)
                self._run(self._copy, client, engine)
                self._run(self._copy, engine, client)

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def engine_proxy(path: Path) -> Iterator[EngineProxy]:
    """A proxy that is open, until the test cuts it or the block ends."""
    proxy = EngineProxy(path)
    proxy.open()
    try:
        yield proxy
    finally:
        proxy.cut()
