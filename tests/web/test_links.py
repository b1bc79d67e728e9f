"""One-time links: looking burns none, pressing the button does."""

from datetime import UTC, datetime, timedelta

import pytest
import structlog

from rootblood.domain.accounts import Account
from rootblood.errors import StoreUnavailableError
from rootblood.services.links import Links
from rootblood.stores.sql.links import SqlLinkStore
from tests.web.conftest import PASSWORD, Answer, Browser, House, NewBrowser


async def press(browser: Browser, path: str) -> Answer:
    return await browser.post(path, {"form_token": (await browser.get(path)).form_token})


@pytest.fixture
async def path(house: House, alice: Account) -> str:
    secret, _ = await house.links.make(alice)
    return f"/session/{secret}"


async def test_the_button_logs_in_once(
    browser: Browser, url: str, new_browser: NewBrowser, path: str
) -> None:
    previewer = new_browser(url)
    for _ in range(3):
        page = await previewer.get(path)
        assert (200, "no-store") == (page.status, page.headers["Cache-Control"])
        assert "Log in as alice" in page.text
    late = await new_browser(url).get(path)

    answer = await press(browser, path)

    assert (303, "/") == (answer.status, answer.location)
    assert "<h1>alice</h1>" in (await browser.get("/")).text
    assert 410 == (await previewer.get(path)).status
    assert 410 == (await previewer.post(path, {"form_token": page.form_token})).status
    assert 403 == (await new_browser(url).post(path, {"form_token": late.form_token})).status


async def test_no_page_elsewhere_presses_it(browser: Browser, path: str) -> None:
    token = (await browser.get(path)).form_token

    for headers in ({"Origin": "https://evil.test"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert 403 == (await browser.post(path, {"form_token": token}, headers=headers)).status
    assert 403 == (await browser.request("POST", path, data={"form_token": token})).status
    assert 403 == (await browser.post(path, {})).status
    assert 303 == (await press(browser, path)).status


async def test_the_login_before_it_ends(browser: Browser, house: House, path: str) -> None:
    bob = await house.accounts.create("bob", password=PASSWORD)
    await browser.log_in("bob")

    await press(browser, path)

    assert "<h1>alice</h1>" in (await browser.get("/")).text
    assert [] == await house.logins.list(bob)


async def test_it_ends_after_five_minutes(browser: Browser, house: House, alice: Account) -> None:
    ago = datetime.now(UTC) - timedelta(minutes=5)
    secret, _ = await Links(SqlLinkStore(house.database), now=lambda: ago).make(alice)

    assert 410 == (await browser.get(f"/session/{secret}")).status


async def test_a_lock_ends_it(browser: Browser, house: House, path: str) -> None:
    token = (await browser.get(path)).form_token
    await house.accounts.lock("alice")
    await house.accounts.unlock("alice")

    assert 410 == (await browser.post(path, {"form_token": token})).status


async def test_a_logout_everywhere_ends_it(browser: Browser, house: House, alice: Account, path: str) -> None:
    await house.logins.end_all(alice)

    assert 410 == (await browser.get(path)).status


async def test_one_that_could_not_be_used_is_in_no_log(
    browser: Browser, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await browser.get(path)).form_token

    async def fail(*_: object, **__: object) -> None:
        raise StoreUnavailableError("the database does not answer")

    monkeypatch.setattr(SqlLinkStore, "take", fail)
    with structlog.testing.capture_logs() as logs:
        assert 503 == (await browser.post(path, {"form_token": token})).status

    assert ["/session/{secret}"] == [entry["route"] for entry in logs]
    assert path not in repr(logs)


@pytest.mark.parametrize("secret", ["x", "A" * 43, "%00", "\u0660" * 43])
async def test_what_is_no_link_is_as_one_that_was_used(browser: Browser, secret: str) -> None:
    answer = await browser.get(f"/session/{secret}")

    assert (410, True) == (answer.status, "ask for another one" in answer.text)
