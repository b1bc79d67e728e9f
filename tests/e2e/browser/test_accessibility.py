"""Of use to everybody: by keyboard alone, to a screen reader, and to axe-core, in every colour and size."""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.browser.conftest import OpenWindow
from tests.e2e.browser.pages import TerminalTab, Window, fill_login
from tests.e2e.conftest import ALICE_PASSWORD
from tests.e2e.installation import Client

pytestmark = pytest.mark.usefixtures("alices_sessions")

AXE = files("axe_playwright_python").joinpath("axe.min.js")

DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 700}, "has_touch": True, "is_mobile": True}


async def findings(page: Page) -> list[str]:
    """What axe-core finds, one line each; the serious and the critical alone are to be mended."""
    # By the debugger's way, which the content security policy leaves alone.
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{violation['impact']}: {violation['id']}: {violation['help']}: {node['html'][:120]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


async def check(window: Window, page: Page, name: str) -> None:
    """Look at a page, and have axe-core look at it."""
    await window.shoot(page, f"axe-{name}")
    found = await findings(page)
    for line in found:
        print(f"{name}: {line}")  # noqa: T201 - with -s, and where the test fails
    assert [] == [line for line in found if line.startswith(("serious", "critical"))]


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize(("size", "options"), [("desktop", DESKTOP), ("phone", PHONE)])
async def test_axe_finds_nothing_serious(
    open_window: OpenWindow, alice: Client, colours: str, size: str, options: Mapping[str, Any]
) -> None:
    async with open_window(color_scheme=colours, **options) as window:
        kind = f"{size}-{colours}"
        page = await window.open()
        await check(window, page, f"login-{kind}")
        await fill_login(page, "alice", "wrong password")
        await expect(page.get_by_role("alert")).to_be_visible()
        await check(window, page, f"login-refused-{kind}")
        await page.goto(alice.output("rb web").strip())
        await check(window, page, f"link-{kind}")
        await page.get_by_role("button", name="Log in as alice").click()
        await expect(page.get_by_role("heading", level=1, name="alice")).to_be_visible()
        await check(window, page, f"dashboard-{kind}")
        for path, name in (
            ("/tokens", "tokens"),
            ("/nothing", "not-found"),
            (f"/session/{'x' * 43}", "gone"),
        ):
            await page.goto(window.url + path)
            await check(window, page, f"{name}-{kind}")

        await page.goto(f"{window.url}/terminal")
        tab = TerminalTab(page)
        await tab.wait_prompt()
        await tab.enter(_COLOURS)
        await tab.wait_for("colour 7")
        await check(window, page, f"terminal-{kind}")
        await tab.menu("Settings")
        await check(window, page, f"terminal-settings-{kind}")
        menu = await tab.menu("Sessions")
        await expect(menu.get_by_role("listitem")).to_have_count(1)
        await check(window, page, f"terminal-sessions-{kind}")
        await page.keyboard.press("Escape")
        await tab.enter("exit")
        await expect(tab.notice).to_contain_text("The session has ended")
        await check(window, page, f"terminal-over-{kind}")


_COLOURS = """for c in 1 2 3 4 5 6 7; do printf "\\e[3${c}m colour $c \\e[9${c}m bright "; done; echo"""


async def focused(page: Page) -> str:
    """The name of what has the focus, which has to be seen."""
    name, outline = await page.evaluate(
        """() => {
          const element = document.activeElement;
          const style = getComputedStyle(element);
          const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
          const label = element.labels?.[0]?.firstChild?.textContent ?? element.ariaLabel;
          return [(label ?? element.textContent).trim(), seen];
        }"""
    )
    assert outline or "Terminal input" == name, f"{name!r} has no visible focus"
    return str(name)


async def test_by_keyboard_alone(open_window: OpenWindow) -> None:
    async with open_window(color_scheme="light") as window:
        page = await window.open()
        press = page.keyboard.press
        await expect(page.get_by_label("Name")).to_be_focused()  # which may come after the page
        assert "Name" == await focused(page)
        await page.keyboard.type("alice")
        await press("Tab")
        assert "Password" == await focused(page)
        await page.keyboard.type(ALICE_PASSWORD)
        await press("Tab")
        assert "Log in" == await focused(page)
        await window.shoot(page, "keyboard-login")
        await press("Enter")
        await expect(page.get_by_role("heading", level=1, name="alice")).to_be_visible()

        for _ in range(20):
            await press("Tab")
            if "Terminal" == await focused(page):
                break
        await window.shoot(page, "keyboard-dashboard")
        await press("Enter")
        tab = TerminalTab(page)
        await tab.wait_prompt()
        assert "Terminal input" == await focused(page)
        await tab.type("echo /usr/lib/rootbl")
        await press("Tab")  # the shell's, not the page's
        await tab.wait_for("/usr/lib/rootblood/")
        await press("Control+c")

        # The way out is told to those who see and to those who hear.
        await expect(page.get_by_text("Ctrl-Shift-F6 leaves the terminal")).to_be_visible()
        await expect(page.get_by_role("textbox", name="Terminal input")).to_have_accessible_description(
            re.compile("Ctrl-Shift-F6 leaves the terminal")
        )
        await press("Control+Shift+F6")
        assert "RootBlood" == await focused(page)
        await press("Tab")
        assert "Sessions" == await focused(page)
        await press("Tab")
        assert "Settings" == await focused(page)
        await press("Enter")
        await press("Tab")
        assert "Colours" == await focused(page)
        await window.shoot(page, "keyboard-settings")
        await press("Escape")
        assert "Terminal input" == await focused(page)
        await press("Control+Shift+F6")
        await press("Control+Shift+F6")
        assert "Terminal input" == await focused(page)
        await tab.enter("clear; echo still $((1)) here")
        await tab.wait_for("still 1 here")
        await tab.enter("exit")
        await expect(tab.notice).to_contain_text("The session has ended")
        await press("Enter")
        await tab.wait_connected()
        await tab.wait_prompt()


async def test_a_screen_reader_hears_the_output(open_window: OpenWindow) -> None:
    async with open_window() as window:
        await window.log_in("alice", ALICE_PASSWORD)
        tab = await window.terminal()
        await tab.wait_prompt()
        assert "heard" not in await tab.page.get_by_role("main").aria_snapshot()
        menu = await tab.menu("Settings")
        await menu.get_by_label("Screen reader").check()
        await tab.page.keyboard.press("Escape")
        for _ in range(2):  # it is kept
            await tab.enter("clear; echo he''ard $((1))")
            await expect(
                tab.page.get_by_role("main").get_by_role("listitem").filter(has_text="heard 1")
            ).to_have_count(1)
            assert "heard 1" in await tab.page.get_by_role("main").aria_snapshot()
            assert not [line for line in await findings(tab.page) if line.startswith(("serious", "critical"))]
            await tab.page.reload()
            await tab.wait_connected()
            await tab.wait_prompt()
