"""Who comes from a banned network, at the HTTP door."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Network

import aiohttp
import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.networks import network_of
from rootblood.settings import WebSettings
from tests.web.conftest import Browser, House, NewBrowser
from tests.web.test_api import API, program

BANNED = network_of("192.0.2.0/24")
THERE = {"X-Forwarded-For": "192.0.2.7"}
ELSEWHERE = {"X-Forwarded-For": "203.0.113.7"}


@pytest.fixture
async def proxied(house: House) -> AsyncIterator[str]:
    """A door behind a proxy: where a client is, the tests say."""
    settings = WebSettings(trusted_proxies=(IPv4Network("127.0.0.1/32"),), public_url="http://box.test")
    async with house.open(settings) as url:
        yield url


@pytest.fixture
async def there(proxied: str, new_browser: NewBrowser) -> Browser:
    browser = new_browser(proxied, **THERE)
    browser.origin = "http://box.test"
    return browser


async def test_whatever_they_ask_for_is_refused_in_plain_text(
    house: House, there: Browser, proxied: str, new_browser: NewBrowser
) -> None:
    await house.bans.add(BANNED, reason="a secret of administrators", lifetime=None)

    for path in ("/", "/login", "/assets/style.css", "/healthz", "/nothing", f"{API}/openapi.json"):
        answer = await there.get(path)
        assert (403, "text/plain", "this network may not come in; ask your administrator\n") == (
            answer.status,
            answer.headers["Content-Type"].partition(";")[0],
            answer.text,
        )
        assert ("nosniff", "close") == (
            answer.headers["X-Content-Type-Options"],
            answer.headers["Connection"],
        )
    assert 200 == (await new_browser(proxied, **ELSEWHERE).get("/login")).status

    await house.bans.lift(BANNED)
    assert 200 == (await there.get("/login")).status


async def test_a_login_and_a_token_are_no_use_from_there(
    house: House, there: Browser, alice: Account
) -> None:
    await there.log_in()
    token = await program(there, house, alice)
    assert 200 == (await there.get("/")).status
    await house.bans.add(BANNED, reason="", lifetime=None)

    assert 403 == (await there.get("/")).status
    assert 403 == (await token.call("GET", "/environment")).status


@pytest.mark.usefixtures("silent_pages")
async def test_open_terminals_are_closed_at_once_and_others_are_not(
    house: House, proxied: str, new_browser: NewBrowser, alice: Account
) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        sockets = []
        for place in (THERE, ELSEWHERE):
            browser = new_browser(proxied, **place)
            browser.origin = "http://box.test"
            await browser.log_in(alice.name)
            cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
            headers = {**place, "Origin": "http://box.test", "Cookie": cookies}
            sockets.append(
                await session.ws_connect(proxied + "/terminal/ws", protocols=["tty"], headers=headers)
            )

        await house.bans.add(BANNED, reason="", lifetime=None)

        message = await sockets[0].receive()
        assert (aiohttp.WSMsgType.CLOSE, 1008, "this network may not come in; ask your administrator") == (
            message.type,
            message.data,
            message.extra,
        )
        await sockets[1].ping()
        await asyncio.sleep(1.5)  # longer than a request that is broken off has
        assert not sockets[1].closed
        assert None is sockets[1].exception()
        await sockets[1].close()


async def test_a_request_under_way_is_broken_off(
    house: House, there: Browser, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await program(there, house, alice)
    held, entered = asyncio.Event(), asyncio.Event()

    async def hold(*_arguments: object, **_options: object) -> bool:
        entered.set()
        await held.wait()
        return False

    monkeypatch.setattr(house.engine, "stop", hold)
    asking = asyncio.create_task(token.call("POST", "/environment/stop"))
    async with asyncio.timeout(60):
        await entered.wait()
        await house.bans.add(BANNED, reason="", lifetime=None)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await asking
    held.set()
