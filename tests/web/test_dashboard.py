"""The start page and its buttons."""

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Actor, Door
from rootblood.domain.environments import EnvironmentState, RestartReason
from tests.web.conftest import Browser, House, NewBrowser

ELSEWHERE = Actor(Door.SSH, "203.0.113.7")


@pytest.fixture
async def logged_in(browser: Browser, alice: Account) -> Browser:
    assert 303 == (await browser.log_in(alice.name)).status
    return browser


def states(house: House) -> list[EnvironmentState]:
    return [environment.state for _, environment in house.engine.host.containers.values()]


async def test_the_environment_is_started_stopped_and_restarted(logged_in: Browser, house: House) -> None:
    page = await logged_in.get("/")
    assert "<dd>not made yet</dd>" in page.text
    assert "/environment/start" in page.text
    assert "/environment/stop" not in page.text

    for path, expected in (
        ("/environment/start", EnvironmentState.RUNNING),
        ("/environment/restart", EnvironmentState.RUNNING),
        ("/environment/stop", EnvironmentState.STOPPED),
    ):
        answer = await logged_in.press(path)
        assert (303, "/") == (answer.status, answer.location)
        assert [expected] == states(house)
        page = await logged_in.get("/")
        assert f"<dd>{expected.value}</dd>" in page.text
        assert ("1 of 1024 MiB" in page.text) == (expected is EnvironmentState.RUNNING)


async def test_the_account_itself_asked_for_the_stop(
    logged_in: Browser, house: House, alice: Account
) -> None:
    await house.visits.arrive(alice, by=ELSEWHERE)
    for path in ("/environment/start", "/environment/stop", "/environment/start"):
        await logged_in.press(path)

    news = await house.visits.news(alice, house.visits.arrive(alice, by=ELSEWHERE))
    assert RestartReason.OWNER is news.restart


async def test_an_engine_that_is_away_leaves_the_rest_of_the_page(logged_in: Browser, house: House) -> None:
    house.engine.away = True

    page = await logged_in.get("/")
    assert (200, True) == (page.status, "the container engine does not answer" in page.text)
    answer = await logged_in.press("/environment/start")
    assert (503, "5") == (answer.status, answer.headers["Retry-After"])
    assert 303 == (await logged_in.press("/logout")).status


async def test_a_missing_image_is_said(logged_in: Browser, house: House) -> None:
    house.engine.image_present = False

    answer = await logged_in.press("/environment/start")

    assert (503, True) == (answer.status, "image" in answer.text)


async def test_browsers_are_listed_and_logged_out(
    logged_in: Browser, url: str, new_browser: NewBrowser, house: House, alice: Account
) -> None:
    other = new_browser(url, **{"User-Agent": "Phone <b>\x9b2J \u202e"})
    await other.log_in()

    page = await logged_in.get("/")
    assert "Phone &lt;b&gt;" in page.text
    assert "\u202e" not in page.text
    assert 1 == page.text.count("(this one)")

    (its_id,) = [login.id for login in await house.logins.list(alice) if login.user_agent.startswith("Phone")]
    for _ in range(2):
        assert 303 == (await logged_in.press(f"/login-sessions/{its_id}/end")).status
    assert "/login" == (await other.get("/")).location

    await other.log_in()
    await logged_in.press("/login-sessions/end")
    assert ["/login", "/login"] == [(await each.get("/")).location for each in (logged_in, other)]


async def test_nobody_logs_out_somebody_else(logged_in: Browser, house: House) -> None:
    bob = await house.accounts.create("bob")
    token = await house.logins.begin(bob, address="203.0.113.7", user_agent="")
    (login,) = await house.logins.list(bob)

    await logged_in.press(f"/login-sessions/{login.id}/end")

    assert None is not await house.logins.find(token)
