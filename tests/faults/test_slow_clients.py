"""Clients that take their time: each is dropped within half a minute, and nobody else has to wait for them.

Time limits are those an installation has by default. All of these clients are at it at once, so that the half
minute passes but once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlsplit

import asyncssh
import pytest
from typing_extensions import override

from tests.e2e.conftest import client_of
from tests.e2e.http_browser import Browser
from tests.e2e.installation import Installation, Server
from tests.e2e.outcomes import assert_stays_up, says_ok

OF_EACH_KIND = 8
DROPPED_WITHIN_S = 30
NOTICED_WITHIN_S = 15
"""What a busy machine may take to do it, and to tell."""

FOREVER = 100_000
BODY = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"

Slow = Callable[[Server], Awaitable[None]]
"""Returns once the server has dropped it."""


def drips(port_of: Callable[[Server], int], beginning: bytes, endless: bytes) -> Slow:
    """A client that sends a beginning, and then a byte each half second."""

    async def come(server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(beginning)
        reading = asyncio.create_task(_until_end(reader))
        with suppress(ConnectionError):
            while not reading.done():
                writer.write(endless)
                await writer.drain()
                await asyncio.wait([reading], timeout=0.5)
        await reading
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    return come


async def _until_end(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        while await reader.read(2**16):
            pass


class Thinking(asyncssh.SSHClient):
    """Has been asked for its password."""

    @override
    async def password_auth_requested(self) -> str:
        await asyncio.Event().wait()
        raise AssertionError


async def thinks(server: Server) -> None:
    """A client that gets as far as the question for its password."""
    with pytest.raises((asyncssh.Error, ConnectionError)):
        await asyncssh.connect(
            "127.0.0.1",
            server.port,
            username="alice",
            client_factory=Thinking,
            client_keys=[],
            preferred_auth=["password"],
            known_hosts=None,
            agent_path=None,
            config=None,
            login_timeout=FOREVER,
        )


def ssh(server: Server) -> int:
    return server.port


def web(server: Server) -> int:
    port = urlsplit(server.web_url).port
    assert port is not None
    return port


KINDS: dict[str, Slow] = {
    "SSH, not a byte": drips(ssh, b"", b""),
    "SSH, a version without an end": drips(ssh, b"SSH-2.0-", b"x"),
    "SSH, a packet without an end": drips(ssh, b"SSH-2.0-slow\r\n\x00\x00\x80\x00\x04\x14", b"x"),
    "SSH, a password that does not come": thinks,
    "HTTP, not a byte": drips(web, b"", b""),
    "HTTP, a line without an end": drips(web, b"GET /", b"x"),
    "HTTP, headers without an end": drips(web, b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n"),
    "HTTP, a body without an end": drips(web, BODY + b"Content-Length: 60000\r\n\r\n", b"x"),
    "HTTP, chunks without an end": drips(web, BODY + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
}


async def test_they_are_dropped_and_disturb_nobody(own_installation: Installation) -> None:
    lasted_s: dict[str, list[float]] = {kind: [] for kind in KINDS}

    async def come(kind: str, server: Server) -> None:
        begin = time.monotonic()
        await KINDS[kind](server)
        lasted_s[kind].append(time.monotonic() - begin)

    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        assert await asyncio.to_thread(says_ok, alice)
        async with asyncio.timeout(120), asyncio.TaskGroup() as clients:
            slow = [clients.create_task(come(kind, server)) for kind in KINDS for _ in range(OF_EACH_KIND)]
            while not all(client.done() for client in slow):
                assert await asyncio.to_thread(says_ok, alice)
                status, _ = await asyncio.to_thread(Browser().fetch, f"{server.web_url}/login")
                assert status == 200
                await asyncio.wait(slow, timeout=1)
        assert_stays_up(server)

    longest_s = {kind: max(times) for kind, times in lasted_s.items()}
    assert {} == {
        kind: took for kind, took in longest_s.items() if took > DROPPED_WITHIN_S + NOTICED_WITHIN_S
    }
