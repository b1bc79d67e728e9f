"""In and out with a browser, and every way in that must not be one."""

import asyncio
import itertools
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Actor, Door
from rootblood.errors import StoreUnavailableError
from rootblood.services.endings import Endings
from rootblood.services.logins import Logins
from rootblood.services.passwords import Passwords
from rootblood.settings import PenaltySettings, WebSettings
from rootblood.stores.sql.logins import SqlLoginStore
from tests.web.conftest import PASSWORD, Answer, Browser, House, NewBrowser

pytestmark = pytest.mark.usefixtures("alice")

PUBLIC = "https://example.test"
ELSEWHERE = Actor(Door.SSH, "203.0.113.7")
WRONG_ORIGINS = [
    "null",
    "",
    "https://evil.test",
    "https://sub.example.test",
    "http://example.test",
    "https://example.test:8443",
    "https://example.test.evil.test",
]


async def is_logged_in(browser: Browser) -> bool:
    return 200 == (await browser.get("/")).status


async def test_a_login_shows_the_start_page(browser: Browser) -> None:
    before = await browser.get("/")
    assert (303, "/login") == (before.status, before.location)

    answer = await browser.log_in()
    assert (303, "/") == (answer.status, answer.location)

    page = await browser.get("/")
    assert (200, True) == (page.status, "<h1>alice</h1>" in page.text)
    form = await browser.get("/login")
    assert (303, "/") == (form.status, form.location)


async def test_a_logout_ends_it_on_the_server_too(browser: Browser) -> None:
    await browser.log_in()
    stolen = dict(browser.cookies)

    answer = await browser.press("/logout")

    assert (303, "/login") == (answer.status, answer.location)
    assert {} == browser.cookies
    browser.cookies = stolen
    assert not await is_logged_in(browser)


async def test_the_login_is_the_last_one_everywhere(browser: Browser, house: House, alice: Account) -> None:
    await browser.log_in()
    await house.visits.close()

    arrival = await house.visits.arrive(alice, by=ELSEWHERE)

    assert arrival is not None
    assert arrival.before is not None
    assert "127.0.0.1" == arrival.before.address


@pytest.mark.parametrize("name", ["alice", "locked", "nobody", "keys-only", "../../etc", "", "a" * 1000])
async def test_all_refusals_are_one(browser: Browser, house: House, name: str) -> None:
    await house.accounts.create("locked", password=PASSWORD)
    await house.accounts.lock("locked")
    await house.accounts.create("keys-only")

    answer = await browser.log_in(name, "wrong password" if name == "alice" else PASSWORD)

    assert 403 == answer.status
    assert "That is not the name of an account with this password." in answer.text
    assert {"rootblood-form"} == browser.cookies.keys()
    assert PASSWORD not in answer.text


async def test_what_was_typed_is_shown_as_text(browser: Browser) -> None:
    answer = await browser.log_in('"><script>alert(1)</script>')

    assert "<script>" not in answer.text


async def test_a_refused_form_can_be_sent_again(browser: Browser) -> None:
    refused = await browser.log_in(password="wrong password")
    assert 'value="alice"' in refused.text

    fields = {"form_token": refused.form_token, "name": "alice", "password": PASSWORD}
    assert 303 == (await browser.post("/login", fields)).status


# Cookies.


async def test_the_cookie_over_loopback(browser: Browser) -> None:
    await browser.log_in()

    assert {"rootblood"} == browser.cookies.keys()
    for line in browser.set_cookies:
        attributes = set(line.split("; ")[1:])
        assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= attributes
        assert {"Secure"}.isdisjoint(attributes)
        assert "Domain" not in line


async def test_the_cookie_over_tls(house: House, new_browser: NewBrowser) -> None:
    async with house.open(WebSettings(public_url=PUBLIC)) as url:
        browser = new_browser(url)
        browser.origin = PUBLIC
        await browser.log_in()

        assert {"__Host-rootblood"} == browser.cookies.keys()
        for line in browser.set_cookies:
            assert {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"} <= set(line.split("; ")[1:])
            assert "Domain" not in line
        assert await is_logged_in(browser)

        browser.cookies = {"rootblood": browser.cookies["__Host-rootblood"]}
        assert not await is_logged_in(browser), "a cookie that a page without TLS could have set"


async def test_no_token_is_fixed_by_who_came_before(browser: Browser, house: House, alice: Account) -> None:
    """An attacker gives the victim a token of their own choice, or of their own login session."""
    mallory = await house.accounts.create("mallory", password=PASSWORD)
    theirs = await house.logins.begin(mallory, address="203.0.113.7", user_agent="")
    for planted in ("A" * 43, theirs):
        browser.cookies.clear()
        fields = await filled_in(browser)
        browser.cookies["rootblood"] = planted

        assert 303 == (await browser.post("/login", fields)).status

        assert planted != browser.cookies["rootblood"]
        assert None is await house.logins.find(planted)
    assert 2 == len(await house.logins.list(alice))


async def test_another_login_of_the_same_browser_ends_the_first(
    browser: Browser, house: House, alice: Account
) -> None:
    """The back button brings the form again."""
    form = await browser.get("/login")
    form_cookies = dict(browser.cookies)
    fields = {"form_token": form.form_token, "name": "alice", "password": PASSWORD}
    await browser.post("/login", fields)
    first = browser.cookies["rootblood"]

    browser.cookies |= form_cookies
    await browser.post("/login", fields)

    assert first != browser.cookies["rootblood"]
    assert 1 == len(await house.logins.list(alice))


# Requests that other sites make.


async def filled_in(browser: Browser) -> dict[str, str]:
    form = await browser.get("/login")
    return {"form_token": form.form_token, "name": "alice", "password": PASSWORD}


@pytest.mark.parametrize("origin", WRONG_ORIGINS)
async def test_no_login_from_another_site(house: House, new_browser: NewBrowser, origin: str) -> None:
    async with house.open(WebSettings(public_url=PUBLIC)) as url:
        browser = new_browser(url)
        answer = await browser.post("/login", await filled_in(browser), headers={"Origin": origin})

    assert (403, True) == (answer.status, f"did not come from a page of {PUBLIC}," in answer.text)
    assert {"__Host-rootblood-form"} == browser.cookies.keys()


async def test_no_login_without_an_origin(browser: Browser) -> None:
    answer = await browser.request("POST", "/login", data=await filled_in(browser))

    assert 403 == answer.status


async def test_no_login_with_two_origins(browser: Browser) -> None:
    fields = await filled_in(browser)
    headers = [("Origin", browser.url), ("Origin", "https://evil.test")]
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    async with browser.session.post(
        f"{browser.url}/login", data=fields, headers=[*headers, ("Cookie", cookie)]
    ) as response:
        assert 403 == response.status


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
async def test_no_login_that_the_browser_says_is_from_elsewhere(browser: Browser, site: str) -> None:
    answer = await browser.post("/login", await filled_in(browser), headers={"Sec-Fetch-Site": site})

    assert 403 == answer.status


@pytest.mark.parametrize("token", ["", "0" * 64, "\u0660" * 64])
async def test_no_forced_login(browser: Browser, token: str) -> None:
    """A page elsewhere has the victim's browser log in to the attacker's account."""
    fields = {**await filled_in(browser), "form_token": token}

    assert 403 == (await browser.post("/login", fields)).status
    assert "rootblood" not in browser.cookies


async def test_no_login_with_the_form_of_another_browser(
    browser: Browser, url: str, new_browser: NewBrowser
) -> None:
    fields = await filled_in(browser)
    victim = new_browser(url)
    await victim.get("/login")

    assert 403 == (await victim.post("/login", fields)).status
    victim.cookies.clear()
    assert 403 == (await victim.post("/login", fields)).status


BUTTONS = ["/logout", "/environment/stop", "/environment/restart", "/login-sessions/end"]


@pytest.mark.parametrize("path", BUTTONS)
async def test_no_button_is_pressed_from_elsewhere(
    browser: Browser, house: House, alice: Account, path: str
) -> None:
    await browser.log_in()
    await house.environments.start(alice)
    token = (await browser.get("/")).form_token
    await house.accounts.create("mallory", password=PASSWORD)
    attacker = Browser(browser.url, browser.session)
    await attacker.log_in("mallory")
    token_of_attacker = (await attacker.get("/")).form_token

    answers = [
        await browser.post(path, {"form_token": token}, headers={"Origin": "https://evil.test"}),
        await browser.request("POST", path, data={"form_token": token}),
        await browser.post(path, {}),
        await browser.post(path, {"form_token": token_of_attacker}),
        await browser.request("POST", path, json={"form_token": token}, headers={"Origin": browser.url}),
    ]

    assert [403, 403, 403, 403, 415] == [answer.status for answer in answers]
    assert await is_logged_in(browser)
    assert [] == house.engine.stop_graces
    assert 405 == (await browser.get(path)).status


# The end of a login session.


async def test_one_that_expired_is_at_the_login_form(browser: Browser, house: House, alice: Account) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=13)
    past = Logins(house.login_store, WebSettings(), Endings(), now=lambda: long_ago)
    browser.cookies["rootblood"] = await past.begin(alice, address="127.0.0.1", user_agent="")

    answer = await browser.get("/")
    assert (303, "/login") == (answer.status, answer.location)
    answer = await browser.post("/environment/start", {"form_token": "0" * 64})
    assert (303, "/login") == (answer.status, answer.location)
    assert {} == house.engine.host.containers


@pytest.mark.parametrize("change", ["lock", "unlock", "password", "delete"])
async def test_a_change_of_the_account_logs_out(browser: Browser, house: House, change: str) -> None:
    await browser.log_in()
    if change == "lock":
        await house.accounts.lock("alice")
    elif change == "unlock":
        await house.accounts.unlock("alice")
    elif change == "password":
        await house.accounts.set_password("alice", PASSWORD)
    else:
        await house.accounts.delete("alice")

    assert not await is_logged_in(browser)


# Floods and faults.


async def test_a_source_of_many_wrong_passwords_waits(house: House, new_browser: NewBrowser) -> None:
    settings = WebSettings(trusted_proxies=("127.0.0.0/8",), public_url=PUBLIC)

    def browser_from(address: str) -> Browser:
        browser = new_browser(url, **{"X-Forwarded-For": address})
        browser.origin = PUBLIC
        return browser

    async with house.open(settings, PenaltySettings(free_failures=2, first_s=60)) as url:
        attacker = browser_from("203.0.113.7")
        for _ in range(3):
            assert 403 == (await attacker.log_in(password="wrong password")).status

        refused = await attacker.log_in()
        forged = await browser_from("198.51.100.1, 203.0.113.7").log_in()
        elsewhere = await browser_from("203.0.113.8").log_in()

    assert [429, 429, 303] == [refused.status, forged.status, elsewhere.status]
    assert 50 < int(refused.headers["Retry-After"]) <= 60
    assert "too many wrong passwords" in refused.text


async def test_a_full_queue_says_when_to_come_again(
    house: House, new_browser: NewBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two passwords are checked at a time and two wait; the others are refused at once."""
    go_on = threading.Event()
    verify = Passwords._verify

    def held_up(self: Passwords, password_hash: str, encoded: bytes) -> bool:
        go_on.wait(20)
        return verify(self, password_hash, encoded)

    monkeypatch.setattr(Passwords, "_verify", held_up)
    settings = WebSettings(trusted_proxies=("127.0.0.0/8",), public_url=PUBLIC)
    async with house.open(settings) as url:

        async def log_in(number: int) -> Answer:
            browser = new_browser(url, **{"X-Forwarded-For": f"203.0.113.{number}"})
            browser.origin = PUBLIC
            return await browser.log_in()

        tasks = [asyncio.ensure_future(log_in(number)) for number in range(6)]
        refused = [await next_ for next_ in itertools.islice(asyncio.as_completed(tasks), 2)]
        go_on.set()
        accepted = await asyncio.gather(*tasks)

    assert [(503, "5")] * 2 == [(answer.status, answer.headers["Retry-After"]) for answer in refused]
    assert "too many logins at once" in refused[0].text
    assert [303] * 4 + [503] * 2 == sorted(answer.status for answer in accepted)


async def test_without_a_database_nobody_gets_in(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = await filled_in(browser)

    async def fail(*_: object, **__: object) -> None:
        raise StoreUnavailableError("the database does not answer")

    monkeypatch.setattr(SqlLoginStore, "add", fail)
    answer = await browser.post("/login", fields)
    assert (503, "5") == (answer.status, answer.headers["Retry-After"])
    assert "rootblood" not in browser.cookies

    monkeypatch.undo()
    await browser.log_in()
    monkeypatch.setattr(SqlLoginStore, "find", fail)
    answer = await browser.get("/")
    assert (503, "5") == (answer.status, answer.headers["Retry-After"])
    assert "ask your administrator" in answer.text


# Behind a proxy.


@pytest.mark.parametrize("prefix", ["", "/box"], ids=["taken off", "left"])
async def test_below_a_path_of_a_proxy(house: House, new_browser: NewBrowser, prefix: str) -> None:
    async with house.open(WebSettings(public_url=f"{PUBLIC}/box/")) as url:
        browser = new_browser(url)
        browser.origin = PUBLIC
        form = await browser.get(f"{prefix}/login")
        assert 'action="/box/login"' in form.text
        style = re.search(r'href="/box(/assets/[^"]+)"', form.text)
        assert style is not None
        assert 200 == (await browser.get(prefix + style[1])).status

        fields = {"form_token": form.form_token, "name": "alice", "password": PASSWORD}
        answer = await browser.post(f"{prefix}/login", fields)

        assert (303, "/box/") == (answer.status, answer.location)
        page = await browser.get(f"{prefix}/")
        assert 'action="/box/logout"' in page.text


async def test_nobody_but_a_trusted_proxy_says_where_a_login_comes_from(
    browser: Browser, house: House, alice: Account
) -> None:
    browser.headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}

    await browser.log_in()

    assert ["127.0.0.1"] == [login.address for login in await house.logins.list(alice)]
    assert {"rootblood"} == browser.cookies.keys()
