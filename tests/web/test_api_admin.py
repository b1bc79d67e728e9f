"""What administrators do by the API, and that nobody else does."""

import asyncio
import json
from urllib.parse import urlencode

import pytest
from sqlalchemy import update

from rootblood.domain.accounts import Account, AccountState
from rootblood.domain.tokens import ADMIN_SCOPES, Scope, scopes_of
from rootblood.errors import InvalidInputError
from rootblood.stores.sql.models import AccountRow
from tests.web.conftest import PASSWORD, Browser, House, NewBrowser
from tests.web.test_api import ADMIN_CALLS, API, KEY_LINE, Program, document, problem, program

__all__ = ["document"]


@pytest.fixture
async def root(house: House) -> Account:
    return await house.accounts.create("chief", password=PASSWORD, admin=True)


@pytest.fixture
async def chief(browser: Browser, house: House, root: Account) -> Program:
    """A program that may do whatever an administrator may."""
    return await program(browser, house, root)


async def no_longer_admin(house: House, name: str) -> None:
    async with house.database.write() as session:
        await session.execute(update(AccountRow).where(AccountRow.name == name).values(admin=False))


# Who may.


@pytest.mark.parametrize("call", ADMIN_CALLS, ids=lambda call: f"{call[0]} {call[1]}")
async def test_only_an_administrators_token_with_the_scope_may(
    browser: Browser, house: House, root: Account, alice: Account, call: tuple[str, str, Scope]
) -> None:
    method, template, scope = call
    path = template.replace("{", "").replace("}", "")
    without = await program(browser, house, root, *(scopes_of(root) - {scope}))
    with_it = await program(browser, house, root, scope)
    alices = await program(browser, house, alice)
    her_browser = Browser(browser.url, browser.session)
    await her_browser.log_in()
    headers = {"Origin": browser.url, "X-CSRF-Token": (await her_browser.get("/")).form_token}

    refused = await without.call(method, path)
    assert (403, True) == (refused.status, f"no scope {scope.value}" in problem(refused)["detail"])
    for answer in (
        await alices.call(method, path),
        await her_browser.request(method, API + path, headers=headers),
    ):
        assert (403, "this is for administrators") == (answer.status, problem(answer)["detail"])
    assert 401 == (await browser.request(method, API + path)).status
    assert (await with_it.call(method, path)).status not in {401, 403}

    # From the moment on that its account is no administrator's any more.
    await no_longer_admin(house, "chief")
    assert 403 == (await with_it.call(method, path)).status


async def test_no_token_of_anybody_else_ever_has_these_scopes(
    browser: Browser, house: House, alice: Account
) -> None:
    alices = await program(browser, house, alice)
    body = {"name": "x", "scopes": ["admin:read"]}

    assert 403 == problem(await alices.call("POST", "/tokens", body))["status"]
    await browser.log_in()
    page = await browser.get("/tokens")
    headers = {"Origin": browser.url, "X-CSRF-Token": page.form_token}
    refused = await browser.request("POST", f"{API}/tokens", json=body, headers=headers)
    assert (422, True) == (refused.status, "only an administrator's" in problem(refused)["detail"])
    assert "admin:" not in page.text
    fields = {"form_token": page.form_token, "name": "x", "days": "7", "scope": "admin:write"}
    assert 422 == (await browser.post("/tokens", fields)).status
    for scope in ADMIN_SCOPES:
        with pytest.raises(InvalidInputError, match="only an administrator's"):
            await program(browser, house, alice, scope)


async def test_a_page_of_an_administrator_may_too(browser: Browser, root: Account) -> None:
    del root
    await browser.log_in("chief")
    page = await browser.get("/tokens")

    assert "admin:write" in page.text
    listed = json.loads((await browser.get(f"{API}/admin/accounts")).text)
    assert ["chief"] == [account["name"] for account in listed["accounts"]]
    refused = await browser.request("POST", f"{API}/admin/accounts", json={"name": "bob"})
    assert 403 == problem(refused)["status"]
    headers = {"Origin": browser.url, "X-CSRF-Token": page.form_token}
    added = await browser.request("POST", f"{API}/admin/accounts", json={"name": "bob"}, headers=headers)
    assert 201 == added.status


# Accounts.


async def test_the_life_of_an_account(
    chief: Program, house: House, url: str, new_browser: NewBrowser
) -> None:
    answer = await chief.call(
        "POST", "/admin/accounts", {"name": "bob", "password": PASSWORD, "keys": [KEY_LINE]}
    )
    bob = json.loads(answer.text)
    assert (201, f"{API}/admin/accounts/bob") == (answer.status, answer.location)
    assert ("bob", "active", False, True) == (
        bob["name"],
        bob["state"],
        bob["admin"],
        bob["has_password"],
    )
    assert "password_hash" not in answer.text
    assert "argon2" not in answer.text
    assert [KEY_LINE] == [entry.key.line for entry in await house.accounts.keys("bob")]
    assert [["bob"]] == house.engine.installs[-1:]  # environments know the name
    assert bob == await chief.json("GET", "/admin/accounts/bob")

    his = new_browser(url)
    await his.log_in("bob")
    assert 200 == (await his.get("/")).status
    assert "locked" == (await chief.json("POST", "/admin/accounts/bob/lock"))["state"]
    assert 303 == (await his.get("/")).status
    assert "active" == (await chief.json("POST", "/admin/accounts/bob/unlock"))["state"]

    new = {"password": "another horse battery"}
    assert 204 == (await chief.call("PUT", "/admin/accounts/bob/password", new)).status
    assert 403 == (await his.log_in("bob")).status
    assert 303 == (await his.log_in("bob", new["password"])).status
    assert 204 == (await chief.call("PUT", "/admin/accounts/bob/password", {"password": None})).status
    assert False is (await chief.json("GET", "/admin/accounts/bob"))["has_password"]

    account = await house.accounts.get("bob")
    await house.environments.start(account)
    assert 204 == (await chief.call("DELETE", "/admin/accounts/bob")).status
    assert 404 == problem(await chief.call("GET", "/admin/accounts/bob"))["status"]
    assert {} == house.engine.host.containers
    assert not await asyncio.to_thread(house.engine.host.home(account.userhash).exists)
    assert 409 == problem(await chief.call("POST", "/admin/accounts", {"name": "bob"}))["status"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "root"}, 422),
        ({"name": "Bob"}, 422),
        ({"name": "bob", "password": "short"}, 422),
        ({"name": "bob", "keys": ["ssh-dss AAAA"]}, 422),
        ({"name": "bob", "keys": [KEY_LINE, KEY_LINE]}, 409),
        ({"name": "chief"}, 409),
        ({"name": "bob", "uid": 0}, 422),
        ({}, 422),
    ],
)
async def test_an_account_that_cannot_be(
    chief: Program, house: House, body: dict[str, object], status: int
) -> None:
    assert status == problem(await chief.call("POST", "/admin/accounts", body))["status"]
    assert ["chief"] == [account.name for account in await house.accounts.list()]


async def test_an_account_is_added_while_the_engine_is_away_but_not_deleted(
    chief: Program, house: House
) -> None:
    house.engine.away = True

    assert 201 == (await chief.call("POST", "/admin/accounts", {"name": "bob"})).status
    answer = await chief.call("DELETE", "/admin/accounts/bob")
    assert "locked but not deleted" in problem(answer)["detail"]
    assert (503, AccountState.LOCKED) == (answer.status, (await house.accounts.get("bob")).state)

    house.engine.away = False
    assert 204 == (await chief.call("DELETE", "/admin/accounts/bob")).status


async def test_nobody_locks_themself_out(chief: Program, house: House) -> None:
    refusals = {
        "lock": await chief.call("POST", "/admin/accounts/chief/lock"),
        "delete": await chief.call("DELETE", "/admin/accounts/chief"),
    }
    for verb, answer in refusals.items():
        told = problem(answer)
        assert 409 == told["status"]
        assert "you would lock yourself out" in told["detail"]
        assert f"rootblood user {verb}" in told["detail"]

    path, nothing = "/admin/accounts/chief/password", {"password": None}
    assert "add a key first" in problem(await chief.call("PUT", path, nothing))["detail"]
    await chief.json("POST", "/keys", {"line": KEY_LINE})
    assert 204 == (await chief.call("PUT", path, nothing)).status
    assert AccountState.ACTIVE is (await house.accounts.get("chief")).state


async def test_accounts_come_in_pages(chief: Program, house: House) -> None:
    for name in ("bob", "carol", "a-b", "a_b", "ab"):
        await house.accounts.create(name)
    await house.accounts.delete("carol")

    async def pages(**query: object) -> list[list[str]]:
        found, cursor = [], ""
        while True:
            page = await chief.json("GET", f"/admin/accounts?{urlencode({**query, 'cursor': cursor})}")
            found.append([account["name"] for account in page["accounts"]])
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    by_name = [account.name for account in await house.accounts.list()]
    assert [by_name] == await pages()
    assert [by_name[:2], by_name[2:4], by_name[4:]] == await pages(limit=2)
    assert [by_name[:5]] == await pages(limit=5)
    assert "carol" in (await pages(include_deleted="true"))[0]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=501", "/limit"),
        ("limit=ten", "/limit"),
        ("cursor=%00", "/cursor"),
        ("cursor=Bob", "/cursor"),
        ("include_deleted=perhaps", "/include_deleted"),
        ("offset=3", "/offset"),
    ],
)
async def test_a_query_that_will_not_do(chief: Program, query: str, pointer: str) -> None:
    told = problem(await chief.call("GET", f"/admin/accounts?{query}"))

    assert (422, [pointer]) == (told["status"], [fault["pointer"] for fault in told["errors"]])


async def test_a_part_of_a_query_is_given_once(chief: Program) -> None:
    told = problem(await chief.call("GET", "/admin/accounts?limit=1&limit=2"))

    assert (422, "a part of the query is given twice") == (told["status"], told["detail"])


@pytest.mark.parametrize("name", ["nobody", "..", "%00", "x" * 200, "%E2%80%AE", "a%2Fb"])
async def test_an_account_that_is_not_there(chief: Program, name: str) -> None:
    for method, path in (
        ("GET", ""),
        ("POST", "/lock"),
        ("POST", "/unlock"),
        ("DELETE", ""),
    ):
        assert 404 == problem(await chief.call(method, f"/admin/accounts/{name}{path}"))["status"]


# Environments.


async def test_environments_of_all(chief: Program, house: House, alice: Account) -> None:
    await house.environments.start(alice)
    listed = (await chief.json("GET", "/admin/environments"))["environments"]
    assert [("alice", alice.userhash, "running")] == [
        (found["name"], found["userhash"], found["state"]) for found in listed
    ]

    assert "stopped" == (await chief.json("POST", "/admin/environments/alice/stop"))["state"]
    assert "stopped" == (await chief.json("POST", "/admin/environments/alice/stop"))["state"]
    assert 204 == (await chief.call("DELETE", "/admin/environments/alice")).status
    assert {"environments": []} == await chief.json("GET", "/admin/environments")
    assert "absent" == (await chief.json("POST", "/admin/environments/alice/stop"))["state"]
    assert 404 == problem(await chief.call("POST", "/admin/environments/nobody/stop"))["status"]
    assert 404 == problem(await chief.call("DELETE", "/admin/environments/nobody"))["status"]


# Bans; what they do is in test_bans.


async def test_bans(chief: Program) -> None:
    body = {"network": "192.0.2.0/24", "reason": "brute force", "expires_in_s": 3600}
    made = await chief.json("POST", "/admin/bans", body)
    assert ("192.0.2.0/24", "brute force") == (made["network"], made["reason"])
    single = await chief.json("POST", "/admin/bans", {"network": "2001:DB8::1"})
    assert ("2001:db8::1", None) == (single["network"], single["expires_at"])
    assert {"bans": [single, made], "penalties": []} == await chief.json("GET", "/admin/bans")

    assert 204 == (await chief.call("DELETE", "/admin/bans?network=192.0.2.0/24")).status
    assert 204 == (await chief.call("DELETE", "/admin/bans?network=2001:db8::1")).status
    assert {"bans": [], "penalties": []} == await chief.json("GET", "/admin/bans")
    assert 404 == problem(await chief.call("DELETE", "/admin/bans?network=192.0.2.0/24"))["status"]


@pytest.mark.parametrize(
    "body",
    [
        {"network": "example.org"},
        {"network": "192.0.2.1/24"},
        {"network": "192.0.2.0/24", "reason": "two\nlines"},
        {"network": "192.0.2.0/24", "reason": "x" * 201},
        {"network": "192.0.2.0/24", "expires_in_s": 0},
        {"network": "192.0.2.0/24", "expires_in_s": 10**12},
        {},
    ],
)
async def test_a_ban_that_cannot_be(chief: Program, body: dict[str, object]) -> None:
    assert 422 == problem(await chief.call("POST", "/admin/bans", body))["status"]
    assert [] == (await chief.json("GET", "/admin/bans"))["bans"]


@pytest.mark.parametrize("network", ["127.0.0.1", "127.0.0.0/8", "0.0.0.0/0", "::ffff:127.0.0.1"])
async def test_nobody_bans_themself_unawares(chief: Program, network: str) -> None:
    told = problem(await chief.call("POST", "/admin/bans", {"network": network}))

    assert (409, True) == (told["status"], "you call from 127.0.0.1" in told["detail"])
    assert [] == (await chief.json("GET", "/admin/bans"))["bans"]
    assert 201 == (await chief.call("POST", "/admin/bans", {"network": network, "force": True})).status
    assert 403 == (await chief.call("GET", "/admin/bans")).status


async def test_penalties_are_told_and_taken_away(chief: Program, house: House) -> None:
    for address in ("203.0.113.7", "2001:db8::7"):
        for _ in range(11):
            house.penalties.failed(address)

    found = (await chief.json("GET", "/admin/bans"))["penalties"]
    assert {("203.0.113.7", 11), ("2001:db8::/64", 11)} == {
        (penalty["network"], penalty["failures"]) for penalty in found
    }
    assert all(0 < penalty["remaining_s"] <= 5 for penalty in found)

    assert 204 == (await chief.call("DELETE", "/admin/bans?network=203.0.113.7")).status
    assert 204 == (await chief.call("DELETE", "/admin/bans?network=2001:db8::7")).status
    assert [] == (await chief.json("GET", "/admin/bans"))["penalties"]
    house.penalties.check("203.0.113.7")


# The document.


def test_the_document_has_the_query(document: dict[str, object]) -> None:
    paths = document["paths"]
    assert isinstance(paths, dict)
    parameters = {found["name"]: found for found in paths["/admin/accounts"]["get"]["parameters"]}
    assert {"cursor", "limit", "include_deleted"} == parameters.keys()
    assert ("query", False, 500) == (
        parameters["limit"]["in"],
        parameters["limit"]["required"],
        parameters["limit"]["schema"]["maximum"],
    )
    assert True is paths["/admin/bans"]["delete"]["parameters"][0]["required"]
    assert "only administrators" in paths["/admin/bans"]["delete"]["description"]
