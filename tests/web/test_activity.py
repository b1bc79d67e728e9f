"""What an account reads of its own trail: each thing that it or somebody else did, and by which door."""

from datetime import timedelta
from typing import Any

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.tokens import Scope
from tests.web.conftest import PASSWORD, Browser, House
from tests.web.test_api import API, KEY_LINE, Program, alices, problem, program  # noqa: F401 - a fixture

LOCAL = "127.0.0.1"


async def trail(house: House, account: Account) -> list[tuple[str, str, str | None]]:
    """Action, door and address of all there is, the oldest first."""
    found = await house.audit.list(account, limit=200)
    return [(event.action.value, event.door.value, event.peer) for event in reversed(found)]


async def test_a_browser_leaves_its_trail(browser: Browser, house: House, alice: Account) -> None:
    await browser.log_in(password="wrong password")
    await browser.log_in()
    for path in ("start", "start", "restart", "stop", "stop"):  # twice: the second does nothing
        await browser.press(f"/environment/{path}")
    form_token = (await browser.get("/tokens")).form_token
    fields = {"form_token": form_token, "name": "t", "days": "1", "scope": "keys:read"}
    assert 201 == (await browser.post("/tokens", fields)).status
    (token,) = await house.tokens.list(alice)
    await browser.post(f"/tokens/{token.id}/delete", {"form_token": form_token})
    await browser.press("/logout")

    assert [
        ("created", "cli", None),
        ("login_failed", "web", LOCAL),
        ("logged_in", "web", LOCAL),
        ("environment_started", "web", LOCAL),
        ("environment_restarted", "web", LOCAL),
        ("environment_stopped", "web", LOCAL),
        ("token_made", "web", LOCAL),
        ("token_deleted", "web", LOCAL),
        ("logged_out", "web", LOCAL),
    ] == await trail(house, alice)


async def test_a_link_leaves_its_trail(browser: Browser, house: House, alice: Account) -> None:
    secret, _ = await house.links.make(alice)
    path = f"/session/{secret}"
    await browser.post(path, {"form_token": (await browser.get(path)).form_token})

    (logged_in, *_) = await house.audit.list(alice, limit=10)
    assert [("link_made", "cli", None), ("link_used", "web", LOCAL), ("logged_in", "web", LOCAL)] == (
        await trail(house, alice)
    )[1:]
    assert "link" == logged_in.detail
    assert secret not in repr(await house.audit.list(alice, limit=10))


async def test_a_program_leaves_its_trail(alices: Program, house: House, alice: Account) -> None:  # noqa: F811
    added = await alices.json("POST", "/keys", {"line": KEY_LINE})
    await alices.call("DELETE", "/keys/" + added["fingerprint"].replace("/", "%2F").replace("+", "%2B"))
    await alices.json("POST", "/session")
    await alices.call("DELETE", "/environment")
    await alices.call("DELETE", "/login-sessions")

    assert [
        ("key_added", "api", LOCAL),
        ("key_deleted", "api", LOCAL),
        ("environment_started", "api", LOCAL),
        ("link_made", "api", LOCAL),
        ("environment_removed", "api", LOCAL),
        ("logged_out", "api", LOCAL),
    ] == (await trail(house, alice))[2:]
    details = [event.detail for event in await house.audit.list(alice, limit=10)]
    assert f"{added['fingerprint']} alice@laptop" in details
    assert alices.secret not in repr(details)


async def test_a_wrong_password_in_the_api_is_the_api_s(
    browser: Browser, house: House, alice: Account
) -> None:
    body = {"name": "alice", "password": "wrong password"}
    assert 401 == (await browser.request("POST", f"{API}/session", json=body)).status

    assert ("login_failed", "api", LOCAL) == (await trail(house, alice))[-1]


async def test_the_operator_leaves_a_trail(house: House, alice: Account) -> None:
    await house.accounts.set_password("alice", PASSWORD)
    await house.accounts.lock("alice")
    await house.accounts.unlock("alice")

    assert [("password_changed", "cli"), ("locked", "cli"), ("unlocked", "cli")] == [
        (action, door) for action, door, _ in (await trail(house, alice))[1:]
    ]
    await house.accounts.delete("alice")
    assert [("deleted", "cli")] == [(action, door) for action, door, _ in await trail(house, alice)]


async def test_nobody_s_failed_login_is_kept(browser: Browser, house: House, alice: Account) -> None:
    await house.accounts.lock("alice")
    assert 403 == (await browser.log_in("nobody")).status
    assert 403 == (await browser.log_in()).status

    found = [event for event in await house.audit.list(alice, limit=10) if event.count]
    assert ("login_failed", "locked") == (found[0].action.value, found[0].detail)
    assert 3 == len(found)


# The API.


@pytest.fixture
async def pages(browser: Browser, house: House, alice: Account) -> Program:
    reader = await program(browser, house, alice, Scope.ACTIVITY_READ)
    for name in "abcde":
        await house.tokens.create(alice, name=name, scopes={Scope.KEYS_READ}, lifetime=timedelta(hours=1))
    return reader


async def test_activity_is_read_page_by_page(pages: Program) -> None:
    everything = await pages.json("GET", "/activity")
    assert None is everything["next_cursor"]
    assert ["e", "d", "c", "b", "a", "test", ""] == [event["detail"] for event in everything["events"]]
    assert {"id", "at", "action", "door", "address", "actor", "detail", "count"} == everything["events"][
        0
    ].keys()

    found: list[Any] = []
    cursor = ""
    while True:
        page = await pages.json("GET", f"/activity?limit=3{cursor}")
        assert len(page["events"]) <= 3
        found += page["events"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert everything["events"] == found


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("limit=0", ["/limit"]),
        ("limit=201", ["/limit"]),
        ("limit=x&cursor=-1", ["/cursor", "/limit"]),
        ("limit=", ["/limit"]),
        ("cursor=99999999999999999999", ["/cursor"]),
        ("other=1", ["/other"]),
    ],
)
async def test_a_query_that_will_not_do(pages: Program, query: str, pointers: list[str]) -> None:
    told = problem(await pages.call("GET", f"/activity?{query}"))

    assert (422, pointers) == (told["status"], sorted(fault["pointer"] for fault in told["errors"]))


async def test_a_query_says_each_thing_once(pages: Program) -> None:
    assert 422 == problem(await pages.call("GET", "/activity?limit=1&limit=2"))["status"]


@pytest.mark.usefixtures("pages")
async def test_it_is_each_account_s_own(browser: Browser, house: House) -> None:
    bob = await house.accounts.create("bob")
    theirs = await program(browser, house, bob)

    assert {"created", "token_made"} == {
        event["action"] for event in (await theirs.json("GET", "/activity"))["events"]
    }
    assert ["test", ""] == [event["detail"] for event in (await theirs.json("GET", "/activity"))["events"]]
