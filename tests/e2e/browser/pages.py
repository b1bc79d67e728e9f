"""A browser and the pages it shows, by what a person sees and does there."""

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

WAIT_MS = 60_000
"""For whatever a page is to show; on a machine that does much at once, it only guards against a hang."""

_NETWORK = re.compile(r"Failed to load resource|WebSocket connection to")
"""What Chromium says of a door that refuses or is away, which tests have on purpose."""


@dataclass
class Window:
    """As a browser of its own: its tabs share cookies and storage with no other window."""

    context: BrowserContext
    url: str
    """Of the site."""

    artefacts: Path
    """Where screenshots go."""

    complaints: list[str] = field(default_factory=list)
    """Of all its tabs: scripts that failed, and what the content security policy forbade."""

    failures: list[str] = field(default_factory=list)
    """Requests without an answer, which tests have on purpose; told where a test fails."""

    async def open(self, path: str = "/") -> Page:
        """A new tab with a page of the site."""
        page = await self.context.new_page()
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", lambda request: self.failures.append(f"{request.url}: {request.failure}"))
        await page.goto(path if path.startswith("http") else self.url + path)
        return page

    async def log_in(self, name: str, password: str) -> Page:
        """A new tab with the start page of who has logged in by the form."""
        page = await self.open()
        await fill_login(page, name, password)
        await expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
        return page

    async def terminal(self, query: str = "") -> "TerminalTab":
        """A new tab with a terminal in it that shows something, and keeps its session over a reload."""
        tab = TerminalTab(await self.open(f"/terminal{query}"))
        await tab.wait_connected()
        await tab.wait_remembered()
        return tab

    async def wait_attached(self, terminals: int) -> None:
        """Wait until so many terminals show a session of the account; leaving one takes a moment."""
        attached = None
        while attached != terminals:
            answer = await self.context.request.get(f"{self.url}/api/v1/sessions")
            attached = sum(session["attached"] for session in (await answer.json())["sessions"])

    async def shoot(self, page: Page, name: str) -> None:
        """Keep a screenshot."""
        await page.screenshot(path=self.artefacts / f"{name}.png", caret="initial")

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not _NETWORK.match(message.text):
            self.complaints.append(message.text)


@asynccontextmanager
async def window(browser: Browser, url: str, artefacts: Path, **options: Any) -> AsyncIterator[Window]:
    """A browser for the length of a block, in which no page may complain.

    Args:
        browser: the program.
        url: of the site.
        artefacts: where screenshots go.
        **options: of `Browser.new_context`: colours, size, touch.
    """
    context = await browser.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    opened = Window(context, url, artefacts)
    try:
        yield opened
    except Exception as error:
        error.add_note("\n".join(["The pages said:", *opened.complaints, *opened.failures]))
        raise
    finally:
        await context.close()
    assert [] == opened.complaints


async def fill_login(page: Page, name: str, password: str) -> None:
    """Send the login form."""
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


@dataclass(frozen=True)
class TerminalTab:
    """A tab with the terminal's page."""

    page: Page

    @property
    def screen(self) -> Locator:
        return self.page.locator(".xterm-rows")

    @property
    def state(self) -> Locator:
        return self.page.get_by_role("status")

    @property
    def notice(self) -> Locator:
        return self.page.locator("#notice")

    async def wait_connected(self) -> None:
        await expect(self.state).to_have_text("Connected")

    async def wait_remembered(self) -> None:
        """Wait until the page has asked which session it got: a reload before that might get another."""
        await expect(self.page).to_have_url(re.compile(r"\?session=\d+$"))

    async def wait_for(self, text: str | re.Pattern[str]) -> None:
        """Wait until the screen shows `text`."""
        await expect(self.screen).to_contain_text(text)

    async def wait_prompt(self) -> None:
        """Wait for a shell that takes input; what is typed before may be drawn twice."""
        await self.wait_for(re.compile(r"@rootblood:.*\$"))

    async def type(self, text: str) -> None:
        """Press the keys of `text`, which go to whatever has the focus."""
        await self.page.keyboard.type(text)

    async def enter(self, line: str) -> None:
        await self.type(f"{line}\n")

    async def size(self) -> tuple[int, int]:
        """Rows and columns, by the word of the terminal's own program."""
        mark = secrets.token_hex(4)  # as an earlier answer may be on the screen still
        await self.enter(f"clear; echo {mark}: $(stty size)")
        answer = re.compile(rf"{mark}: (\d+) (\d+)")
        await self.wait_for(answer)
        found = answer.search(await self.screen.inner_text())
        assert found is not None
        return int(found[1]), int(found[2])

    async def wait_smaller(self, before: tuple[int, int]) -> None:
        """Wait until rows and columns are fewer; a size takes a moment on its way, and shells are fast."""
        while any(now >= then for now, then in zip(await self.size(), before, strict=True)):
            pass

    async def menu(self, name: str) -> Locator:
        """Open a menu of the bar; what is in it."""
        await self.page.get_by_text(name, exact=True).click()
        return self.page.locator(f"#{name.lower()} > div")
