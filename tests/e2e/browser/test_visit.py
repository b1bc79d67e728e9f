"""A visit by browser: log in, work in the terminal, lose the server and find everything again, log out."""

import re
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.browser.conftest import OpenWindow
from tests.e2e.browser.pages import TerminalTab, fill_login
from tests.e2e.conftest import ALICE_PASSWORD
from tests.e2e.installation import Client, Installation, free_port
from tests.e2e.terminal import terminal


@pytest.mark.usefixtures("alices_sessions")
async def test_log_in_type_see_resize_and_reload(open_window: OpenWindow) -> None:
    async with open_window(color_scheme="dark") as window:
        page = await window.open()
        await window.shoot(page, "login-dark")
        await fill_login(page, "alice", "wrong password")
        await expect(page.get_by_role("alert")).to_contain_text(
            "not the name of an account with this password"
        )
        await window.shoot(page, "login-refused-dark")
        await page.get_by_label("Password").fill(ALICE_PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1, name="alice")).to_be_visible()
        await window.shoot(page, "dashboard-dark")

        await page.get_by_role("link", name="Terminal").click()
        tab = TerminalTab(page)
        await tab.wait_connected()
        await tab.wait_prompt()
        await tab.enter("echo $((6 * 7)) and; printf '\\e[38;2;1;200;3mgreen\\e[m\\n'")
        await tab.wait_for("42 and")
        green = tab.screen.get_by_text("green", exact=True).last
        assert "rgb(1, 200, 3)" == await green.evaluate("node => getComputedStyle(node).color")
        await window.shoot(page, "terminal-dark")

        before = await tab.size()
        await page.set_viewport_size({"width": 900, "height": 500})
        await tab.wait_smaller(before)

        await tab.enter("clear; echo left $((1)) here")
        await tab.wait_for("left 1 here")
        await tab.wait_remembered()
        await page.reload()
        await tab.wait_for("left 1 here")


async def test_a_server_that_is_killed_or_stopped_is_found_again(
    open_window: OpenWindow, own_installation: Installation
) -> None:
    port = str(free_port())
    with ExitStack() as servers:
        server = servers.enter_context(own_installation.serving(ROOTBLOOD_WEB__PORT=port))
        async with open_window(server.web_url, color_scheme="light") as window:
            await window.log_in("alice", ALICE_PASSWORD)
            tabs = {name: await window.terminal("?session=new") for name in ("one", "other")}
            for name, tab in tabs.items():
                await tab.wait_prompt()
                await tab.page.bring_to_front()
                await tab.enter(f"clear; marker={name}; echo this is $((1)) {name}")
                await tab.wait_for(f"this is 1 {name}")
            for number in (signal.SIGKILL, signal.SIGTERM):
                server.stop(number)
                for tab in tabs.values():
                    await expect(tab.state).to_have_text("Reconnecting")
                    await expect(tab.notice).to_contain_text("Trying again")
                    if number == signal.SIGTERM:
                        await expect(tab.notice).to_contain_text("The server is being restarted")
                    await window.shoot(tab.page, f"terminal-after-{number.name.lower()}")
                server = servers.enter_context(own_installation.serving(ROOTBLOOD_WEB__PORT=port))
                for name, tab in tabs.items():
                    await tab.wait_connected()
                    await expect(tab.notice).to_be_hidden()
                    await tab.wait_for(f"this is 1 {name}")  # its own, whichever was first
                    await tab.page.bring_to_front()
                    await tab.enter(f"echo $marker after {number.name}")
                    await tab.wait_for(f"{name} after {number.name}")


@pytest.mark.usefixtures("alices_sessions")
async def test_the_same_screen_in_ssh_and_in_the_browser_at_once(
    open_window: OpenWindow, alice: Client, tmp_path: Path
) -> None:
    with terminal(tmp_path, alice.argv(options=["-tt"])) as ssh:
        ssh.wait_for("alice@rootblood")
        ssh.enter("echo session $ROOTBLOOD_SESSION")
        found = re.search(r"^session (\d+)$", ssh.wait_for("\nsession "), re.MULTILINE)
        assert found is not None
        async with open_window(color_scheme="dark") as window:
            await window.log_in("alice", ALICE_PASSWORD)
            tab = await window.terminal(f"?session={found[1]}")
            await tab.wait_for("session")
            await tab.enter("echo from the $((1)) browser")
            ssh.wait_for("\nfrom the 1 browser")
            ssh.enter("echo from $((1)) ssh")
            await tab.wait_for("from 1 ssh")
            await window.shoot(tab.page, "terminal-with-ssh")
            (window.artefacts / "terminal-with-ssh.txt").write_text(ssh.screen)
            await tab.enter("exit")
            await expect(tab.notice).to_contain_text("The session has ended")
        ssh.wait_for("status=0")


@pytest.mark.usefixtures("alices_sessions")
async def test_a_link_of_the_terminal_logs_a_browser_in(open_window: OpenWindow, alice: Client) -> None:
    link = alice.output("rb web").strip()
    async with open_window(color_scheme="light") as window:
        page = await window.open(link)
        await window.shoot(page, "link-light")
        await page.get_by_role("button", name="Log in as alice").click()
        await expect(page.get_by_role("heading", level=1, name="alice")).to_be_visible()
        await page.get_by_role("link", name="Terminal").click()
        await TerminalTab(page).wait_prompt()

        await page.goto(link)
        await expect(page.get_by_role("alert")).to_contain_text("this link has been used")
        await window.shoot(page, "link-used-light")


@pytest.mark.usefixtures("alices_sessions")
async def test_a_logout_in_one_tab_closes_the_terminal_in_another(open_window: OpenWindow) -> None:
    async with open_window(color_scheme="light") as window:
        start = await window.log_in("alice", ALICE_PASSWORD)
        tab = await window.terminal()
        await tab.wait_prompt()
        await start.get_by_role("button", name="Log out", exact=True).first.click()
        await expect(tab.notice).to_contain_text("You are logged out")
        await window.shoot(tab.page, "terminal-logged-out")
        await tab.page.get_by_role("button", name="Log in").click()
        await expect(tab.page.get_by_label("Password")).to_be_visible()


@pytest.mark.usefixtures("alices_sessions")
async def test_an_environment_that_is_stopped_is_seen_to_start(open_window: OpenWindow) -> None:
    async with open_window(color_scheme="dark") as window:
        page = await window.log_in("alice", ALICE_PASSWORD)
        await page.locator("summary", has_text="Stop").click()
        await page.get_by_role("button", name="Stop now").click()
        await expect(page.get_by_text("stopped", exact=True)).to_be_visible()
        await page.add_init_script(_NOTE_STATES)
        await page.get_by_role("link", name="Terminal").click()
        await TerminalTab(page).wait_prompt()
        assert ["Connecting", "Starting your environment", "Connected"] == await page.evaluate("states")


async def test_what_did_not_arrive_of_the_page_is_asked_for_again(open_window: OpenWindow) -> None:
    async with open_window(color_scheme="dark") as window:
        page = await window.log_in("alice", ALICE_PASSWORD)
        await page.route(re.compile(r"/xterm[^/]*\.js$"), lambda route: route.abort("internetdisconnected"))
        await page.get_by_role("link", name="Terminal").click()
        await TerminalTab(page).wait_prompt()


_NOTE_STATES = """
  window.states = [];
  document.addEventListener("DOMContentLoaded", () => {
    const state = document.getElementById("state");
    const note = () => states.at(-1) === state.textContent || states.push(state.textContent);
    new MutationObserver(note).observe(state, { childList: true });
    note();
  });
"""
