"""Chromium, where its screenshots go, and alice's terminals gone after each test."""

import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.e2e.browser.pages import WAIT_MS, Window, window
from tests.e2e.installation import Client, Server

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
]

expect.set_options(timeout=WAIT_MS)

OpenWindow = Callable[..., AbstractAsyncContextManager[Window]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests here share an event loop, and with it a browser: starting one takes seconds."""
    for item in items:
        if item.path.parent == Path(__file__).parent and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture
def artefacts(tmp_path: Path) -> Path:
    """Where screenshots go: where TEST_ARTEFACTS says, or with what else the test leaves."""
    directory = Path(os.environ.get("TEST_ARTEFACTS", tmp_path)) / "browser"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium; tests have windows of their own in it."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "there is no chromium: scripts/test-tools installs it"
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield made
        await made.close()


@pytest.fixture
def open_window(browser: Browser, artefacts: Path, request: pytest.FixtureRequest) -> OpenWindow:
    """Makes windows on the shared server, or on that of `url`."""

    def make(url: str | None = None, **options: Any) -> AbstractAsyncContextManager[Window]:
        if url is None:
            server: Server = request.getfixturevalue("server")
            url = server.web_url
        return window(browser, url, artefacts, **options)

    return make


@pytest.fixture
def alices_sessions(alice: Client) -> Iterator[None]:
    """Alice has no tmux session before and after."""
    end = "tmux -S /run/rootblood/tmux kill-server"
    alice.run(end)
    yield
    alice.run(end)
