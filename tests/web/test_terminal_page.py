"""The terminal's page, and who is let to its WebSocket."""

import aiohttp

from rootblood.domain.accounts import Account
from tests.web.conftest import Browser

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": "tty",
}


async def test_the_page_is_for_who_is_logged_in(browser: Browser, alice: Account) -> None:
    assert (303, "/login") == (
        (await browser.get("/terminal")).status,
        (await browser.get("/terminal")).location,
    )
    await browser.log_in(alice.name)
    page = await browser.get("/terminal")
    assert 200 == page.status
    assert 'data-socket="/terminal/ws"' in page.text
    assert 'href="/terminal"' in (await browser.get("/")).text


async def test_what_the_page_refers_to_is_there(browser: Browser, alice: Account) -> None:
    await browser.log_in(alice.name)
    page = (await browser.get("/terminal")).text
    paths = {word.split('"')[1] for word in page.split() if '="/assets/' in word}
    assert 8 == len(paths)
    assert {200} == {(await browser.get(path)).status for path in paths}


async def test_the_websocket_is_for_this_site_s_own_page_alone(browser: Browser, alice: Account) -> None:
    await browser.log_in(alice.name)
    others = ["null", "https://elsewhere.test", browser.url + ".elsewhere.test", browser.url.upper(), ""]
    for origin in others:
        assert 403 == (await browser.get("/terminal/ws", Origin=origin, **UPGRADE)).status
    assert 403 == (await browser.get("/terminal/ws", **UPGRADE)).status


async def test_the_websocket_is_for_who_is_logged_in(browser: Browser, alice: Account) -> None:
    assert 403 == (await browser.get("/terminal/ws", Origin=browser.url, **UPGRADE)).status
    await browser.log_in(alice.name)
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    async with browser.session.ws_connect(
        browser.url + "/terminal/ws", protocols=["tty"], headers={"Origin": browser.url, "Cookie": cookies}
    ) as websocket:
        await browser.press("/logout")
        message = await websocket.receive(timeout=60)
    assert (aiohttp.WSMsgType.CLOSE, 4401) == (message.type, message.data)
