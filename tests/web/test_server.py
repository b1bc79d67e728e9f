"""The HTTP door, as far as it goes: /healthz."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from rootblood.settings import WebSettings
from rootblood.web.server import WebDoor


@pytest.fixture
async def url() -> AsyncIterator[str]:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(WebDoor(WebSettings(port=0)).serve(ready, stop))
        yield await ready
        stop.set()


async def answer(url: str, method: str = "GET") -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.request(method, url) as response:
        return response.status, await response.text()


async def test_healthz_says_ok_and_is_not_cached(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as response:
        assert (200, "ok\n", "no-store") == (
            response.status,
            await response.text(),
            response.headers["Cache-Control"],
        )


async def test_nothing_else_is_there(url: str) -> None:
    assert 404 == (await answer(f"{url}/"))[0]
    assert 404 == (await answer(f"{url}/%2e%2e/healthz/x"))[0]
    assert 405 == (await answer(f"{url}/healthz", "POST"))[0]


async def test_the_url_is_the_public_one_where_there_is_one() -> None:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(WebDoor(WebSettings(port=0, public_url="https://example.test")).serve(ready, stop))
        assert "https://example.test" == await ready
        stop.set()


async def test_an_address_in_use_is_an_error(url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with pytest.raises(OSError, match="address already in use"):
        await WebDoor(WebSettings(port=port)).serve(ready, asyncio.Event())
    assert not ready.done()
