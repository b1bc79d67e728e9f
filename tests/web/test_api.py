"""The API as programs and pages call it, and the document that describes it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from rootblood import __version__
from rootblood.domain.accounts import Account
from rootblood.domain.audit import Actor, Door
from rootblood.domain.leases import LeaseKind
from rootblood.domain.tokens import Scope, scopes_of
from rootblood.services.tokens import Tokens
from rootblood.settings import WebSettings
from rootblood.stores.sql.tokens import SqlTokenStore
from rootblood.web.api import operations
from tests.web.conftest import PASSWORD, Answer, Browser, House, NewBrowser

API = "/api/v1"
KEY_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFxBtGAhEfQGNJmPZM4xrh9+XbPUuX0wQB5cFnHn8+3T alice@laptop"


@dataclass
class Program:
    """Calls the API with a token."""

    browser: Browser
    secret: str

    async def call(self, method: str, path: str, body: object = None) -> Answer:
        return await self.browser.request(
            method,
            API + path,
            headers={"Authorization": f"Bearer {self.secret}"},
            **({} if body is None else {"json": body}),
        )

    async def json(self, method: str, path: str, body: object = None) -> Any:
        answer = await self.call(method, path, body)
        assert answer.status in {200, 201}, answer.text
        return json.loads(answer.text)


async def program(
    browser: Browser, house: House, account: Account, *scopes: Scope, lifetime: timedelta = timedelta(hours=1)
) -> Program:
    secret, _ = await house.tokens.create(
        account, name="test", scopes=frozenset(scopes) or scopes_of(account), lifetime=lifetime
    )
    return Program(browser, secret)


@pytest.fixture
async def alices(browser: Browser, house: House, alice: Account) -> Program:
    """A program that may do whatever alice may."""
    return await program(browser, house, alice)


def problem(answer: Answer) -> dict[str, Any]:
    assert "application/problem+json" == answer.headers["Content-Type"].partition(";")[0]
    found = json.loads(answer.text)
    assert ("about:blank", answer.status) == (found["type"], found["status"])
    assert {"type", "title", "status", "detail"} <= found.keys()
    assert isinstance(found, dict)
    return found


# The environment, keys, login sessions, tokens.


async def test_the_life_of_an_environment(alices: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_PATIENCE_S", 20)
    assert "absent" == (await alices.json("GET", "/environment"))["state"]

    states = [(await alices.json("POST", f"/environment/{verb}"))["state"] for verb in ("start", "restart")]
    assert ["running", "running"] == states
    found = await alices.json("GET", "/environment")
    assert {"memory_bytes": 1024 * 1024, "cpus": 0.5, "pids": 3} == found["usage"]
    assert {"memory_bytes": 1024**3, "cpus": 1.0, "pids": 64} == found["limits"]
    assert (12345678, False, None) == (
        found["home"]["used_bytes"],
        found["home"]["measuring"],
        found["home"]["trouble"],
    )

    assert "stopped" == (await alices.json("POST", "/environment/stop"))["state"]
    answer = await alices.call("DELETE", "/environment")
    assert (204, "") == (answer.status, answer.text)
    assert "absent" == (await alices.json("GET", "/environment"))["state"]


async def test_why_an_environment_is_alive_and_when_it_will_stop(
    alices: Program, house: House, alice: Account
) -> None:
    found = (await alices.json("POST", "/environment/start"))["outlook"]
    assert ([], None, None) == (found["uses"], found["kept_until"], found["last_stop"])
    assert found["stops_at"] is not None

    async with house.leases.hold(alice, LeaseKind.SSH, "from \x1b[31m"):
        until = await house.outlooks.keep(alice, 3600, by=Actor(Door.RB))
        found = (await alices.json("GET", "/environment"))["outlook"]
    assert [("ssh", "from \x1b[31m")] == [(use["kind"], use["detail"]) for use in found["uses"]]
    assert (until, None) == (datetime.fromisoformat(found["kept_until"]), found["stops_at"])

    await alices.json("POST", "/environment/stop")
    assert "owner" == (await alices.json("GET", "/environment"))["outlook"]["last_stop"]


async def test_a_home_that_cannot_be_measured_says_why(
    alices: Program, house: House, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_PATIENCE_S", 20)
    home = house.engine.host.home(alice.userhash)
    home.mkdir()
    (home / "du").write_text("\x1b[31m12\t/home\n")
    found = (await alices.json("POST", "/environment/start"))["home"]
    assert (None, "it could not be measured") == (found["used_bytes"], found["trouble"])


async def test_who_is_attached(alices: Program, house: House) -> None:
    assert {"connections": []} == await alices.json("GET", "/connections")

    at = datetime(2026, 11, 23, 18, 4, 5, tzinfo=UTC)
    visitor = SimpleNamespace(peer="192.0.2.7", since=at, activities=["vim \x1b[31m"])
    house.presence.add_door("ssh", lambda account: [visitor] if account.name == "alice" else [])
    expected = {
        "door": "ssh",
        "address": "192.0.2.7",
        "since": "2026-11-23T18:04:05Z",
        "activities": ["vim \x1b[31m"],
    }
    assert {"connections": [expected]} == await alices.json("GET", "/connections")


async def test_keys(alices: Program, house: House) -> None:
    added = await alices.json("POST", "/keys", {"line": KEY_LINE})
    assert ("ssh-ed25519", "alice@laptop", KEY_LINE) == (
        added["algorithm"],
        added["comment"],
        added["line"],
    )
    assert {"keys": [added]} == await alices.json("GET", "/keys")
    assert 409 == problem(await alices.call("POST", "/keys", {"line": KEY_LINE}))["status"]
    assert "not a public key" in problem(await alices.call("POST", "/keys", {"line": "x"}))["detail"]

    fingerprint = added["fingerprint"]
    assert 404 == problem(await alices.call("DELETE", f"/keys/{fingerprint[:20]}"))["status"]
    quoted = fingerprint.replace("/", "%2F").replace("+", "%2B")
    assert 204 == (await alices.call("DELETE", f"/keys/{quoted}")).status
    assert [] == await house.accounts.keys("alice")


async def test_login_sessions(alices: Program, url: str, new_browser: NewBrowser) -> None:
    browsers = [new_browser(url) for _ in range(3)]
    for each in browsers:
        await each.log_in()

    listed = json.loads((await browsers[0].get(f"{API}/login-sessions")).text)["login_sessions"]
    assert [False, False, True] == sorted(login["current"] for login in listed)
    assert {"127.0.0.1"} == {login["address"] for login in listed}
    mine = next(login["id"] for login in listed if login["current"])

    assert 204 == (await alices.call("DELETE", f"/login-sessions/{mine}")).status
    assert [303, 200, 200] == [(await each.get("/")).status for each in browsers]
    assert 404 == problem(await alices.call("DELETE", f"/login-sessions/{mine}"))["status"]
    assert 204 == (await alices.call("DELETE", "/login-sessions")).status
    assert {"login_sessions": []} == await alices.json("GET", "/login-sessions")


async def test_tokens(alices: Program, browser: Browser) -> None:
    body = {"name": "backup", "scopes": ["environment:read"], "expires_in_s": 600}
    made = await alices.json("POST", "/tokens", body)
    assert made["secret"].startswith("rb_")
    listed = (await alices.json("GET", "/tokens"))["tokens"]
    assert made["token"] in listed
    assert made["secret"] not in json.dumps(listed)

    backup = Program(browser, made["secret"])
    assert "absent" == (await backup.json("GET", "/environment"))["state"]

    assert 204 == (await alices.call("DELETE", f"/tokens/{made['token']['id']}")).status
    assert 401 == problem(await backup.call("GET", "/environment"))["status"]


# A session: an environment that runs, and a link into it.


async def opened(answer: Answer, browser: Browser) -> Browser:
    """A browser that used the link."""
    session = json.loads(answer.text)
    assert (201, session["url"]) == (answer.status, answer.location)
    assert "running" == session["environment"]["state"]
    left = datetime.fromisoformat(session["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=4) < left <= timedelta(minutes=5)
    path = answer.location.removeprefix(browser.url)
    visitor = Browser(browser.url, browser.session)
    form = await visitor.get(path)
    assert 303 == (await visitor.post(path, {"form_token": form.form_token})).status
    return visitor


async def test_a_session_by_token(alices: Program, browser: Browser) -> None:
    visitor = await opened(await alices.call("POST", "/session"), browser)

    assert "<h1>alice</h1>" in (await visitor.get("/")).text
    again = await alices.json("POST", "/session")
    assert again["url"] != (await alices.json("POST", "/session"))["url"]


@pytest.mark.usefixtures("alice")
async def test_a_session_by_name_and_password(browser: Browser) -> None:
    body = {"name": "alice", "password": PASSWORD}

    await opened(await browser.request("POST", f"{API}/session", json=body), browser)

    assert {} == browser.cookies


@pytest.mark.usefixtures("alice")
async def test_a_session_by_login(browser: Browser) -> None:
    await browser.log_in()
    headers = {"Origin": browser.url, "X-CSRF-Token": (await browser.get("/")).form_token}

    await opened(await browser.request("POST", f"{API}/session", headers=headers), browser)


@pytest.mark.usefixtures("alice")
async def test_no_session_by_anything_else(browser: Browser, house: House) -> None:
    await house.accounts.create("locked", password=PASSWORD)
    await house.accounts.lock("locked")

    async def answer(body: object, **headers: str) -> dict[str, Any]:
        told = problem(await browser.request("POST", f"{API}/session", json=body, headers=headers))
        assert PASSWORD not in json.dumps(told)
        return told

    refusals = [
        await answer({"name": name, "password": password})
        for name, password in [("alice", "wrong password"), ("locked", PASSWORD), ("nobody", PASSWORD)]
    ]
    assert [401] * 3 == [refusal["status"] for refusal in refusals]
    assert 1 == len({refusal["detail"] for refusal in refusals})
    assert 401 == (await answer({}))["status"]
    assert 422 == (await answer({"name": "alice"}))["status"]
    assert 422 == (await answer({"name": "alice", "password": [PASSWORD]}))["status"]
    body = {"name": "alice", "password": PASSWORD}
    assert 403 == (await answer(body, Origin="https://evil.test"))["status"]
    assert {} == house.engine.host.containers


# Who may call what.


CALLS = [
    ("POST", "/session", Scope.SESSION_WRITE),
    ("GET", "/connections", Scope.ENVIRONMENT_READ),
    ("GET", "/sessions", Scope.SESSION_READ),
    ("DELETE", "/sessions/{number}", Scope.SESSION_WRITE),
    ("GET", "/environment", Scope.ENVIRONMENT_READ),
    ("POST", "/environment/start", Scope.ENVIRONMENT_WRITE),
    ("POST", "/environment/stop", Scope.ENVIRONMENT_WRITE),
    ("POST", "/environment/restart", Scope.ENVIRONMENT_WRITE),
    ("DELETE", "/environment", Scope.ENVIRONMENT_WRITE),
    ("GET", "/keys", Scope.KEYS_READ),
    ("POST", "/keys", Scope.KEYS_WRITE),
    ("DELETE", "/keys/{fingerprint}", Scope.KEYS_WRITE),
    ("GET", "/login-sessions", Scope.LOGINS_READ),
    ("DELETE", "/login-sessions", Scope.LOGINS_WRITE),
    ("DELETE", "/login-sessions/{id}", Scope.LOGINS_WRITE),
    ("GET", "/tokens", Scope.TOKENS_READ),
    ("POST", "/tokens", Scope.TOKENS_WRITE),
    ("DELETE", "/tokens/{id}", Scope.TOKENS_WRITE),
    ("GET", "/activity", Scope.ACTIVITY_READ),
    ("GET", "/exports", Scope.EXPORT_READ),
    ("POST", "/exports", Scope.EXPORT_WRITE),
    ("GET", "/exports/{id}", Scope.EXPORT_READ),
    ("DELETE", "/exports/{id}", Scope.EXPORT_WRITE),
    ("HEAD", "/imports/{id}/data", Scope.IMPORT_WRITE),
    ("PATCH", "/imports/{id}/data", Scope.IMPORT_WRITE),
    ("GET", "/imports/{id}", Scope.IMPORT_WRITE),
    ("POST", "/imports/{id}/unpack", Scope.IMPORT_WRITE),
    ("DELETE", "/imports/{id}", Scope.IMPORT_WRITE),
]


ADMIN_CALLS = [
    ("GET", "/admin/accounts", Scope.ADMIN_READ),
    ("POST", "/admin/accounts", Scope.ADMIN_WRITE),
    ("GET", "/admin/accounts/{name}", Scope.ADMIN_READ),
    ("POST", "/admin/accounts/{name}/lock", Scope.ADMIN_WRITE),
    ("POST", "/admin/accounts/{name}/unlock", Scope.ADMIN_WRITE),
    ("PUT", "/admin/accounts/{name}/password", Scope.ADMIN_WRITE),
    ("DELETE", "/admin/accounts/{name}", Scope.ADMIN_WRITE),
    ("GET", "/admin/environments", Scope.ADMIN_READ),
    ("POST", "/admin/environments/{name}/stop", Scope.ADMIN_WRITE),
    ("DELETE", "/admin/environments/{name}", Scope.ADMIN_WRITE),
    ("GET", "/admin/bans", Scope.ADMIN_READ),
    ("POST", "/admin/bans", Scope.ADMIN_WRITE),
    ("DELETE", "/admin/bans", Scope.ADMIN_WRITE),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[0]} {call[1]}")
async def test_a_token_does_what_its_scopes_say_and_no_more(
    browser: Browser, house: House, alice: Account, call: tuple[str, str, Scope]
) -> None:
    method, template, scope = call
    path = template.replace("{", "").replace("}", "")
    without = await program(browser, house, alice, *(scopes_of(alice) - {scope}))
    with_it = await program(browser, house, alice, scope)

    refused = await without.call(method, path)
    assert method == "HEAD" or f"no scope {scope.value}" in problem(refused)["detail"]
    assert (403, True) == (refused.status, "insufficient_scope" in refused.headers["WWW-Authenticate"])
    assert (await with_it.call(method, path)).status not in {401, 403}
    nobody = await browser.request(method, API + path)
    assert (401, "Bearer") == (nobody.status, nobody.headers["WWW-Authenticate"])


async def test_a_token_makes_none_that_is_worth_more(browser: Browser, house: House, alice: Account) -> None:
    maker = await program(
        browser, house, alice, Scope.TOKENS_WRITE, Scope.KEYS_READ, lifetime=timedelta(minutes=10)
    )

    more = await maker.call("POST", "/tokens", {"name": "x", "scopes": ["keys:read", "keys:write"]})
    assert "no other scopes" in problem(more)["detail"]
    assert 403 == more.status
    made = await maker.json("POST", "/tokens", {"name": "x", "scopes": ["keys:read"]})
    left = datetime.fromisoformat(made["token"]["expires_at"]) - datetime.now(UTC)
    assert left <= timedelta(minutes=10)


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer x",
        "Bearer rb_" + "A" * 43,
        "Basic YWxpY2U6eA==",
        "",
        "Bearer \xe9",
        "Bearer " + "x" * 7000,
    ],
)
@pytest.mark.usefixtures("alice")
async def test_what_is_no_token_is_refused_even_beside_a_cookie(browser: Browser, authorization: str) -> None:
    await browser.log_in()

    answer = await browser.get(f"{API}/environment", Authorization=authorization)

    assert 401 == problem(answer)["status"]
    assert 'Bearer error="invalid_token"' == answer.headers["WWW-Authenticate"]


async def test_a_token_ends(browser: Browser, house: House, alice: Account) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    past = Tokens(SqlTokenStore(house.database), now=lambda: yesterday)
    secret, _ = await past.create(
        alice, name="old", scopes=scopes_of(alice), lifetime=timedelta(hours=23, minutes=59)
    )

    assert 401 == (await Program(browser, secret).call("GET", "/environment")).status


async def test_a_token_is_no_use_while_the_account_is_locked(alices: Program, house: House) -> None:
    await house.accounts.lock("alice")
    assert 401 == (await alices.call("GET", "/environment")).status

    await house.accounts.unlock("alice")
    assert 200 == (await alices.call("GET", "/environment")).status


async def test_nobody_reaches_what_is_somebody_elses(alices: Program, browser: Browser, house: House) -> None:
    mallory = await house.accounts.create("mallory", password=PASSWORD)
    theirs = await program(browser, house, mallory)
    added = await alices.json("POST", "/keys", {"line": KEY_LINE})
    token = (await alices.json("GET", "/tokens"))["tokens"][0]
    await browser.log_in()
    login = (await alices.json("GET", "/login-sessions"))["login_sessions"][0]
    quoted = added["fingerprint"].replace("/", "%2F").replace("+", "%2B")

    for path in (f"/keys/{quoted}", f"/tokens/{token['id']}", f"/login-sessions/{login['id']}"):
        assert 404 == problem(await theirs.call("DELETE", path))["status"]
    assert {"keys": []} == await theirs.json("GET", "/keys")


# A page of this site calls, with the browser's cookie.


@pytest.mark.usefixtures("alice")
async def test_a_page_reads_and_with_its_token_changes(browser: Browser) -> None:
    await browser.log_in()
    token = (await browser.get("/")).form_token

    assert 200 == (await browser.get(f"{API}/environment")).status
    answer = await browser.request(
        "POST", f"{API}/environment/start", headers={"Origin": browser.url, "X-CSRF-Token": token}
    )
    assert (200, "running") == (answer.status, json.loads(answer.text)["state"])


@pytest.mark.usefixtures("alice")
async def test_no_other_page_changes_anything(browser: Browser, house: House) -> None:
    await browser.log_in()
    token = (await browser.get("/")).form_token

    for headers in (
        {},
        {"X-CSRF-Token": token},
        {"Origin": browser.url},
        {"Origin": browser.url, "X-CSRF-Token": "0" * 64},
        {"Origin": "null", "X-CSRF-Token": token},
        {"Origin": "https://evil.test", "X-CSRF-Token": token},
        {"Origin": browser.url, "Sec-Fetch-Site": "same-site", "X-CSRF-Token": token},
    ):
        answer = await browser.request("POST", f"{API}/environment/start", headers=headers)
        assert 403 == problem(answer)["status"]
    assert {} == house.engine.host.containers


# What goes wrong.


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (b"", [""]),
        (b"{", [""]),
        (b"[" * 60_000, [""]),
        (b"\xff", [""]),
        (b"[]", [""]),
        (b"{}", ["/name", "/scopes"]),
        (b'{"name": "", "scopes": ["tokens:read"]}', ["/name"]),
        (b'{"name": "x", "scopes": ["everything"]}', ["/scopes/0"]),
        (b'{"name": "x", "scopes": []}', ["/scopes"]),
        (b'{"name": "\\ud800", "scopes": ["tokens:read"]}', [""]),
        (b'{"name": "x", "scopes": ["tokens:read"], "a/b~": 1}', ["/a~1b~0"]),
        (b'{"name": "x", "scopes": ["tokens:read"], "expires_in_s": 1e400}', ["/expires_in_s"]),
    ],
)
async def test_a_body_that_will_not_do(alices: Program, body: bytes, pointers: list[str]) -> None:
    answer = await alices.browser.request(
        "POST",
        f"{API}/tokens",
        data=body,
        headers={"Authorization": f"Bearer {alices.secret}", "Content-Type": "application/json"},
    )

    told = problem(answer)
    assert (422, pointers) == (told["status"], sorted(fault["pointer"] for fault in told["errors"]))


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"name": 7, "password": ["x"]}, ["/name", "/password"]),
        ({"name": "a" * 257, "password": "a" * 1025}, ["/name", "/password"]),
        ({"name": None, "password": "x"}, [""]),
        ({"name": "alice"}, [""]),
        ({"name": "alice", "password": "x", "session": 1}, ["/session"]),
    ],
)
async def test_what_is_wrong_with_a_name_and_a_password_is_said_by_pointers_into_the_body(
    browser: Browser, body: object, pointers: list[str]
) -> None:
    told = problem(await browser.request("POST", f"{API}/session", json=body))
    assert (422, pointers) == (told["status"], sorted(fault["pointer"] for fault in told["errors"]))
    assert not [fault for fault in told["errors"] if fault["detail"].startswith("Value error")]


def test_a_name_and_a_password_are_texts_that_may_be_left_out(document: dict[str, Any]) -> None:
    asked = document["components"]["schemas"]["NewSession"]
    assert "required" not in asked
    for name, length in (("name", 256), ("password", 1024)):
        assert ("string", length) == (
            asked["properties"][name]["type"],
            asked["properties"][name]["maxLength"],
        )
        assert not {"anyOf", "default"} & asked["properties"][name].keys()


async def test_a_body_is_json(alices: Program) -> None:
    answer = await alices.browser.post(
        f"{API}/tokens", {"name": "x"}, headers={"Authorization": f"Bearer {alices.secret}"}
    )

    assert 415 == problem(answer)["status"]


async def test_tmux_sessions_of_an_environment_that_does_not_run(alices: Program) -> None:
    assert {"sessions": []} == await alices.json("GET", "/sessions")
    assert 404 == problem(await alices.call("DELETE", "/sessions/3"))["status"]


async def test_an_engine_that_is_away(alices: Program, house: House) -> None:
    house.engine.away = True

    answer = await alices.call("POST", "/environment/start")

    assert "does not answer" in problem(answer)["detail"]
    assert (503, "5") == (answer.status, answer.headers["Retry-After"])


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("PUT", "/environment", 405), ("GET", "", 404)]
)
async def test_what_is_not_there_is_a_problem_too(
    browser: Browser, method: str, path: str, status: int
) -> None:
    answer = await browser.request(method, API + path)

    assert status == problem(answer)["status"]
    assert "nosniff" == answer.headers["X-Content-Type-Options"]


# The document.


@pytest.fixture
async def document(browser: Browser) -> dict[str, Any]:
    found = json.loads((await browser.get(f"{API}/openapi.json")).text)
    assert isinstance(found, dict)
    return found


def references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert ("3.1.0", __version__) == (document["openapi"], document["info"]["version"])
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(CALLS) + len(ADMIN_CALLS) == len(names) == len(set(names))


def test_it_says_what_fields_are_and_what_operations_are_about(document: dict[str, Any]) -> None:
    properties = document["components"]["schemas"]["Export"]["properties"]
    assert "When it is deleted." == properties["expires_at"]["description"]
    (cursor, _) = document["paths"]["/activity"]["get"]["parameters"]
    assert cursor["schema"]["description"].startswith("`next_cursor` of the answer before")
    assert ["exports"] == document["paths"]["/exports/{id}"]["get"]["tags"]
    assert ["admin/bans"] == document["paths"]["/admin/bans"]["post"]["tags"]


def test_all_that_it_refers_to_is_in_it(document: dict[str, Any]) -> None:
    found = set(references(document))

    assert "#/components/schemas/Problem" in found
    components = document["components"]
    assert found <= {
        f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in components[kind]
    }


def test_it_says_which_scope_is_needed(document: dict[str, Any]) -> None:
    assert {(method, path): [scope.value] for method, path, scope in CALLS + ADMIN_CALLS} == {
        (method.upper(), path): operation["security"][0]["token"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


async def test_it_says_below_what_path(house: House, new_browser: NewBrowser) -> None:
    async with house.open(WebSettings(public_url="https://example.test/box")) as url:
        answer = await new_browser(url).get(f"/box{API}/openapi.json")

    assert [{"url": f"/box{API}"}] == json.loads(answer.text)["servers"]
