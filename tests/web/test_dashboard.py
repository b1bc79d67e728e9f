"""The start page and its buttons."""

import asyncio
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Actor, Door
from rootblood.domain.environments import EnvironmentState, RestartReason
from rootblood.domain.leases import LeaseKind
from rootblood.web.pages import dashboard, progress
from tests.web.conftest import Browser, House, NewBrowser

ELSEWHERE = Actor(Door.SSH, "203.0.113.7")
SESSIONS = (
    "$3\t1760000000\t{now}\t2\t\tvim\tnotes <b>\x9b2J\n"
    "$4\t1760000000\t1760000000\t0\t\tsleep\t\n"
    "$5\t1760000000\t1760000000\t0\t1\tgone\t\n"
    "made up by the account\n"
)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done at once is done, on a machine that is busy elsewhere as well."""
    monkeypatch.setattr(progress, "_PATIENCE_S", 60)


@pytest.fixture
async def logged_in(browser: Browser, alice: Account) -> Browser:
    assert 303 == (await browser.log_in(alice.name)).status
    return browser


def states(house: House) -> list[EnvironmentState]:
    return [environment.state for _, environment in house.engine.host.containers.values()]


async def page_with(browser: Browser, text: str) -> str:
    """The start page, once it says `text`."""
    async with asyncio.timeout(60):
        while text not in (page := (await browser.get("/")).text):
            pass
    return page


async def test_the_environment_is_started_stopped_and_restarted(logged_in: Browser, house: House) -> None:
    page = await logged_in.get("/")
    assert "<dd>not made yet</dd>" in page.text
    assert "/environment/start" in page.text
    assert "/environment/stop" not in page.text

    for path, expected, status in (
        ("/environment/start", EnvironmentState.RUNNING, 200),
        ("/environment/restart", EnvironmentState.RUNNING, 200),
        ("/environment/stop", EnvironmentState.STOPPED, 303),
    ):
        assert status == (await logged_in.press(path)).status
        assert [expected] == states(house)
        page = await logged_in.get("/")
        assert f"<dd>{expected.value}</dd>" in page.text
        assert ("1 MiB of 1.0 GiB" in page.text) == (expected is EnvironmentState.RUNNING)


async def test_the_account_itself_asked_for_the_stop(
    logged_in: Browser, house: House, alice: Account
) -> None:
    await house.visits.arrive(alice, by=ELSEWHERE)
    for path in ("/environment/start", "/environment/stop", "/environment/start"):
        await logged_in.press(path)

    news = await house.visits.news(alice, house.visits.arrive(alice, by=ELSEWHERE))
    assert RestartReason.OWNER is news.restart


async def test_why_it_is_alive_and_when_it_stops(logged_in: Browser, house: House, alice: Account) -> None:
    await logged_in.press("/environment/start")
    assert "<dt>Stops</dt>" in (await logged_in.get("/")).text
    async with house.leases.hold(alice, LeaseKind.SSH, "from <b>\x1b[31m"):
        page = (await logged_in.get("/")).text
    assert "<dt>Alive as</dt><dd>ssh from &lt;b&gt;\\x1b[31m</dd>" in page
    assert "<dt>Stops</dt>" not in page
    await house.outlooks.keep(alice, 3600, by=ELSEWHERE)
    assert "<dt>Kept</dt><dd>until 20" in (await logged_in.get("/")).text
    await logged_in.press("/environment/stop")
    page = (await logged_in.get("/")).text
    assert "<dt>Last stop</dt><dd>you asked for it</dd>" in page
    assert "<dt>Kept</dt>" not in page


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

    assert (503, True) == (answer.status, "the image of the environments is missing" in answer.text)


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


@pytest.fixture
async def home(house: House, alice: Account) -> Path:
    """The home of an environment that runs."""
    await house.environments.start(alice)
    return house.engine.host.home(alice.userhash)


async def test_sessions_are_listed_opened_and_ended(logged_in: Browser, home: Path) -> None:
    (home / "tmux").write_text(SESSIONS.format(now=int(time.time()) - 70))

    page = (await logged_in.get("/")).text
    assert "<strong>vim</strong> notes &lt;b&gt;\\x9b2J" in page
    assert "session 3, shown in 2 terminals, used 1 min 1" in page
    assert "session 4, detached" in page
    assert ["3", "4", "new"] == re.findall(r'href="/terminal\?session=(\w+)"', page)

    for _ in range(2):
        answer = await logged_in.press("/sessions/3/end")
        assert (303, "/#sessions") == (answer.status, answer.location)
    assert ["4", "new"] == re.findall(r'href="/terminal\?session=(\w+)"', (await logged_in.get("/")).text)


async def test_a_tmux_that_hangs_holds_up_its_own_section_only(
    logged_in: Browser, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "_SESSIONS_TIMEOUT_S", 0.1)
    (home / "tmux-hold").touch()

    page = await logged_in.get("/")

    assert (200, True, True) == (page.status, "does not answer" in page.text, "<dt>Processes" in page.text)
    (home / "tmux-hold").unlink()


async def test_the_home_is_measured_behind_the_page(
    logged_in: Browser, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "_PATIENCE_S", 0.05)
    (home / "hold").touch()
    assert "being measured" in (await logged_in.get("/")).text

    (home / "hold").unlink()
    page = await page_with(logged_in, "12 MiB")
    assert re.search(r"measured \d+ s ago", page) is not None
    assert 1 == len((home / "du-runs").read_text().splitlines())


@pytest.mark.usefixtures("silent_pages")
async def test_terminals_of_browsers_are_attached_until_they_close(url: str, logged_in: Browser) -> None:
    assert "Nobody." in (await logged_in.get("/")).text
    cookies = "; ".join(f"{name}={value}" for name, value in logged_in.cookies.items())
    async with logged_in.session.ws_connect(
        f"{url}/terminal/ws?session=7", protocols=["tty"], headers={"Cookie": cookies, "Origin": url}
    ):
        page = (await logged_in.get("/")).text
        assert "<strong>127.0.0.1</strong> by browser" in page
        assert ", session 7</span>" in page
    await page_with(logged_in, "Nobody.")


async def test_what_ssh_connections_run_is_escaped(logged_in: Browser, house: House) -> None:
    visitor = SimpleNamespace(peer="192.0.2.7", since=datetime.now(UTC), activities=["<i>\x1b[31m", "sftp"])
    house.presence.add_door("ssh", lambda account: [visitor] if account.name == "alice" else [])

    page = (await logged_in.get("/")).text

    assert "<strong>192.0.2.7</strong> by SSH" in page
    assert ", &lt;i&gt;\\x1b[31m, sftp</span>" in page
