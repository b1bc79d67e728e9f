"""Who is shown out of a terminal on the real server; how soon is shown in tests/web/test_terminal_page.py."""

from contextlib import ExitStack

import pytest

from tests.e2e.conftest import ALICE_PASSWORD
from tests.e2e.http_browser import Browser, Tab
from tests.e2e.installation import Client, Installation, Server

LOGGED_OUT = 4401


def logged_in(server: Server, name: str, password: str = ALICE_PASSWORD) -> Browser:
    browser = Browser()
    browser.log_in(server.web_url, name, password)
    return browser


def opened(stack: ExitStack, browser: Browser, server: Server) -> Tab:
    tab = stack.enter_context(browser.terminal(server.web_url, "?session=new"))
    tab.wait_for(r"@rootblood")
    tab.enter("echo up $((6 * 7))")
    tab.wait_for("up 42")
    return tab


def test_a_logout_closes_the_terminals_of_its_browser_and_no_other(server: Server, newcomer: Client) -> None:
    browser, other = logged_in(server, newcomer.name), logged_in(server, newcomer.name)
    with ExitStack() as stack:
        tabs = [opened(stack, browser, server) for _ in range(2)]
        others = opened(stack, other, server)

        browser.press(f"{server.web_url}/logout", f"{server.web_url}/")
        assert [LOGGED_OUT, LOGGED_OUT] == [tab.wait_closed() for tab in tabs]
        others.enter("echo still $((1)) here")
        others.wait_for("still 1 here")

        # What ran there goes on.
        assert 3 == newcomer.output("rb sessions").count(" bash ")


def test_a_new_password_from_inside_closes_terminals(server: Server, newcomer: Client) -> None:
    lines = f"{ALICE_PASSWORD}\nanother password\n"
    with ExitStack() as stack:
        tab = opened(stack, logged_in(server, newcomer.name), server)
        newcomer.output("rb passwd --stdin", stdin=lines.encode())
        assert LOGGED_OUT == tab.wait_closed()
        opened(stack, logged_in(server, newcomer.name, "another password"), server)


@pytest.mark.parametrize("command", [("lock",), ("passwd", "--none")])
def test_an_operator_closes_terminals(
    installation: Installation, server: Server, newcomer: Client, command: tuple[str, ...]
) -> None:
    """From another process, which cannot tell the server."""
    browser = logged_in(server, newcomer.name)
    with ExitStack() as stack:
        tab = opened(stack, browser, server)
        installation.cli("user", *command, newcomer.name)
        assert LOGGED_OUT == tab.wait_closed()
    assert browser.fetch(f"{server.web_url}/")[0] == 200
    assert browser.url.endswith("/login")
