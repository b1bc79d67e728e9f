"""Sockets that are opened, shared or handed over."""

import os
import select
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from rootblood import listening
from rootblood.errors import ConfigurationError
from rootblood.listening import Listener, handed_sockets


@contextmanager
def opened(listener: Listener) -> Iterator[Listener]:
    with closing(listener):
        yield listener


async def test_an_address_has_one_port_whatever_its_addresses() -> None:
    with opened(Listener("localhost", 0)) as listener:
        sockets = await listener.open()

        assert 1 == len({made.getsockname()[1] for made in sockets})
        assert f"localhost:{sockets[0].getsockname()[1]}" == listener.address


async def test_an_address_of_ipv6_is_written_as_in_a_url() -> None:
    with opened(Listener("::1", 0)) as listener:
        (made,) = await listener.open()

        assert f"[::1]:{made.getsockname()[1]}" == listener.address


async def test_a_port_is_shared_only_where_both_want_that() -> None:
    with opened(Listener("127.0.0.1", 0, reuse_port=True)) as first:
        (made,) = await first.open()
        port = made.getsockname()[1]
        made.listen()
        with opened(Listener("127.0.0.1", port, reuse_port=True)) as second:
            assert [port] == [each.getsockname()[1] for each in await second.open()]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}: address already in use"):
            await Listener("127.0.0.1", port).open()


async def test_new_connections_go_to_the_younger_socket_once_the_older_one_retires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listening, "_ARRIVING_S", 0)
    older, younger = (Listener("127.0.0.1", 0, reuse_port=True) for _ in range(2))
    with opened(older), opened(younger):
        (old,) = await older.open()
        younger._port = old.getsockname()[1]
        (new,) = await younger.open()
        old.listen()
        new.listen()
        await older.retire()

        with pytest.raises(BlockingIOError):
            _connect_and_accept(old, old, within_s=0.2)
        old.close()
        for _ in range(20):
            _connect_and_accept(new, new)


async def test_who_retires_alone_goes_on_accepting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_ARRIVING_S", 0)
    with opened(Listener("127.0.0.1", 0, reuse_port=True)) as listener:
        (made,) = await listener.open()
        made.listen()
        await listener.retire()

        _connect_and_accept(made, made)


def _connect_and_accept(to: socket.socket, accepting: socket.socket, within_s: float = 60) -> None:
    with closing(socket.create_connection(to.getsockname())):
        select.select([accepting], [], [], within_s)  # a client may know of its connection a moment earlier
        accepting.accept()[0].close()


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Two listening sockets from where they are looked for, and what the environment says of them."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        first = max(one.fileno(), other.fileno()) + 100
        for number, made in enumerate((one, other)):
            os.dup2(made.fileno(), first + number)
        monkeypatch.setattr(listening, "_FIRST_FD", first)
        yield {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "ssh:web", "HOME": "/"}


async def test_sockets_are_taken_by_their_names_once(handed: dict[str, str]) -> None:
    found = handed_sockets(handed)

    assert ["ssh", "web"] == list(found)
    assert {"HOME": "/"} == handed
    with opened(Listener("example.org", 22, handed=found["ssh"])) as listener, closing(found["web"][0]):
        assert found["ssh"] == await listener.open()
        assert f"127.0.0.1:{found['ssh'][0].getsockname()[1]}" == listener.address
        assert not found["ssh"][0].get_inheritable()


def test_sockets_of_another_process_are_left_alone() -> None:
    told = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "ssh:web"}

    assert {} == handed_sockets(told)
    assert {} == told


@pytest.mark.parametrize(
    ("family", "kind"), [(socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)]
)
def test_what_does_not_listen_on_tcp_is_refused(
    monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily, kind: socket.SocketKind
) -> None:
    with socket.socket(family, kind) as wrong:
        monkeypatch.setattr(listening, "_FIRST_FD", os.dup(wrong.fileno()))
        told = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "ssh"}

        with pytest.raises(ConfigurationError, match="'ssh' does not listen on TCP"):
            handed_sockets(told)
