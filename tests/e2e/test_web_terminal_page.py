"""The terminal's page in a real browser, Debian's Chromium, under the content security policy of the site."""

import os
import re
import shutil
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import pytest
from aiohttp import web
from blockbuster import BlockBuster
from playwright.async_api import Browser, Page, async_playwright, expect

from rootblood.app import open_core
from rootblood.domain.accounts import Account
from rootblood.services.terminals import Terminals
from rootblood.settings import EngineSettings, Settings
from rootblood.web.api import PREFIX
from rootblood.web.terminal import TerminalSockets
from tests.e2e.installation import Installation

POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'"
BASE = "/box"
"""Path of the site, as behind a proxy."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
]


@pytest.fixture
async def sockets_and_url(
    installation: Installation, no_blocking_calls: BlockBuster
) -> AsyncIterator[tuple[TerminalSockets, str]]:
    settings = Settings(
        state_dir=installation.directory / "state",
        keys_dir=installation.directory / "keys",
        engine=EngineSettings(instance=installation.instance),
    )
    no_blocking_calls.deactivate()  # keys are read at the start, and assets here
    async with open_core(settings) as core:

        async def admit(_request: web.Request) -> Account:
            return await core.accounts.get("alice")

        sockets = TerminalSockets(Terminals(core.environments), admit)
        application = web.Application()
        application.add_routes(
            web.RouteDef(route.method, BASE + route.path, route.handler, route.kwargs)
            for route in sockets.routes()
        )
        root = files("rootblood.web")
        template = root.joinpath("pages", "templates", "terminal.html").read_text()
        page = re.sub(r"{{ asset\('([^']+)'\) }}", r"/assets/\1", template).replace("{{ base }}", BASE)
        page = page.replace("{{ api }}", PREFIX)

        async def show(_request: web.Request) -> web.Response:
            return web.Response(
                text=page, content_type="text/html", headers={"Content-Security-Policy": POLICY}
            )

        application.router.add_get(f"{BASE}/terminal", show)
        application.router.add_get("/favicon.ico", show)
        application.router.add_static(f"{BASE}/assets", Path(str(root.joinpath("assets"))))
        application.on_shutdown.append(sockets.stop)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield sockets, f"http://127.0.0.1:{runner.addresses[0][1]}{BASE}/terminal"
        await runner.cleanup()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium is not None, "there is no chromium: scripts/test-tools installs it"
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield made
        await made.close()


async def refuse(_request: web.Request) -> Account:
    raise web.HTTPForbidden


async def rows(page: Page) -> str:
    """What the terminal shows."""
    return await page.locator(".xterm-rows").inner_text()


async def wait_for(page: Page, text: str) -> None:
    await expect(page.locator(".xterm-rows")).to_contain_text(text, timeout=20_000)


async def shoot(page: Page, name: str) -> None:
    """Keep a screenshot where TEST_ARTEFACTS says, if it says so."""
    directory = os.environ.get("TEST_ARTEFACTS")
    if directory is not None:
        await page.screenshot(path=f"{directory}/{name}.png", caret="initial")


@pytest.mark.timeout(180)
async def test_type_and_see_then_lose_the_connection_and_find_the_same_screen(
    sockets_and_url: tuple[TerminalSockets, str], browser: Browser
) -> None:
    sockets, url = sockets_and_url
    page = await browser.new_page(color_scheme="dark")
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(url)
    await expect(page.locator("#state")).to_have_text("Connected", timeout=20_000)
    await page.keyboard.type("echo $((6 * 7)) and; stty size; printf '\\e[38;2;1;200;3mgreen\\e[m\\n'\n")
    await wait_for(page, "42 and")
    await wait_for(page, "green")
    colour = await page.get_by_text("green", exact=True).last.evaluate("node => getComputedStyle(node).color")
    assert "rgb(1, 200, 3)" == colour
    await shoot(page, "terminal-dark")

    before = await rows(page)
    await page.set_viewport_size({"width": 900, "height": 500})
    await page.keyboard.type("clear; echo no''w $(stty size)\n")
    await wait_for(page, "now ")
    assert before != await rows(page)

    await sockets.stop(web.Application())
    await expect(page.locator("#notice")).to_contain_text("Trying again")
    await shoot(page, "terminal-reconnecting")
    await expect(page.locator("#state")).to_have_text("Connected", timeout=20_000)
    await wait_for(page, "now ")

    await page.reload()
    await wait_for(page, "now ")
    await page.emulate_media(color_scheme="light")
    await expect(page.locator("html")).to_have_class("light")
    await shoot(page, "terminal-light")

    admit = sockets._admit
    sockets._admit = refuse
    sockets.ask_again(next(iter(sockets._open)))
    await expect(page.locator("#notice")).to_contain_text("You are logged out")
    sockets._admit = admit
    assert [] == complaints
    await page.get_by_role("button", name="Log in").click()  # here, without a login, the page again
    await wait_for(page, "now ")
    await page.keyboard.type("exit\n")
    await expect(page.locator("#notice")).to_contain_text("The session has ended")


@pytest.mark.timeout(180)
async def test_a_phone_has_a_key_bar(sockets_and_url: tuple[TerminalSockets, str], browser: Browser) -> None:
    _, url = sockets_and_url
    context = await browser.new_context(
        viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True, color_scheme="light"
    )
    page = await context.new_page()
    await page.goto(url)
    await expect(page.locator("#state")).to_have_text("Connected", timeout=20_000)
    await page.keyboard.type("sleep 600\n")
    await wait_for(page, "sleep 600")
    await page.get_by_role("button", name="Ctrl").tap()
    await expect(page.get_by_role("button", name="Ctrl")).to_have_attribute("aria-pressed", "true")
    await page.keyboard.type("c")
    await wait_for(page, "^C")
    await page.keyboard.type("clear; echo fir''st\n")
    await wait_for(page, "first")
    await page.get_by_role("button", name="Up").tap()
    await wait_for(page, "clear; echo fir''st")
    await shoot(page, "terminal-phone")
    await page.keyboard.type("; exit\n")
    await expect(page.locator("#notice")).to_contain_text("The session has ended")
    await page.get_by_role("button", name="New session").tap()
    await expect(page.locator("#state")).to_have_text("Connected", timeout=20_000)
    await page.keyboard.type("exit\n")
    await expect(page.locator("#notice")).to_contain_text("The session has ended")
    await context.close()
