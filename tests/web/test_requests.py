"""What the door waits for when the server stops, and what it does not."""

import asyncio
import time
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.web.conftest import House

WINDOW_S = 30.0


async def test_idle_connections_and_silent_ones_keep_no_server_from_its_end(house: House) -> None:
    async with AsyncExitStack() as left, aiohttp.ClientSession() as browser:
        async with house.open(drain_s=WINDOW_S) as url:
            async with browser.get(f"{url}/healthz") as answer:
                assert "ok\n" == await answer.text()
            reader, writer = await connect(url)
            left.callback(writer.close)
            began_at = time.monotonic()
        assert time.monotonic() - began_at < WINDOW_S / 2
        assert b"" == await reader.read()


async def test_who_had_just_connected_is_answered_though_the_door_is_closed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rootblood.web.requests._FIRST_REQUEST_S", 5.0)  # from the door's end to the request
    async with AsyncExitStack() as left:
        async with house.open(drain_s=WINDOW_S) as url:
            reader, writer = await connect(url)
            left.callback(writer.close)
            asking = asyncio.ensure_future(ask_once_nobody_listens(url, writer))
        await asking
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close\r\n" in answer


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def ask_once_nobody_listens(url: str, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            _, other = await connect(url)
        except ConnectionRefusedError:
            break
        other.close()
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
