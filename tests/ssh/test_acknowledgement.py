"""What a client sends before its first channel is acknowledged at once."""

import socket
from collections.abc import Iterator
from typing import Any, cast

import asyncssh
import pytest

from rootblood.ssh.acknowledgement import PromptAcknowledgement


class Received:
    """As much of a connection as is needed."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.data = b""

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        return self.socket

    def data_received(self, data: bytes, datatype: asyncssh.DataType = None) -> None:
        del datatype
        self.data += data


@pytest.fixture
def connection() -> Iterator[Received]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            yield Received(accepted)


def is_prompt(connection: Received) -> bool:
    return bool(connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK))


def delay(connection: Received) -> None:
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)


def test_each_read_is_acknowledged_at_once_until_it_is_stopped(connection: Received) -> None:
    prompt = PromptAcknowledgement(cast("asyncssh.SSHServerConnection", connection))
    for _ in range(2):
        delay(connection)
        connection.data_received(b"a")
        assert is_prompt(connection)
    prompt.stop()
    delay(connection)
    connection.data_received(b"b")
    assert not is_prompt(connection)
    assert b"aab" == connection.data


def test_a_connection_that_closes_meanwhile_is_no_error(connection: Received) -> None:
    PromptAcknowledgement(cast("asyncssh.SSHServerConnection", connection))
    connection.socket.close()
    connection.data_received(b"last words")
    assert b"last words" == connection.data
