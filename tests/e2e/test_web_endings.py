"""Who is shown out of a terminal on the real server, and how soon."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.conftest import ALICE_PASSWORD, client_of
from tests.e2e.http_browser import Browser, Tab
from tests.e2e.installation import Installation, Server

LOGGED_OUT = 4401
AT_ONCE_S = 1
SECONDS_S = 6
"""Another process's doing is looked for every three seconds."""


@pytest.fixture
def own_server(own_installation: Installation) -> Iterator[Server]:
    with own_installation.serving() as server:
        yield server


def logged_in(server: Server, password: str = ALICE_PASSWORD) -> Browser:
    browser = Browser()
    browser.log_in(server.web_url, "alice", password)
    return browser


def opened(stack: ExitStack, browser: Browser, server: Server) -> Tab:
    tab = stack.enter_context(browser.terminal(server.web_url, "?session=new"))
    tab.wait_for(r"alice@rootblood")
    tab.enter("echo up $((6 * 7))")
    tab.wait_for("up 42")
    return tab


def closing_time_s(tab: Tab) -> float:
    """Seconds from now until the tab is closed because its browser is logged out."""
    start = time.monotonic()
    assert LOGGED_OUT == tab.wait_closed()
    return time.monotonic() - start


def test_a_logout_closes_the_terminals_of_its_browser_and_no_other(
    own_installation: Installation, own_server: Server
) -> None:
    browser, other = logged_in(own_server), logged_in(own_server)
    site = own_server.web_url
    with ExitStack() as stack:
        tabs = [opened(stack, browser, own_server) for _ in range(2)]
        others = opened(stack, other, own_server)

        browser.press(f"{site}/logout", f"{site}/")
        assert AT_ONCE_S > closing_time_s(tabs[0]) + closing_time_s(tabs[1])
        others.enter("echo still $((1)) here")
        others.wait_for("still 1 here")

        # What ran there goes on.
        alice = client_of(own_installation, own_server, "alice")
        assert 3 == alice.output("rb sessions").count(" bash ")


def test_a_new_password_from_inside_closes_terminals_at_once(
    own_installation: Installation, own_server: Server
) -> None:
    alice, lines = client_of(own_installation, own_server, "alice"), f"{ALICE_PASSWORD}\nanother password\n"
    with ExitStack() as stack:
        tab = opened(stack, logged_in(own_server), own_server)
        alice.output("rb passwd --stdin", stdin=lines.encode())
        assert AT_ONCE_S > closing_time_s(tab)
        opened(stack, logged_in(own_server, "another password"), own_server)


@pytest.mark.parametrize("command", [("user", "lock", "alice"), ("user", "passwd", "alice", "--none")])
def test_an_operator_closes_terminals_within_seconds(
    own_installation: Installation, own_server: Server, command: tuple[str, ...]
) -> None:
    """From another process, which cannot tell the server."""
    browser = logged_in(own_server)
    with ExitStack() as stack:
        tab = opened(stack, browser, own_server)
        own_installation.cli(*command)
        assert SECONDS_S > closing_time_s(tab)
    assert browser.fetch(f"{own_server.web_url}/")[0] == 200
    assert browser.url.endswith("/login")
