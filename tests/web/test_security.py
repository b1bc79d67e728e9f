"""What must hold on every route: the tests walk the router, so that a route added tomorrow is in them."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from rootblood.domain.accounts import Account
from rootblood.services.endings import Endings
from rootblood.services.logins import Logins
from rootblood.settings import WebSettings
from rootblood.web.clients import Client, Clients
from tests.web.conftest import PASSWORD, Browser, House, NewBrowser
from tests.web.test_server import SilentLog
from tests.web.test_terminal_page import UPGRADE

PUBLIC = "https://example.test"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
PARTS = {
    "id": "0" * 32,
    "number": "1",
    "fingerprint": "SHA256:" + "A" * 43,
    "secret": "A" * 43,
}
"""In place of the parts of paths; any other is `x`."""

OPEN = {"/healthz", "/readyz"}

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "RootBlood",
}


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    """With something in place of each part."""

    @property
    def is_asset(self) -> bool:
        return self.path.startswith("/assets/")

    @property
    def is_api(self) -> bool:
        return self.path.startswith("/api/")


async def routes_of(house: House) -> list[Route]:
    """All that the door answers, but HEAD, which comes with GET."""
    application = await asyncio.to_thread(house.door(WebSettings())._application)
    found = set()
    for route in application.router.routes():
        assert route.resource is not None
        path = re.sub(r"\{(\w+)[^}]*\}", lambda part: PARTS.get(part[1], "x"), route.resource.canonical)
        found.add(Route(route.method, path))
    return sorted(
        (route for route in found if route.method != "HEAD"), key=lambda route: (route.path, route.method)
    )


@pytest.fixture
async def routes(house: House) -> list[Route]:
    return await routes_of(house)


def changing(routes: list[Route]) -> Iterator[Route]:
    """Those that change something."""
    return (route for route in routes if route.method not in {"GET", "HEAD"})


def wanting(headers: object) -> list[str]:
    """What a response lacks of what each must have."""
    lower = {name.lower(): value for name, value in dict(headers).items()}  # type: ignore[call-overload]
    wrong = [
        f"{name}: {lower.get(name.lower())}"
        for name, value in HEADERS.items()
        if lower.get(name.lower()) != value
    ]
    policy = lower.get("content-security-policy", "")
    needed = ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'")
    wrong += [f"policy without {part}" for part in needed if part not in policy]
    wrong += [f"policy with {part}" for part in ("unsafe", "*", "data:") if part in policy]
    if "camera=()" not in lower.get("permissions-policy", ""):
        wrong.append("permissions-policy")
    if lower.get("referrer-policy") not in {"no-referrer", "same-origin"}:
        wrong.append(f"referrer-policy: {lower.get('referrer-policy')}")
    return wrong


async def test_the_router_is_walked(routes: list[Route]) -> None:
    found = {(route.method, route.path) for route in routes}
    assert {
        ("GET", "/"),
        ("POST", "/login"),
        ("POST", f"/session/{PARTS['secret']}"),
        ("GET", "/terminal/ws"),
        ("DELETE", f"/api/v1/tokens/{PARTS['id']}"),
    } <= found
    assert any(route.is_asset for route in routes)


@pytest.mark.parametrize("logged_in", [False, True])
async def test_every_route_and_method_has_the_headers_and_is_not_kept(
    browser: Browser, alice: Account, routes: list[Route], *, logged_in: bool
) -> None:
    if logged_in:
        await browser.log_in(alice.name)
    session = dict(browser.cookies)
    statuses = set()
    for path in [*sorted({route.path for route in routes}), "/nothing", "/api/v1/nothing", "/a%00b"]:
        for method in METHODS:
            answer = await browser.request(method, path)
            browser.cookies = dict(session)
            statuses.add(answer.status)
            assert [] == wanting(answer.headers), (method, path, answer.status)
            cached = answer.headers["Cache-Control"]
            if path.startswith("/assets/") and answer.status == 200:
                assert "immutable" in cached
            else:
                assert "no-store" == cached, (method, path, answer.status)
            assert answer.status < 500, (method, path, answer.text)
    assert {200, 303, 403, 404, 405} <= statuses


async def test_a_defect_anywhere_has_the_headers_and_no_details(
    browser: Browser, routes: list[Route], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_clients: Clients, _request: object) -> Client:
        raise ValueError("secret detail")

    monkeypatch.setattr(Clients, "of", fail)
    monkeypatch.setattr("rootblood.web.middlewares._log", SilentLog())
    for route in routes:
        if route.path in OPEN or route.is_asset:
            continue
        answer = await browser.request(route.method, route.path)
        assert 500 == answer.status, route
        assert [] == wanting(answer.headers), route
        assert "no-store" == answer.headers["Cache-Control"]
        assert "secret detail" not in answer.text
        expected = "application/problem+json" if route.is_api else "text/html"
        assert expected == answer.headers["Content-Type"].partition(";")[0], route


# Who may change something: a page of this very site, with a token that only it can have.


@dataclass
class Behind:
    """A browser at a site that is reached by TLS, and how it sends a change as its page would."""

    browser: Browser
    token: str

    async def change(self, route: Route, *, token: str | None, headers: dict[str, str]) -> int:
        sent = dict(headers)
        if route.is_api:
            sent |= {} if token is None else {"X-CSRF-Token": token}
            return (await self.browser.request(route.method, route.path, headers=sent)).status
        fields = {} if token is None else {"form_token": token}
        return (await self.browser.request(route.method, route.path, headers=sent, data=fields)).status


@pytest.fixture
async def behind(house: House, alice: Account, new_browser: NewBrowser) -> AsyncIterator[Behind]:
    async with house.open(WebSettings(public_url=PUBLIC)) as url:
        browser = new_browser(url)
        browser.origin = PUBLIC
        await browser.log_in(alice.name)
        yield Behind(browser, (await browser.get("/")).form_token)


ORIGINS = {
    "absent": {},
    "null": {"Origin": "null"},
    "empty": {"Origin": ""},
    "another site": {"Origin": "https://evil.test"},
    "a sibling": {"Origin": "https://other.example.test"},
    "a parent": {"Origin": "https://test"},
    "a longer name": {"Origin": "https://example.test.evil.test"},
    "another scheme": {"Origin": "http://example.test"},
    "another port": {"Origin": "https://example.test:8443"},
    "with a path": {"Origin": "https://example.test/"},
    "two": {"Origin": "https://example.test, https://evil.test"},
    "by the browser's word": {"Origin": PUBLIC, "Sec-Fetch-Site": "cross-site"},
    "a sibling's by the browser's word": {"Origin": PUBLIC, "Sec-Fetch-Site": "same-site"},
}


@pytest.mark.parametrize("headers", ORIGINS.values(), ids=ORIGINS)
async def test_no_change_from_elsewhere_on_any_route(
    behind: Behind, house: House, routes: list[Route], headers: dict[str, str]
) -> None:
    before = await house.audit.list(await house.accounts.get("alice"), limit=100)

    statuses = {
        route: await behind.change(route, token=behind.token, headers=headers) for route in changing(routes)
    }

    assert len(statuses) > 15
    assert {} == {route: status for route, status in statuses.items() if status != 403}
    assert before == await house.audit.list(await house.accounts.get("alice"), limit=100)
    assert 200 == (await behind.browser.get("/")).status


@pytest.mark.parametrize("given", ["none", "empty", "wrong", "of the attacker's login", "of another login"])
async def test_no_change_without_the_token_on_any_route(
    behind: Behind, house: House, routes: list[Route], given: str
) -> None:
    other = Browser(behind.browser.url, behind.browser.session, origin=PUBLIC)
    if given == "of the attacker's login":
        await house.accounts.create("mallory", password=PASSWORD)
    await other.log_in("mallory" if given == "of the attacker's login" else "alice")
    theirs = (await other.get("/")).form_token
    token = {"none": None, "empty": "", "wrong": "0" * 64}.get(given, theirs)

    statuses = {
        route: await behind.change(route, token=token, headers={"Origin": PUBLIC})
        for route in changing(routes)
    }

    assert {} == {route: status for route, status in statuses.items() if status != 403}
    assert 200 == (await behind.browser.get("/")).status


@pytest.mark.parametrize(
    "headers",
    [headers for name, headers in ORIGINS.items() if "word" not in name],
    ids=str,
)
async def test_no_websocket_from_elsewhere(behind: Behind, headers: dict[str, str]) -> None:
    answer = await behind.browser.get("/terminal/ws", **headers, **UPGRADE)

    assert 403 == answer.status


async def test_the_websocket_wants_a_login(behind: Behind) -> None:
    behind.browser.cookies.clear()

    assert 403 == (await behind.browser.get("/terminal/ws", Origin=PUBLIC, **UPGRADE)).status


async def test_no_answer_lets_another_site_read(behind: Behind, routes: list[Route]) -> None:
    for path in sorted({route.path for route in routes}):
        for method in ("GET", "OPTIONS"):
            answer = await behind.browser.request(
                method,
                path,
                headers={"Origin": "https://evil.test", "Access-Control-Request-Method": "POST"},
            )
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


# Login sessions.


@pytest.mark.parametrize(
    ("age", "unused"),
    [(timedelta(hours=12), timedelta(hours=12)), (timedelta(days=7), timedelta(minutes=1))],
    ids=["unused", "old"],
)
async def test_an_expired_session_is_none(
    browser: Browser, house: House, alice: Account, *, age: timedelta, unused: timedelta
) -> None:
    now = datetime.now(UTC)
    at = now - age
    logins = Logins(house.login_store, WebSettings(), Endings(), now=lambda: at)
    token = await logins.begin(alice, address="127.0.0.1", user_agent="")
    while at < now - unused:  # used now and then until the last time
        at = min(at + timedelta(hours=11), now - unused)
        assert None is not await logins.find(token)
    browser.cookies["rootblood"] = token

    asked = {
        route.path: (await browser.get(route.path)).status
        for route in await routes_of(house)
        if route.method == "GET" and (route.is_api or route.path in {"/", "/tokens", "/terminal"})
    }

    assert 200 == asked.pop("/api/v1/openapi.json")
    assert len(asked) > 7
    assert {} == {path: status for path, status in asked.items() if status not in {303, 401}}
    assert 403 == (await browser.get("/terminal/ws", Origin=browser.url, **UPGRADE)).status


@pytest.mark.parametrize("ending", ["logged out", "ended elsewhere", "locked", "deleted", "another password"])
async def test_a_session_that_was_ended_is_none_at_any_door_of_the_site(
    browser: Browser, house: House, alice: Account, ending: str
) -> None:
    await browser.log_in()
    kept = dict(browser.cookies)
    if ending == "logged out":
        await browser.press("/logout")
    elif ending == "ended elsewhere":
        (login,) = await house.logins.list(alice)
        await house.logins.end(alice, login.id)
    elif ending == "locked":
        await house.accounts.lock("alice")
    elif ending == "deleted":
        await house.accounts.delete("alice")
    else:
        await house.accounts.set_password("alice", "another password")
    browser.cookies = kept

    statuses = [
        (await browser.get("/")).status,
        (await browser.get("/api/v1/environment")).status,
        (await browser.get("/terminal/ws", Origin=browser.url, **UPGRADE)).status,
    ]

    assert [303, 401, 403] == statuses
    assert [] == await house.login_store.list(alice.userhash)


# One-time links.


async def test_a_previewer_burns_no_link(browser: Browser, house: House, alice: Account) -> None:
    secret, _ = await house.links.make(alice)
    path = f"/session/{secret}"

    for method in ("GET", "HEAD", "OPTIONS", "PUT", "HEAD", "GET"):
        answer = await browser.request(method, path)
        assert (200 if method in {"GET", "HEAD"} else 405) == answer.status

    form = await browser.get(path)
    assert 303 == (await browser.post(path, {"form_token": form.form_token})).status


async def test_two_presses_at_once_log_in_once(
    url: str, house: House, alice: Account, new_browser: NewBrowser
) -> None:
    secret, _ = await house.links.make(alice)
    path = f"/session/{secret}"
    browsers = [new_browser(url) for _ in range(5)]
    forms = [await browser.get(path) for browser in browsers]

    answers = await asyncio.gather(
        *(
            browser.post(path, {"form_token": form.form_token})
            for browser, form in zip(browsers, forms, strict=True)
        )
    )

    assert [303, 410, 410, 410, 410] == sorted(answer.status for answer in answers)
    assert 1 == len(await house.logins.list(alice))


async def test_a_link_says_whom_it_logs_in(browser: Browser, house: House, alice: Account) -> None:
    mallory = await house.accounts.create("mallory")
    await browser.log_in(alice.name)
    secret, _ = await house.links.make(mallory)

    assert "Log in as mallory" in (await browser.get(f"/session/{secret}")).text
    assert "<h1>alice</h1>" in (await browser.get("/")).text


# Open redirects.


ELSEWHERE = ["https://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)"]


@pytest.mark.parametrize("target", ELSEWHERE)
async def test_nothing_leads_to_another_site(
    browser: Browser, house: House, alice: Account, routes: list[Route], target: str
) -> None:
    wanted = dict.fromkeys(("next", "url", "return", "redirect", "continue", "session"), target)
    form = await browser.get("/login")
    fields = {"form_token": form.form_token, "name": "alice", "password": PASSWORD, **wanted}
    async with browser.session.post(
        f"{browser.url}/login",
        params=wanted,
        data=fields,
        headers={
            "Origin": browser.url,
            "Referer": target,
            "X-Forwarded-Host": "evil.test",
            "Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items()),
        },
        allow_redirects=False,
    ) as response:
        assert (303, "/") == (response.status, response.headers["Location"])

    for path in sorted({route.path for route in routes}):
        async with browser.session.get(
            f"{browser.url}{path}",
            params=wanted,
            headers={"X-Forwarded-Host": "evil.test"},
            allow_redirects=False,
        ) as response:
            assert response.headers.get("Location", "/login") in {"/", "/login"}, path
    assert 404 == (await browser.get("//evil.test/%2e%2e")).status
    del house, alice
