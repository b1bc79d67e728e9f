"""The HTTP door as such: its address, its health, and what holds for every response and every request."""

import asyncio
import re
import time
from contextlib import closing

import pytest
import structlog

from rootblood.domain.accounts import Account
from rootblood.errors import StoreUnavailableError
from rootblood.listening import Listener
from rootblood.services.accounts import Accounts
from rootblood.settings import WebSettings
from rootblood.stopping import Stop
from tests.web.conftest import Browser, House, NewBrowser

ROUTES = [
    ("GET", "/healthz", 200),
    ("GET", "/readyz", 200),
    ("GET", "/login", 200),
    ("GET", "/", 303),
    ("POST", "/login", 403),
    ("POST", "/logout", 403),
    ("POST", "/environment/start", 303),
    ("GET", "/no-such-page", 404),
    ("GET", "/%2e%2e/healthz/x", 404),
    ("GET", "/assets/../../settings.py", 404),
    ("GET", "/assets/%2e%2e%2f%2e%2e%2fsettings.py", 404),
    ("GET", "/a%00b", 404),
    ("POST", "/healthz", 405),
    ("TRACE", "/login", 405),
]


class SilentLog:
    def exception(self, event: str, **values: object) -> None:
        """Say nothing."""


async def exchange(url: str, request: bytes, *, timeout_s: float = 60) -> bytes:
    """All that the door answers to bytes, until it closes."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with closing(writer):
        writer.write(request)
        async with asyncio.timeout(timeout_s):
            return await reader.read()


async def test_healthz_says_ok_and_is_not_cached(browser: Browser) -> None:
    answer = await browser.get("/healthz")

    assert (200, "ok\n", "no-store") == (answer.status, answer.text, answer.headers["Cache-Control"])


@pytest.mark.parametrize(("method", "path", "status"), ROUTES)
async def test_every_response_has_the_headers(browser: Browser, method: str, path: str, status: int) -> None:
    answer = await browser.request(method, path)

    assert status == answer.status
    assert {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
        "Server": "RootBlood",
    }.items() <= dict(answer.headers).items()
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "camera=()" in answer.headers["Permissions-Policy"]
    # A page with forms needs the browser to say where they come from; nothing else does.
    is_page = answer.headers.get("Content-Type", "").startswith("text/html")
    assert ("same-origin" if is_page else "no-referrer") == answer.headers["Referrer-Policy"]


async def test_a_page_that_is_not_there_says_so(browser: Browser) -> None:
    assert "there is nothing at this address" in (await browser.get("/no-such-page")).text


async def test_a_method_that_is_none_says_which_are(browser: Browser) -> None:
    assert "GET,HEAD,POST" == (await browser.request("PUT", "/login")).headers["Allow"]


@pytest.mark.usefixtures("alice")
async def test_a_defect_is_told_without_its_details(
    browser: Browser, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.log_in()

    async def fail(_account: Account) -> None:
        raise ValueError("secret detail")

    monkeypatch.setattr(house.environments, "inspect", fail)
    # The traceback in the log is formatted from the source files.
    monkeypatch.setattr("rootblood.web.middlewares._log", SilentLog())
    answer = await browser.get("/")

    assert 500 == answer.status
    assert "in the server&#39;s log" in answer.text
    assert "secret detail" not in answer.text
    assert "nosniff" == answer.headers["X-Content-Type-Options"]


async def test_assets_are_cached_for_good(browser: Browser) -> None:
    path = re.search(r'href="(/assets/[^"]+\.css)"', (await browser.get("/login")).text)
    assert path is not None

    answer = await browser.get(path[1])

    assert (200, "text/css; charset=utf-8") == (answer.status, answer.headers["Content-Type"])
    assert "immutable" in answer.headers["Cache-Control"]
    assert "nosniff" == answer.headers["X-Content-Type-Options"]


async def test_readyz_tells_what_is_away(browser: Browser, house: House) -> None:
    house.engine.away = True

    answer = await browser.get("/readyz")

    assert (503, "engine is away\n") == (answer.status, answer.text)


async def test_readyz_notices_a_database_that_is_away(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_accounts: Accounts, _name: str) -> None:
        raise StoreUnavailableError("the database does not answer")

    monkeypatch.setattr(Accounts, "active", fail)

    assert "database is away\n" == (await browser.get("/readyz")).text


async def test_readyz_asks_the_engine_no_more_often_than_once_in_a_while(
    browser: Browser, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rootblood.web.health._FRESH_S", 3600)
    assert 200 == (await browser.get("/readyz")).status
    house.engine.away = True

    assert 200 == (await browser.get("/readyz")).status


async def test_an_address_in_use_is_an_error(url: str, house: House) -> None:
    port = int(url.rsplit(":", 1)[1])
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    door = house.door(WebSettings())
    with pytest.raises(OSError, match=f"127.0.0.1:{port}: address already in use"):
        await door.serve(Listener("127.0.0.1", port), ready, Stop())
    assert not ready.done()


async def test_the_url_is_the_public_one_where_there_is_one(house: House) -> None:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = Stop()
    async with asyncio.TaskGroup() as tasks:
        door = house.door(WebSettings(public_url="https://example.test/box/"))
        tasks.create_task(door.serve(Listener("127.0.0.1", 0), ready, stop))
        assert "https://example.test/box" == await ready
        stop.tell(0)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", b"GET /login HTTP/1.1\r\nHost: x\r\nX-Slow: "],
    ids=["nothing", "half a line", "half a header"],
)
async def test_slow_headers_are_dropped(house: House, sent: bytes) -> None:
    async with house.open(WebSettings(keepalive_s=0.5)) as url:
        started = time.monotonic()
        assert b"" == await exchange(url, sent)
        assert time.monotonic() - started < 20


async def test_slow_headers_of_a_second_request_are_dropped(house: House) -> None:
    async with house.open(WebSettings(keepalive_s=0.5)) as url:
        answers = await exchange(url, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /heal")

    assert 1 == answers.count(b"HTTP/1.1 ")


async def test_a_slow_body_is_dropped(house: House) -> None:
    async with house.open(WebSettings(body_timeout_s=0.5)) as url:
        started = time.monotonic()
        answer = await exchange(url, b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nname")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert time.monotonic() - started < 29  # seconds: with the default it were thirty at least


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_body_is_refused(browser: Browser, *, chunked: bool) -> None:
    data = b"x" * (65 * 1024)

    async def pieces() -> object:
        yield data

    answer = await browser.request("POST", "/login", data=pieces() if chunked else data)

    assert 413 == answer.status


async def test_a_compressed_body_is_refused(browser: Browser) -> None:
    answer = await browser.request("POST", "/login", data=b"\x1f\x8b\x08", headers={"Content-Encoding": "br"})

    assert answer.status in {400, 415}


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /login HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\x1b[31m: x\r\n\r\n",
    ],
    ids=["two lengths", "length and chunks", "a long header", "TLS", "a header that is none"],
)
async def test_what_is_no_request_is_refused_without_a_word_about_the_server_or_a_traceback(
    url: str, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as logs:
        answer = await exchange(url, request_)

    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert b"\r\nServer: RootBlood\r\n" in answer
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in answer
    assert answer.endswith(b"\r\n\r\nthis is no request of HTTP\n")
    assert [("info", "request_malformed")] == [(log["log_level"], log["event"]) for log in logs]
    assert [] == [record.getMessage() for record in caplog.records if record.name.startswith("aiohttp")]


async def test_over_a_network_it_is_tls_or_nothing(house: House, new_browser: NewBrowser) -> None:
    """A proxy that is trusted says that its client speaks plain HTTP from elsewhere."""
    async with house.open(WebSettings(trusted_proxies=("127.0.0.0/8",))) as url:
        browser = new_browser(url, **{"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "http"})
        refused = await browser.get("/login")
        health = await browser.get("/healthz")

    assert (403, 200) == (refused.status, health.status)
    assert "use https" in refused.text
    assert [] == browser.set_cookies
