"""The terminal's page, and who is let to its WebSocket."""

import aiohttp
import pytest

from rootblood.domain.accounts import Account
from rootblood.web.terminal.sockets import TerminalSockets
from tests.web.conftest import Browser, House, NewBrowser

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
    assert 9 == len(paths)
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
    assert 101 == (await browser.get("/terminal/ws", Origin=browser.url, **UPGRADE)).status


@pytest.mark.usefixtures("silent_pages")
@pytest.mark.parametrize("cause", ["logout", "new password", "lock", "deletion"])
async def test_what_ends_a_login_closes_its_terminals_at_once(
    house: House, alice: Account, new_browser: NewBrowser, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    """And not when the door asks again of itself, which it never does here."""
    defaults = TerminalSockets.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "ask_again_s", 3600.0)
    async with house.open() as url:
        browser = new_browser(url)
        await browser.log_in(alice.name)
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        async with browser.session.ws_connect(
            f"{url}/terminal/ws", protocols=["tty"], headers={"Origin": url, "Cookie": cookies}
        ) as websocket:
            if cause == "logout":
                await browser.press("/logout")
            elif cause == "new password":
                await house.accounts.set_password(alice.name, "another password")
            elif cause == "lock":
                await house.accounts.lock(alice.name)
            else:
                await house.accounts.delete(alice.name)
            message = await websocket.receive(timeout=60)
    assert (aiohttp.WSMsgType.CLOSE, 4401) == (message.type, message.data)
