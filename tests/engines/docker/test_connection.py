"""A client closes what it cannot use at once, not when the garbage collector comes for the error."""

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from docker.errors import DockerException
from requests.exceptions import RequestException

from rootblood.engines.docker.connection import ClosingClient

TIMEOUT_S = 60

VERSION = b'{"ApiVersion": "1.41"}'


def client(path: Path) -> ClosingClient:
    return ClosingClient(f"unix://{path}", timeout_s=TIMEOUT_S, connections=2)


def open_sockets() -> set[str]:
    """The sockets of this process, by the kernel's word."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            found.add(str(descriptor.readlink()))
    return {target for target in found if target.startswith("socket:")}


@contextmanager
def engine_that_answers(path: Path, body: bytes, header: bytes = b"") -> Iterator[Future[bytes]]:
    """An engine for one request; the future is what the connection brings after it, nothing if its end."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), header, body)

    def serve() -> bytes:
        listener.settimeout(TIMEOUT_S)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(TIMEOUT_S)
            connection.recv(65536)
            connection.sendall(answer)
            return connection.recv(1)

    with closing(socket.socket(socket.AF_UNIX)) as listener, ThreadPoolExecutor(1) as thread:
        listener.bind(str(path))
        listener.listen()
        yield thread.submit(serve)


def test_nothing_is_left_where_nobody_listens(tmp_path: Path) -> None:
    before = open_sockets()
    with pytest.raises(DockerException) as failure:
        client(tmp_path / "absent.sock")
    assert set() == open_sockets() - before
    assert "FileNotFoundError" in str(failure.value)  # kept until here, and all its frames with it


def test_nothing_is_left_where_an_engine_has_gone_away(tmp_path: Path) -> None:
    path, before = tmp_path / "docker.sock", open_sockets()
    with engine_that_answers(path, VERSION, b"Connection: close\r\n"):
        api = client(path)
    with closing(api):
        assert "1.41" == api.api_version
        with pytest.raises(RequestException) as failure:
            api.version()
        assert set() == open_sockets() - before
        assert "Connection refused" in str(failure.value)


def test_the_connection_to_an_engine_that_answers_nonsense_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with engine_that_answers(path, b"{}") as rest:
        with pytest.raises(DockerException) as failure:
            client(path)
        assert b"" == rest.result(TIMEOUT_S + 1)
        assert "ApiVersion" in str(failure.value)
