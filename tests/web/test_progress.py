"""Starting an environment, told line by line, with no script."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
import structlog

from rootblood.domain.accounts import Account
from rootblood.domain.environments import EnsureStep, Environment, EnvironmentState
from rootblood.engines.base import STOP_GRACE_S
from rootblood.errors import EnvironmentFailedError
from rootblood.web.middlewares import _HEADERS as SECURITY_HEADERS
from rootblood.web.pages import progress
from tests.web.conftest import Browser, House


class Steps:
    """Has the engine wait at each step until the test lets it go on."""

    def __init__(self, house: House) -> None:
        self.at: asyncio.Queue[str] = asyncio.Queue()
        self.go = asyncio.Semaphore(0)
        self.failure: Exception | None = None
        self._engine = house.engine
        self._ensure, self._stop = house.engine.ensure, house.engine.stop

    async def ensure(
        self, identity: object, *, on_step: Callable[[EnsureStep], None] | None = None
    ) -> Environment:
        for step in (EnsureStep.CREATE, EnsureStep.START):
            if on_step is not None:
                on_step(step)
            self.at.put_nowait(step.value)
            await self.go.acquire()
        if self.failure is not None:
            raise self.failure
        return await self._ensure(identity)  # type: ignore[arg-type]

    async def stop(self, userhash: str, *, grace_s: float = STOP_GRACE_S) -> bool:
        self.at.put_nowait("stop")
        await self.go.acquire()
        return await self._stop(userhash, grace_s=grace_s)


@pytest.fixture
def steps(house: House, monkeypatch: pytest.MonkeyPatch) -> Steps:
    made = Steps(house)
    monkeypatch.setattr(house.engine, "ensure", made.ensure)
    monkeypatch.setattr(house.engine, "stop", made.stop)
    return made


@pytest.fixture
async def logged_in(browser: Browser, alice: Account) -> Browser:
    assert 303 == (await browser.log_in(alice.name)).status
    return browser


@asynccontextmanager
async def pressing(browser: Browser, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a button of the start page, which has not ended yet."""
    token = (await browser.get("/")).form_token
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    async with browser.session.post(
        browser.url + path,
        data={"form_token": token},
        headers={"Cookie": cookies, "Origin": browser.url},
        allow_redirects=False,
    ) as response:
        yield response


async def read_until(response: aiohttp.ClientResponse, text: str) -> str:
    """What has come when `text` has."""
    said = ""
    async with asyncio.timeout(60):
        while text not in said:
            data = await response.content.readany()
            assert data, said
            said += data.decode()
    return said


def runs(house: House) -> bool:
    return [EnvironmentState.RUNNING] == [found.state for _, found in house.engine.host.containers.values()]


async def wait_until_it_runs(house: House) -> None:
    async with asyncio.timeout(60):
        while not runs(house):  # noqa: ASYNC110 - the engine has no event for it
            await asyncio.sleep(0.01)


async def test_each_step_is_told_as_it_comes(logged_in: Browser, steps: Steps, house: House) -> None:
    async with pressing(logged_in, "/environment/start") as response:
        assert (200, "text/html", "utf-8") == (response.status, response.content_type, response.charset)
        for name, value in SECURITY_HEADERS.items():
            assert (name, "same-origin" if name == "Referrer-Policy" else value) == (
                name,
                response.headers[name],
            )
        assert "no" == response.headers["X-Accel-Buffering"]
        assert "RootBlood" == response.headers["Server"]

        said = await read_until(response, "Making it")
        assert "Starting it" not in said
        assert len(said) > 1024
        steps.go.release()
        await read_until(response, "Starting it")
        assert not runs(house)
        steps.go.release()
        said = await read_until(response, "</html>")
    assert "Your environment runs." in said
    assert '<meta http-equiv="refresh" content="0;url=/">' in said
    assert '<a class="button first" href="/">' in said


async def test_a_failure_says_why_and_stays(logged_in: Browser, steps: Steps) -> None:
    steps.failure = EnvironmentFailedError("your environment <could> not be started")
    steps.go.release()
    steps.go.release()
    async with pressing(logged_in, "/environment/start") as response:
        said = await read_until(response, "</html>")
    assert '<p class="alert" role="alert">your environment &lt;could&gt; not be started</p>' in said
    assert "refresh" not in said


async def test_a_defect_is_the_logs(logged_in: Browser, steps: Steps) -> None:
    steps.failure = ZeroDivisionError("a secret")
    steps.go.release()
    steps.go.release()
    with structlog.testing.capture_logs() as logs:
        async with pressing(logged_in, "/environment/start") as response:
            said = await read_until(response, "</html>")
    assert ["work_crashed"] == [log["event"] for log in logs if log["log_level"] == "error"]
    assert "something went wrong inside RootBlood" in said
    assert "secret" not in said


async def test_a_restart_tells_of_the_stop_and_shows_life(
    logged_in: Browser, steps: Steps, house: House, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SIGN_OF_LIFE_S", 0.02)
    steps.go.release()
    steps.go.release()
    await house.environments.start(alice)
    async with pressing(logged_in, "/environment/restart") as response:
        await read_until(response, "Stopping it</li>")
        await read_until(response, "\n")
        for text in ("Making it", "Starting it", "</html>"):
            steps.go.release()
            await read_until(response, text)
    assert runs(house)


async def test_a_browser_that_leaves_breaks_nothing_off(
    logged_in: Browser, steps: Steps, house: House
) -> None:
    async with pressing(logged_in, "/environment/start") as response:
        await read_until(response, "Making it")
        response.close()
    steps.go.release()
    steps.go.release()
    await wait_until_it_runs(house)


async def test_a_browser_that_leaves_before_the_first_line(
    logged_in: Browser, steps: Steps, house: House, alice: Account
) -> None:
    steps.go.release()
    steps.go.release()
    await house.environments.start(alice)
    while not steps.at.empty():
        steps.at.get_nowait()

    async def press() -> None:
        async with pressing(logged_in, "/environment/restart"):
            pass

    pressed = asyncio.create_task(press())
    assert "stop" == await steps.at.get()
    pressed.cancel()
    await asyncio.wait([pressed])
    for _ in range(3):
        steps.go.release()
    await wait_until_it_runs(house)
    assert 200 == (await logged_in.get("/")).status


async def test_one_that_runs_already_needs_no_page(
    logged_in: Browser, house: House, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_S", 60)
    await house.environments.start(alice)
    answer = await logged_in.press("/environment/start")
    assert (303, "/") == (answer.status, answer.location)


@pytest.mark.usefixtures("steps")
async def test_a_server_that_stops_does_not_wait_for_it(
    house: House, alice: Account, new_browser: Callable[..., Browser]
) -> None:
    async with asyncio.timeout(60), house.open() as url:
        browser = new_browser(url)
        await browser.log_in(alice.name)
        async with pressing(browser, "/environment/start") as response:
            await read_until(response, "Making it")
