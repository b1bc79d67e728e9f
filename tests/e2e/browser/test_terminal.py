"""What a terminal in the browser is expected to do besides showing text and taking keys."""

import asyncio
import re

import pytest
from playwright.async_api import Page, expect

from tests.e2e.browser.conftest import OpenWindow
from tests.e2e.browser.pages import TerminalTab
from tests.e2e.conftest import ALICE_PASSWORD
from tests.e2e.installation import Installation, Server

pytestmark = pytest.mark.usefixtures("alices_sessions")

CLIPBOARD = ["clipboard-read", "clipboard-write"]


async def clipboard(page: Page) -> str:
    text: str = await page.evaluate("navigator.clipboard.readText()")
    return text


async def wait_clipboard(page: Page, text: str) -> None:
    await page.wait_for_function("async text => await navigator.clipboard.readText() === text", arg=text)


async def test_several_terminals(open_window: OpenWindow) -> None:
    async with open_window(color_scheme="light") as window:
        await window.log_in("alice", ALICE_PASSWORD)
        one = await window.terminal()
        await one.wait_prompt()
        await one.enter("printf '\\e]2;my ti''tle\\a'; echo this is $((1))")
        await one.wait_for("this is 1")
        await one.enter("exec sleep 600")
        await expect(one.page.get_by_role("heading", name="my title")).to_be_visible()

        menu = await one.menu("Sessions")
        await expect(menu.get_by_role("listitem")).to_have_count(1)
        before = one.page.url
        await menu.get_by_role("link", name="New session").click()
        await expect(one.page).not_to_have_url(before)  # until then it is the old page, connected and all
        await one.wait_connected()
        await one.wait_prompt()
        await one.enter("echo this is $((2))")
        await one.wait_for("this is 2")

        menu = await one.menu("Sessions")
        await expect(menu.get_by_role("listitem")).to_have_count(2)
        current = one.page.locator("[aria-current]")
        await expect(current).to_have_text("bash: rootblood")
        await expect(menu.get_by_role("listitem").filter(has=current)).to_contain_text("in 1 terminal")
        await window.shoot(one.page, "terminal-sessions")
        await menu.get_by_role("link", name="my title").click()
        await one.wait_for("this is 1")
        await expect(one.page).to_have_title("my title - RootBlood")

        await window.wait_attached(1)
        other = await window.terminal()  # what was left is the second
        await other.wait_for("this is 2")
        for tab, text in ((one, "this is 1"), (other, "this is 2"), (one, "this is 1")):
            await tab.page.reload()
            await tab.wait_for(text)


async def test_tabs_that_are_opened_at_once_keep_each_its_own_session(open_window: OpenWindow) -> None:
    """As a browser does that opens its windows again."""
    async with open_window() as window:
        await window.log_in("alice", ALICE_PASSWORD)
        queries = ("", "?session=new", "?session=none%20such")
        tabs = await asyncio.gather(*(window.terminal(query) for query in queries))
        addresses = [tab.page.url for tab in tabs]
        assert len(queries) == len(set(addresses))
        await asyncio.gather(*(tab.page.reload() for tab in tabs))
        for tab, address in zip(tabs, addresses, strict=True):
            await tab.wait_connected()
            await tab.wait_prompt()
            await tab.page.bring_to_front()
            await tab.enter("clear; echo number=$ROOTBLOOD_SESSION.")
            await tab.wait_for(f"number={address.partition('=')[2]}.")
            assert address == tab.page.url


async def test_the_end_of_a_session_offers_a_new_one(open_window: OpenWindow) -> None:
    async with open_window(color_scheme="dark") as window:
        await window.log_in("alice", ALICE_PASSWORD)
        left = await window.terminal("?session=new")
        await left.wait_prompt()
        await left.enter("echo left $((1)) alone")
        await left.wait_for("left 1 alone")
        tab = await window.terminal("?session=new")
        await tab.wait_prompt()
        await left.page.close()
        await tab.enter("exit")
        await expect(tab.notice).to_contain_text("The session has ended")
        await window.shoot(tab.page, "terminal-over")
        await tab.page.get_by_role("button", name="New session").click()
        await tab.wait_connected()
        await tab.wait_prompt()
        await expect(tab.screen).not_to_contain_text("left 1 alone")


async def test_the_end_of_the_environment_is_told_and_a_button_starts_it_again(
    open_window: OpenWindow, installation: Installation
) -> None:
    async with open_window(color_scheme="light") as window:
        await window.log_in("alice", ALICE_PASSWORD)
        tab = await window.terminal("?session=new")
        await tab.wait_prompt()
        await asyncio.to_thread(installation.cli, "env", "stop", "alice")
        await expect(tab.notice).to_contain_text("your environment was stopped by an administrator.")
        await window.shoot(tab.page, "terminal-environment-ended")
        await tab.page.get_by_role("button", name="Connect").click()
        await tab.wait_connected()
        await tab.wait_prompt()


async def test_copy(open_window: OpenWindow) -> None:
    async with open_window(permissions=CLIPBOARD) as window:
        await window.log_in("alice", ALICE_PASSWORD)
        tab = await window.terminal()
        await tab.wait_prompt()
        # OSC 52
        await tab.enter("printf '\\e]52;c;%s\\a' $(printf 'by program' | base64)")
        await wait_clipboard(tab.page, "by program")
        await tab.enter("clear; printf '%s\\n' selec''ted")
        await tab.wait_for("selected")
        word = tab.screen.get_by_text("selected", exact=True)
        box = await word.bounding_box()
        assert box is not None
        await tab.page.keyboard.down("Shift")  # else it is tmux's mouse
        await tab.page.mouse.dblclick(box["x"] + 10, box["y"] + box["height"] / 2)
        await tab.page.keyboard.up("Shift")
        await tab.page.keyboard.press("Control+Shift+C")
        await wait_clipboard(tab.page, "selected")

        await tab.enter("clear; echo drag''ged along")
        await tab.wait_for("dragged along")
        line = await tab.screen.locator("> div").nth(0).bounding_box()
        assert line is not None
        y = line["y"] + line["height"] / 2
        await tab.page.mouse.move(line["x"] + 2, y)
        await tab.page.mouse.down()
        await tab.page.mouse.move(line["x"] + 60, y, steps=5)
        await tab.page.mouse.up()
        await tab.page.wait_for_function(
            "async () => { const text = await navigator.clipboard.readText();"
            " return text.length > 2 && 'dragged along'.startsWith(text); }"
        )
        await window.shoot(tab.page, "terminal-copied")


async def test_paste_is_bracketed_where_the_program_wants_it(open_window: OpenWindow) -> None:
    async with open_window(permissions=CLIPBOARD) as window:
        await window.log_in("alice", ALICE_PASSWORD)
        tab = await window.terminal()
        await tab.wait_prompt()
        await tab.page.evaluate("navigator.clipboard.writeText('one\\ntwo')")
        await tab.enter("printf '\\e[?2004hre''ady\\n'; cat -v")
        await tab.wait_for("ready")
        await tab.page.keyboard.press("Control+Shift+V")
        await tab.wait_for("^[[200~one")
        await tab.page.keyboard.press("Enter")
        await tab.wait_for("two^[[201~")


async def test_title_and_bell(open_window: OpenWindow) -> None:
    async with open_window() as window:
        await window.log_in("alice", ALICE_PASSWORD)
        tab = await window.terminal()
        await tab.wait_prompt()
        await tab.enter("printf '\\e]2;a <b>ti''tle</b>\\a'; sleep 600")
        await expect(tab.page.get_by_role("heading", name="a <b>title</b>")).to_be_visible()
        await expect(tab.page).to_have_title("a <b>title</b> - RootBlood")
        await tab.page.keyboard.press("Control+c")
        await tab.page.evaluate(
            "() => { window.rung = new Promise(rung => new MutationObserver(rung)"
            ".observe(document.getElementById('terminal'), { attributeFilter: ['class'] })); }"
        )
        await tab.enter("clear; printf '\\a'")
        await tab.page.evaluate("rung.then(() => true)")


async def test_a_link_opens_a_tab_that_has_no_way_back(open_window: OpenWindow, server: Server) -> None:
    async with open_window() as window:
        await window.log_in("alice", ALICE_PASSWORD)
        tab = await window.terminal()
        await tab.wait_prompt()
        await tab.enter(f"clear; printf 'see %s\\n' {server.web_url}/healthz")
        await tab.wait_for(f"see {server.web_url}/healthz")
        box = await tab.screen.locator("> div").nth(0).bounding_box()
        assert box is not None
        x, y = box["x"] + 100, box["y"] + box["height"] / 2
        await tab.page.mouse.move(x, y)
        await expect(tab.page.locator(".xterm-screen")).to_have_class(re.compile("xterm-cursor-pointer"))
        async with window.context.expect_page() as opened:
            await tab.page.mouse.click(x, y)
        page = await opened.value
        await page.wait_for_url("**/healthz")
        assert await page.evaluate("opener === null && document.referrer === ''")


async def test_font_size_and_colours_are_kept(open_window: OpenWindow) -> None:
    async with open_window(color_scheme="dark") as window:
        await window.log_in("alice", ALICE_PASSWORD)
        tab = await window.terminal()
        await tab.wait_prompt()
        before = await tab.size()
        menu = await tab.menu("Settings")
        await menu.get_by_label("Colours").select_option("Light")
        await menu.get_by_label("Font size").fill("24")
        await menu.get_by_label("Font size").press("Enter")
        await window.shoot(tab.page, "terminal-settings")
        await tab.page.keyboard.press("Escape")
        for _ in range(2):
            await expect(tab.page.locator("html")).to_have_class("light")
            font = await tab.screen.evaluate("node => getComputedStyle(node).fontSize")
            assert "24px" == font
            await tab.wait_smaller(before)
            await tab.page.reload()
            await tab.wait_connected()
        menu = await tab.menu("Settings")
        await menu.get_by_label("Colours").select_option("As the browser")
        await expect(tab.page.locator("html")).to_have_class("dark")
        await tab.page.emulate_media(color_scheme="light")
        await expect(tab.page.locator("html")).to_have_class("light")


async def test_a_phone_has_a_key_bar(open_window: OpenWindow) -> None:
    phone = {"viewport": {"width": 390, "height": 700}, "has_touch": True, "is_mobile": True}
    async with open_window(color_scheme="light", **phone) as window:
        page = await window.log_in("alice", ALICE_PASSWORD)
        await window.shoot(page, "dashboard-phone")
        await page.get_by_role("link", name="Terminal").tap()
        tab = TerminalTab(page)
        await tab.wait_connected()
        await tab.wait_prompt()
        keys = page.get_by_role("toolbar", name="Keys")
        control = keys.get_by_role("button", name="Ctrl")

        await tab.enter("echo re''ady; cat -v")
        await tab.wait_for("ready")  # from here on the tty shows what is typed, and not the shell
        shown = ""
        for key, sent in (("Esc", "^["), ("Left", "^[[D"), ("Up", "^[[A")):
            await keys.get_by_role("button", name=key).tap()
            shown += sent
            await tab.wait_for(shown)  # an Esc with another key at its heels is Alt, to tmux
        await control.tap()
        await expect(control).to_have_attribute("aria-pressed", "true")
        await window.shoot(page, "terminal-phone")
        await tab.type("c")
        await tab.wait_for("^C")
        await expect(control).to_have_attribute("aria-pressed", "false")

        await tab.enter("clear; echo re''ady again; cat -v")
        await tab.wait_for("ready again")
        for letter in "\u00fc\u00df":  # their last five bits are those of Ctrl-\ and of Ctrl-_
            await control.tap()
            await tab.page.keyboard.insert_text(letter)
        await tab.enter("")
        await tab.wait_for("M-CM-<M-CM-^_")
        await expect(control).to_have_attribute("aria-pressed", "false")
        await tab.page.keyboard.press("Control+c")

        await tab.type("clear; echo hal")
        await keys.get_by_role("button", name="Left").tap()
        await tab.type("ol")
        await keys.get_by_role("button", name="Right").tap()
        await tab.enter("a")
        await tab.wait_for("haolla")
        await keys.get_by_role("button", name="Up").tap()
        await tab.wait_for("clear; echo haolla")
        await keys.get_by_role("button", name="Down").tap()
        await tab.type("echo /usr/lib/rootbl")
        await keys.get_by_role("button", name="Tab").tap()
        await tab.wait_for("/usr/lib/rootblood/")
        await expect(tab.state).to_have_text("Connected")
