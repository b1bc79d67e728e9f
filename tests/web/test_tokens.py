"""The page on API tokens."""

import re

import pytest

from tests.web.conftest import Browser, House

SECRET = re.compile(r"<code>(rb_[A-Za-z0-9_-]{43})</code>")

pytestmark = pytest.mark.usefixtures("alice")


async def make(browser: Browser, fields: list[tuple[str, str]]) -> tuple[int, str]:
    token = (await browser.get("/tokens")).form_token
    answer = await browser.request(
        "POST", "/tokens", data=[("form_token", token), *fields], headers={"Origin": browser.url}
    )
    return answer.status, answer.text


async def test_a_token_is_made_shown_once_and_deleted(browser: Browser) -> None:
    await browser.log_in()
    assert "None yet." in (await browser.get("/tokens")).text

    status, page = await make(
        browser,
        [("name", "ba<c>kup\x9b"), ("days", "7"), ("scope", "environment:read"), ("scope", "keys:read")],
    )
    secret = SECRET.search(page)
    assert (201, True) == (status, secret is not None)
    assert secret is not None

    page = (await browser.get("/tokens")).text
    assert secret[1] not in page
    assert r"ba&lt;c&gt;kup\x9b" in page
    assert "environment:read, keys:read" in page
    authorization = {"Authorization": f"Bearer {secret[1]}"}
    assert 200 == (await browser.get("/api/v1/environment", **authorization)).status

    path = re.search(r'action="(/tokens/[0-9a-f]{32}/delete)"', page)
    assert path is not None
    answer = await browser.press(path[1])
    assert (303, "/tokens") == (answer.status, answer.location)
    assert 401 == (await browser.get("/api/v1/environment", **authorization)).status
    assert 303 == (await browser.press(path[1])).status


@pytest.mark.parametrize(
    "fields",
    [
        [("name", ""), ("days", "7"), ("scope", "keys:read")],
        [("name", "x" * 65), ("days", "7"), ("scope", "keys:read")],
        [("name", "x"), ("days", "7")],
        [("name", "x"), ("days", "7"), ("scope", "everything")],
        [("name", "x"), ("days", "36500"), ("scope", "keys:read")],
        [("name", "x"), ("scope", "keys:read")],
    ],
)
async def test_one_that_is_not_whole_is_not_made(browser: Browser, fields: list[tuple[str, str]]) -> None:
    await browser.log_in()

    status, page = await make(browser, fields)

    assert (422, True) == (status, "A token needs a name" in page)
    assert "None yet." in page


async def test_nobody_makes_one_without_a_login_or_from_elsewhere(browser: Browser, house: House) -> None:
    assert "/login" == (await browser.get("/tokens")).location
    assert "/login" == (await browser.post("/tokens", {"name": "x"})).location

    await browser.log_in()
    fields = {
        "form_token": (await browser.get("/tokens")).form_token,
        "name": "x",
        "days": "7",
        "scope": "keys:read",
    }
    answer = await browser.post("/tokens", fields, headers={"Origin": "https://evil.test"})
    assert 403 == answer.status
    assert [] == await house.tokens.list(await house.accounts.get("alice"))
