"""What `rb` asks for, over a real socket in place of the link's stream."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest
import segno
import structlog

from rootblood.domain.accounts import Account
from rootblood.services.accounts import Accounts
from rootblood.web import calls as calls_module
from rootblood.web.calls import Calls
from tests.web.conftest import PASSWORD, House, NewBrowser

RB = {"X-RootBlood": "rb"}
LINE_BYTES = 200_000


class Ssh:
    """A connection at the other door."""

    peer = "192.0.2.7"
    since = datetime(2026, 11, 23, 18, 4, 5, tzinfo=UTC)
    activities = ("vim \x1b[31m",)


@pytest.fixture
def calls(house: House) -> Calls:
    made = Calls(
        accounts=house.accounts,
        environments=house.environments,
        links=house.links,
        logins=house.logins,
        homes=house.homes,
        presence=house.presence,
    )
    made.url = "https://example.org/box"
    house.presence.add_door("ssh", lambda account: [Ssh()] if account.name == "alice" else [])
    return made


@pytest.fixture
async def port(calls: Calls, alice: Account) -> AsyncIterator[int]:
    """Where the account calls from its environment, so to say."""

    def answer() -> asyncio.Protocol:
        protocol = calls.answer(alice)
        assert protocol is not None
        return protocol

    server = await asyncio.get_running_loop().create_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def call(
    port: int, method: str, path: str, headers: dict[str, str] | None = None, data: str | None = None
) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
        session.request(
            method, f"http://127.0.0.1:{port}{path}", headers=RB if headers is None else headers, data=data
        ) as response,
    ):
        assert "Set-Cookie" not in response.headers
        assert not [name for name in response.headers if name.startswith("Access-Control")]
        return response.status, await response.text()


async def test_a_link_logs_its_caller_in(
    calls: Calls, port: int, house: House, new_browser: NewBrowser
) -> None:
    async with house.open() as url:
        calls.url = url
        status, text = await call(port, "POST", "/web")
        assert (200, True) == (status, text.startswith(f"{url}/session/"))
        browser, path = new_browser(url), text.strip().removeprefix(url)
        page = await browser.get(path)
        assert 303 == (await browser.post(path, {"form_token": page.form_token})).status
        assert "<h1>alice</h1>" in (await browser.get("/")).text
        assert 410 == (await browser.get(path)).status


async def test_the_link_is_below_the_public_url(port: int) -> None:
    assert (await call(port, "POST", "/web"))[1].startswith("https://example.org/box/session/")


async def test_a_link_can_be_had_as_a_code_that_fits_on_a_screen(calls: Calls, port: int) -> None:
    calls.url = "https://a-name-of-some-length.example.org/box"
    status, text = await call(port, "POST", "/web/qr")
    *code, url = text.splitlines()
    drawn = io.StringIO()
    segno.make_qr(url, error="l").terminal(drawn, border=2, compact=True)
    assert (200, drawn.getvalue().splitlines()) == (status, code)
    assert url.startswith(f"{calls.url}/session/")
    assert len(code) <= 22
    assert {len(code[0])} == {len(line) for line in code}
    assert len(code[0]) <= 80


async def test_status_before_there_is_an_environment_and_with_one(
    port: int, house: House, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls_module, "_PATIENCE_S", 5)
    status, text = await call(port, "GET", "/status")
    assert (200, "FROM ") == (status, text[:5])
    await house.environments.start(alice)
    _, text = await call(port, "GET", "/status")
    assert text.startswith("state      running")
    assert "processes  3 of " in text
    assert "home       12 MiB, measured 20" in text
    assert "192.0.2.7  2026-11-23 18:04:05 UTC  ssh  vim \\x1b[31m" in text


async def test_status_names_browsers_that_are_logged_in(
    port: int, house: House, new_browser: NewBrowser
) -> None:
    async with house.open() as url:
        await new_browser(url, **{"User-Agent": "a fox\x85 of fire"}).log_in(password=PASSWORD)
    text = (await call(port, "GET", "/status"))[1]
    assert "127.0.0.1" in text
    assert "browser  a fox" in text
    assert "\x85" not in text


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {}),
        (403, {"X-RootBlood": "else"}),
        (403, {**RB, "Origin": "http://127.0.0.1:8000"}),
        (403, {**RB, "Origin": "null"}),
        (421, {**RB, "Host": "evil.test"}),
        (421, {**RB, "Host": "evil.test:17761"}),
        (200, {**RB, "Host": "localhost:17761"}),
    ],
)
async def test_what_a_web_page_could_send_is_refused(port: int, status: int, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/web"), ("GET", "/status")):
        assert status == (await call(port, method, path, headers))[0]
    assert status in {200, (await call(port, "OPTIONS", "/web", headers))[0]}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/web"), ("POST", "/status"), ("GET", "/"), ("GET", "/login"), ("GET", "/api/v1/environment")],
)
async def test_there_is_nothing_else(port: int, method: str, path: str) -> None:
    assert 404 == (await call(port, method, path))[0]


async def test_a_body_is_refused(port: int) -> None:
    assert 413 == (await call(port, "POST", "/web", data="x"))[0]


async def test_an_account_that_is_locked_meanwhile_gets_nothing(port: int, house: House) -> None:
    await house.accounts.lock("alice")
    for method, path in (("POST", "/web"), ("GET", "/status")):
        assert (404, "this account may not log in any more\n") == await call(port, method, path)


async def test_an_engine_that_is_away_is_told_in_one_line(port: int, house: House) -> None:
    house.engine.away = True
    assert (503, "the container engine does not answer\n") == await call(port, "GET", "/status")
    house.engine.away = False


async def test_a_crash_is_the_logs_and_not_the_callers(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(Accounts, "active", crash)
    with structlog.testing.capture_logs() as logs:
        status, text = await call(port, "GET", "/status")
    assert (500, 1) == (status, text.count("\n"))
    assert "secret" not in text
    assert ["call_crashed"] == [log["event"] for log in logs]


async def test_an_endless_header_is_cut(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(20):
        writer.write(b"GET /status HTTP/1.1\r\nX: " + b"x" * LINE_BYTES)
        assert b" 400 " in await reader.readline()
    writer.close()


async def test_nobody_answers_while_the_site_is_not_there(calls: Calls, alice: Account) -> None:
    calls.url = None
    assert calls.answer(alice) is None


async def test_an_account_of_the_same_name_is_not_the_same(calls: Calls, alice: Account) -> None:
    other = replace(alice, userhash="f" * 32)
    protocol = calls.answer(other)
    assert protocol is not None
    server = await asyncio.get_running_loop().create_server(lambda: protocol, "127.0.0.1", 0)
    async with server:
        assert 404 == (await call(server.sockets[0].getsockname()[1], "GET", "/status"))[0]
