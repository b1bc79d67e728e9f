"""What `rb` asks for, over a real socket in place of the link's stream."""

import asyncio
import io
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest
import segno
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Action
from rootblood.domain.keys import PublicKey, parse_public_key
from rootblood.services.accounts import Accounts
from rootblood.services.penalties import Penalties
from rootblood.services.tmux import TmuxSessions
from rootblood.settings import PenaltySettings
from rootblood.web.calls import operations
from rootblood.web.calls.operations import Operations
from rootblood.web.calls.server import Calls
from tests.web.conftest import PASSWORD, House, NewBrowser

RB = {"X-RootBlood": "rb"}
TEXT = {**RB, "Content-Type": "text/plain"}
NEW_PASSWORD = "another battery staple"
LINE_BYTES = 200_000


class Ssh:
    """A connection at the other door."""

    peer = "192.0.2.7"
    since = datetime(2026, 11, 23, 18, 4, 5, tzinfo=UTC)
    activities = ("vim \x1b[31m",)


def some_key(comment: str = "") -> PublicKey:
    key = Ed25519PrivateKey.generate().public_key()
    encoded = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return parse_public_key(f"{encoded} {comment}")


@pytest.fixture
def calls(house: House) -> Calls:
    made = Calls(
        house.accounts,
        Operations(
            accounts=house.accounts,
            environments=house.environments,
            links=house.links,
            logins=house.logins,
            tmux_sessions=TmuxSessions(house.environments),
            penalties=Penalties(PenaltySettings(free_failures=2, first_s=600)),
            homes=house.homes,
            outlooks=house.outlooks,
            presence=house.presence,
        ),
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
    port: int, method: str, path: str, headers: dict[str, str] | None = None, data: str | bytes | None = None
) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session,
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


async def test_what_is_no_request_leaves_no_traceback(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Any program of an environment can send it, as often as it likes."""
    with structlog.testing.capture_logs() as logs:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"what is this?\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.0 400 ")
        writer.close()
    assert [("info", "request_malformed")] == [(log["log_level"], log["event"]) for log in logs]
    assert [] == [record.getMessage() for record in caplog.records if record.name.startswith("aiohttp")]


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


async def test_keep(port: int, house: House, alice: Account) -> None:
    await house.environments.start(alice)
    status, text = await call(port, "POST", "/keep")
    assert (200, True) == (status, "is not kept; rb keep 4h" in text)
    status, text = await call(port, "POST", "/keep", TEXT, "4h")
    assert (200, True) == (status, text.startswith("your environment is kept until 20"))
    assert "for 3 h 59 min more" in (await call(port, "POST", "/keep"))[1]
    _, text = await call(port, "GET", "/status")
    assert re.search(r"^kept +until 20.*, as you asked$", text, re.MULTILINE)
    assert (200, "your environment is kept no longer\n") == await call(port, "POST", "/keep", TEXT, "--end")
    assert (200, "your environment was not kept\n") == await call(port, "POST", "/keep", TEXT, "--end")
    for wrong in ("4", "0h", "-1h", "4 h", "\u0664h", "4h4m", "8d"):
        status, text = await call(port, "POST", "/keep", TEXT, wrong)
        assert (422, True) == (status, "kept for" in text or "such as 90m or 4h" in text), text
    kept = [event.action for event in await house.audit.list(alice, limit=10)]
    assert [Action.KEEP_ENDED, Action.ENVIRONMENT_KEPT] == kept[:2]


async def test_status_before_there_is_an_environment_and_with_one(
    port: int, house: House, alice: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_PATIENCE_S", 5)
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
    for method, path in (("POST", "/web"), ("GET", "/status"), ("GET", "/keys"), ("GET", "/password")):
        assert status == (await call(port, method, path, headers))[0]
    assert status in {200, (await call(port, "OPTIONS", "/web", headers))[0]}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/web"), ("POST", "/status"), ("GET", "/"), ("GET", "/login"), ("GET", "/api/v1/environment")],
)
async def test_there_is_nothing_else(port: int, method: str, path: str) -> None:
    assert 404 == (await call(port, method, path))[0]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {**TEXT, "Origin": "http://127.0.0.1:8000"},
        {**TEXT, "Host": "evil.test"},
        {**RB, "Content-Type": "application/x-www-form-urlencoded"},
    ],
)
async def test_what_a_web_page_could_send_changes_nothing(
    port: int, house: House, headers: dict[str, str]
) -> None:
    key = some_key()
    for path, body in (("/password", f"{PASSWORD}\n{NEW_PASSWORD}\n"), ("/keys", key.line)):
        assert (await call(port, "POST", path, headers, body))[0] in {403, 415, 421}
    assert [] == list(await house.accounts.keys("alice"))
    assert await house.accounts.authenticate_password("alice", PASSWORD) is not None


@pytest.mark.parametrize("path", ["/web", "/web/qr", "/else"])
async def test_a_body_is_refused_by_what_takes_none(port: int, path: str) -> None:
    assert 413 == (await call(port, "POST", path, TEXT, "x"))[0]
    assert 413 == (await call(port, "GET", "/keys", TEXT, "x"))[0]


@pytest.mark.parametrize("path", ["/keys", "/keys/delete", "/password"])
async def test_a_body_has_an_end_and_is_text(port: int, path: str) -> None:
    status, text = await call(port, "POST", path, TEXT, "x\n" * 40_000)
    assert (422, "that is too much:") == (status, text[:17])
    assert (422, "that is not text in UTF-8\n") == await call(port, "POST", path, TEXT, b"\xff\n\xfe")
    assert 422 == (await call(port, "POST", path, TEXT))[0]


async def test_a_body_that_does_not_come_is_not_waited_for(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rootblood.web.calls.server._REQUEST_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(60):
        head = "POST /keys HTTP/1.1\r\nHost: localhost\r\nX-RootBlood: rb\r\nContent-Type: text/plain\r\n"
        writer.write(f"{head}Content-Length: 100\r\n\r\nssh-".encode())
        assert b" 503 " in await reader.readline()
        assert b"that takes too long" in await reader.read()
    writer.close()


async def test_keys_are_added_listed_and_deleted(port: int, house: House) -> None:
    one, other = some_key("a laptop\x1b[31m"), some_key("a phone")
    both = f"# mine\n{one.line}\n{other.line}\n"
    status, text = await call(port, "POST", "/keys", TEXT, both)
    assert (200, f"added {one.fingerprint} a laptop\\x1b[31m\nadded {other.fingerprint} a phone\n") == (
        status,
        text,
    )
    status, text = await call(port, "POST", "/keys", TEXT, one.line)
    assert (200, f"has been there already: {one.fingerprint} a laptop\\x1b[31m\n") == (status, text)

    status, text = await call(port, "GET", "/keys")
    heading, *rows = text.splitlines()
    assert (200, "FINGERPRINT") == (status, heading.split()[0])
    assert [one.fingerprint, other.fingerprint] == [row.split()[0] for row in rows]
    assert "\x1b" not in text

    assert 404 == (await call(port, "POST", "/keys/delete", TEXT, "SHA256:nothing"))[0]
    assert 422 == (await call(port, "POST", "/keys/delete", TEXT, "\n"))[0]
    status, text = await call(port, "POST", "/keys/delete", TEXT, one.fingerprint + "\n")
    assert (200, f"deleted {one.fingerprint} a laptop\\x1b[31m\n") == (status, text)
    assert [other.blob] == [entry.key.blob for entry in await house.accounts.keys("alice")]


async def test_what_is_no_key_adds_none(port: int, house: House) -> None:
    status, text = await call(port, "POST", "/keys", TEXT, f"{some_key().line}\nnonsense\n")
    assert (422, True) == (status, text.startswith("line 2: "))
    status, text = await call(port, "POST", "/keys", TEXT, "\n".join(some_key().line for _ in range(51)))
    assert (422, "at most 50 keys can be added at a time\n") == (status, text)
    assert [] == list(await house.accounts.keys("alice"))


async def test_a_password_is_changed_by_who_knows_it(
    port: int, house: House, new_browser: NewBrowser
) -> None:
    assert (200, "set\n") == await call(port, "GET", "/password")
    async with house.open() as url:
        browser = new_browser(url)
        await browser.log_in()
        status, _ = await call(port, "POST", "/password", TEXT, f"{PASSWORD}\n{NEW_PASSWORD}\n")
        assert 200 == status
        assert 303 == (await browser.get("/")).status  # to the login form
    assert await house.accounts.authenticate_password("alice", PASSWORD) is None
    assert await house.accounts.authenticate_password("alice", NEW_PASSWORD) is not None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "two lines are needed"),
        (f"{PASSWORD}\n", "two lines are needed"),
        (f"{PASSWORD}\n{NEW_PASSWORD}\n{NEW_PASSWORD}\n", "two lines are needed"),
        (f"\n{NEW_PASSWORD}\n", "that is not your current password"),
        (f"{PASSWORD} \n{NEW_PASSWORD}\n", "that is not your current password"),
        (f"{PASSWORD}\n\n", "a password has at least"),
        (f"{PASSWORD}\n{'x' * 1025}\n", "a password has at most 1024 bytes"),
        (f"{PASSWORD}\nnul\0nul nul\n", "a password is UTF-8 text without NUL"),
    ],
)
async def test_a_password_stays_where_it_cannot_be_changed(
    port: int, house: House, body: str, said: str
) -> None:
    status, text = await call(port, "POST", "/password", TEXT, body)
    assert (422, said) == (status, text[: len(said)])
    assert await house.accounts.authenticate_password("alice", PASSWORD) is not None


async def test_the_first_password_needs_none(port: int, house: House) -> None:
    await house.accounts.set_password("alice", None)
    assert (200, "none\n") == await call(port, "GET", "/password")
    assert 422 == (await call(port, "POST", "/password", TEXT, f"{PASSWORD}\n{NEW_PASSWORD}\n"))[0]
    assert 200 == (await call(port, "POST", "/password", TEXT, f"\r\n{NEW_PASSWORD}\r\n"))[0]
    assert await house.accounts.authenticate_password("alice", NEW_PASSWORD) is not None


async def test_wrong_passwords_cost_time(port: int, house: House) -> None:
    wrong, right = f"not this one\n{NEW_PASSWORD}\n", f"{PASSWORD}\n{NEW_PASSWORD}\n"
    # At once, as one after the other.
    statuses = sorted(
        [
            answer[0]
            for answer in await asyncio.gather(
                *(call(port, "POST", "/password", TEXT, wrong) for _ in range(6))
            )
        ]
    )
    assert [422] * 3 + [429] * 3 == statuses
    assert (429, "too many wrong passwords; try again later\n") == await call(
        port, "POST", "/password", TEXT, right
    )
    assert await house.accounts.authenticate_password("alice", PASSWORD) is not None


async def test_sessions_of_an_environment_that_does_not_run(port: int) -> None:
    assert (200, "SESSION  MADE  LAST USED  ATTACHED  RUNS  TITLE\n") == await call(port, "GET", "/sessions")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/web", None),
        ("GET", "/status", None),
        ("GET", "/sessions", None),
        ("GET", "/keys", None),
        ("POST", "/keys", "x"),
        ("POST", "/keys/delete", "x"),
        ("POST", "/password", f"{PASSWORD}\n{NEW_PASSWORD}\n"),
    ],
)
async def test_an_account_that_is_locked_meanwhile_gets_nothing(
    port: int, house: House, method: str, path: str, body: str | None
) -> None:
    await house.accounts.lock("alice")
    answer = await call(port, method, path, TEXT if body else RB, body)
    assert (404, "this account may not log in any more\n") == answer


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
    async with asyncio.timeout(60):
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
