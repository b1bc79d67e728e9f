"""The page on keys and password."""

import re

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.keys import parse_public_key
from rootblood.settings import PenaltySettings
from tests.web.conftest import PASSWORD, Answer, Browser, House, NewBrowser

KEY_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFxBtGAhEfQGNJmPZM4xrh9+XbPUuX0wQB5cFnHn8+3T alice <b>\x9b"
PUTTY = """---- BEGIN SSH2 PUBLIC KEY ----
Comment: "alice at putty"
AAAAC3NzaC1lZDI1NTE5AAAAIFxBtGAhEfQGNJmPZM4xrh9+XbPUuX0wQB5cFnHn
8+3T
---- END SSH2 PUBLIC KEY ----
"""
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
KEY = parse_public_key(KEY_LINE)
NEW = "staple battery horse correct"


@pytest.fixture
async def logged_in(browser: Browser, alice: Account) -> Browser:
    assert 303 == (await browser.log_in(alice.name)).status
    return browser


async def send(browser: Browser, path: str, **fields: str) -> Answer:
    """Fill in a form of the page."""
    page = await browser.get("/account")
    return await browser.post(f"/account{path}", {"form_token": page.form_token, **fields})


def alert(answer: Answer) -> str:
    """The one message, which is in the form or section of `send`."""
    (found,) = re.findall(r'<p class="alert" role="alert" id="\w+-message">(.*)</p>', answer.text)
    return str(found)


async def fingerprints(house: House) -> list[str]:
    return [entry.key.fingerprint for entry in await house.accounts.keys("alice")]


@pytest.mark.parametrize("pasted", [KEY_LINE, f"\r\n{KEY_LINE}\r\n", PUTTY.replace("\n", "\r\n")])
async def test_a_pasted_key_may_log_in(logged_in: Browser, house: House, pasted: str) -> None:
    answer = await send(logged_in, "/keys", key=pasted)

    assert (303, "/account?done=key-added") == (answer.status, answer.location)
    assert [KEY.fingerprint] == await fingerprints(house)
    page = (await logged_in.get(answer.location)).text
    assert "The key may log in from now on." in page
    assert f"<code>{KEY.fingerprint}</code>" in page
    assert "<b>" not in page
    assert "\x9b" not in page


@pytest.mark.parametrize(
    ("pasted", "status", "message"),
    [
        ("", 422, "there is no public key in it"),
        ("hello", 422, "not a public key"),
        (PRIVATE, 422, "this is a PRIVATE key"),
        (f"{KEY_LINE}\n{KEY_LINE.replace('8+3T', '8+3U')}", 422, "add one at a time"),
        (KEY_LINE, 409, "already"),
    ],
)
async def test_a_key_that_cannot_be_added_is_said_beside_the_form(
    logged_in: Browser, house: House, pasted: str, status: int, message: str
) -> None:
    if status == 409:
        await house.accounts.add_key("alice", KEY)

    answer = await send(logged_in, "/keys", key=pasted)

    assert (status, True) == (answer.status, message in alert(answer)), alert(answer)
    assert 'aria-describedby="add-message"' in answer.text
    assert "b3BlbnNza" not in answer.text
    assert status != 422 or not await fingerprints(house)


async def test_a_key_is_deleted_once_it_is_confirmed(logged_in: Browser, house: House) -> None:
    await house.accounts.add_key("alice", KEY)
    page = (await logged_in.get("/account")).text
    confirmation = page[page.index('<details class="confirm">') : page.index("</details>")]
    assert "/account/keys/delete" in confirmation
    assert 1 == page.count("/account/keys/delete")

    for _ in range(2):  # twice, as by two tabs
        answer = await send(logged_in, "/keys/delete", fingerprint=KEY.fingerprint)
        assert (303, "/account?done=key-deleted") == (answer.status, answer.location)
    assert [] == await fingerprints(house)


async def test_a_part_of_a_fingerprint_deletes_nothing(logged_in: Browser, house: House) -> None:
    await house.accounts.add_key("alice", KEY)
    await send(logged_in, "/keys/delete", fingerprint=KEY.fingerprint[:12])
    assert [KEY.fingerprint] == await fingerprints(house)


async def test_the_last_way_in_is_not_taken_away(logged_in: Browser, house: House) -> None:
    answer = await send(logged_in, "/password/remove", current=PASSWORD)
    assert (409, True) == (answer.status, "you have no key" in alert(answer))
    assert "<details open>" in answer.text

    await house.accounts.add_key("alice", KEY)
    answer = await send(logged_in, "/password/remove", current=PASSWORD)
    assert "/account?done=password-removed" == answer.location
    assert (await house.accounts.get("alice")).password_hash is None

    answer = await send(logged_in, "/keys/delete", fingerprint=KEY.fingerprint)
    assert (409, True) == (answer.status, "your only way in" in alert(answer))
    assert [KEY.fingerprint] == await fingerprints(house)


async def test_a_new_password_ends_all_logins_but_this_one(
    logged_in: Browser, url: str, new_browser: NewBrowser, house: House
) -> None:
    other = new_browser(url)
    await other.log_in()
    before = dict(logged_in.cookies)

    answer = await send(logged_in, "/password", current=PASSWORD, new=NEW, again=NEW)

    assert (303, "/account?done=password-set") == (answer.status, answer.location)
    assert before != logged_in.cookies
    assert "Every other browser is logged out." in (await logged_in.get(answer.location)).text
    assert "/login" == (await other.get("/")).location
    assert 403 == (await other.log_in()).status
    assert 303 == (await other.log_in(password=NEW)).status
    logged_in.cookies.update(before)
    assert "/login" == (await logged_in.get("/")).location
    assert await house.accounts.authenticate_password("alice", PASSWORD) is None


async def test_a_first_password_needs_no_current_one(logged_in: Browser, house: House) -> None:
    await house.accounts.add_key("alice", KEY)
    await send(logged_in, "/password/remove", current=PASSWORD)
    page = await logged_in.get("/account")
    assert 'name="current"' not in page.text
    assert "/account/password/remove" not in page.text

    answer = await send(logged_in, "/password", new=NEW, again=NEW)

    assert "/account?done=password-set" == answer.location
    assert await house.accounts.authenticate_password("alice", NEW) is not None


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        ("/password", {"current": "wrong", "new": NEW, "again": NEW}, "not your current password"),
        ("/password", {"new": NEW, "again": NEW}, "not your current password"),
        ("/password", {"current": PASSWORD, "new": NEW, "again": NEW[1:]}, "are not the same"),
        ("/password", {"current": PASSWORD, "new": "short", "again": "short"}, "at least 8 characters"),
        ("/password", {"current": PASSWORD}, "at least 8 characters"),
        ("/password/remove", {"current": "wrong"}, "not your current password"),
        ("/password/remove", {}, "not your current password"),
    ],
)
async def test_a_password_that_is_not_changed_says_why(
    logged_in: Browser, house: House, path: str, fields: dict[str, str], message: str
) -> None:
    await house.accounts.add_key("alice", KEY)

    answer = await send(logged_in, path, **fields)

    assert (422, True) == (answer.status, message in alert(answer)), alert(answer)
    assert await house.accounts.authenticate_password("alice", PASSWORD) is not None
    assert 200 == (await logged_in.get("/")).status
    assert NEW not in answer.text


async def test_wrong_current_passwords_are_penalised(
    house: House, alice: Account, new_browser: NewBrowser
) -> None:
    strict = PenaltySettings(free_failures=0, first_s=100, exempt=())
    async with house.open(penalties=strict) as url:
        browser = new_browser(url)
        await browser.log_in(alice.name)
        assert 422 == (await send(browser, "/password", current="wrong", new=NEW, again=NEW)).status
        for path in ("/password", "/password/remove"):
            answer = await send(browser, path, current=PASSWORD, new=NEW, again=NEW)
            assert (429, True) == (answer.status, "too many wrong passwords" in alert(answer))
            assert 0 < int(answer.headers["Retry-After"]) <= 100
        assert 200 == (await browser.get("/account")).status


@pytest.mark.parametrize("path", ["/keys", "/keys/delete", "/password", "/password/remove"])
async def test_forms_of_other_sites_and_of_nobody_change_nothing(
    logged_in: Browser, url: str, new_browser: NewBrowser, house: House, path: str
) -> None:
    fields = {"key": KEY_LINE, "current": PASSWORD, "new": NEW, "again": NEW}
    assert 403 == (await logged_in.post(f"/account{path}", fields)).status
    assert "/login" == (await new_browser(url).post(f"/account{path}", fields)).location
    logged_in.origin = "https://evil.test"
    assert 403 == (await send(logged_in, path, **fields)).status
    assert [] == await fingerprints(house)
    assert await house.accounts.authenticate_password("alice", PASSWORD) is not None
