"""Tarballs on their way into a home by the API: in pieces, broken off, too large; what becomes of them."""

# ruff: noqa: F811 - alices is a fixture

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.environments import EnvironmentState
from rootblood.domain.tokens import Scope
from rootblood.services import loans
from rootblood.settings import ImportSettings, WebSettings
from tests.web.conftest import Answer, Browser, House, NewBrowser
from tests.web.test_activity import trail
from tests.web.test_api import API, Program, alices, problem, program  # noqa: F401 - a fixture

ID = "0123456789abcdef" * 2
UPLOAD = f"/imports/{ID}"
DATA = f"{UPLOAD}/data"


async def append(alices: Program, offset: int | str, data: Any, **headers: str) -> Answer:
    sent = {"Authorization": f"Bearer {alices.secret}", "Upload-Offset": str(offset), **headers}
    return await alices.browser.request("PATCH", API + DATA, headers=sent, data=data)


async def offset(alices: Program) -> int:
    answer = await alices.call("HEAD", DATA)
    assert 200 == answer.status
    return int(answer.headers["Upload-Offset"])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - it is another process's doing
            await asyncio.sleep(0.01)


async def ended(alices: Program, state: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (found := await alices.json("GET", UPLOAD))["state"] == "unpacking":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert state == found["state"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def home(house: House, alice: Account) -> Path:
    home = house.engine.host.home(alice.userhash)
    home.mkdir()
    return home


def limit(house: House, **settings: int) -> None:
    house.imports._settings = ImportSettings.model_validate(settings)


async def test_pieces_one_after_the_other(alices: Program, home: Path) -> None:
    assert 0 == await offset(alices)
    assert 404 == (await alices.call("GET", UPLOAD)).status

    first = await append(alices, 0, b"first ")
    assert (204, "6", "") == (first.status, first.headers["Upload-Offset"], first.text)
    second = await append(alices, 6, b"second", **{"Content-Type": "application/x-www-form-urlencoded"})
    assert "12" == second.headers["Upload-Offset"]

    assert 12 == await offset(alices)
    assert b"first second" == (home / f"upload-{ID}").read_bytes()
    found = await alices.json("GET", UPLOAD)
    assert ("receiving", 12, None) == (found["state"], found["received_bytes"], found["error"])
    assert 204 == (await alices.call("DELETE", UPLOAD)).status
    assert 0 == await offset(alices)


async def test_a_piece_that_does_not_fit_is_told_where_it_would(alices: Program) -> None:
    await append(alices, 0, b"12345")

    for wrong in (0, 4, 6):
        answer = await append(alices, wrong, b"x")
        assert (409, "5") == (answer.status, answer.headers["Upload-Offset"])
        assert "nothing was changed: the next piece begins at 5" == problem(answer)["detail"]
    assert 5 == await offset(alices)


@pytest.mark.parametrize("wrong", ["-1", "x", "", "1.5", str(2**53)])
async def test_an_offset_that_is_none(alices: Program, wrong: str) -> None:
    answer = await append(alices, wrong, b"x")

    assert (422, "/Upload-Offset") == (answer.status, problem(answer)["errors"][0]["pointer"])


@pytest.mark.parametrize("wrong", ["x", "0" * 31, "0" * 33, "A" * 32, "..%2f" + "0" * 27])
async def test_an_id_that_is_none(alices: Program, wrong: str) -> None:
    for method in ("GET", "DELETE"):
        assert 422 == (await alices.call(method, f"/imports/{wrong}")).status
    assert 422 == (await alices.call("POST", f"/imports/{wrong}/unpack", {})).status
    assert 422 == (await alices.call("HEAD", f"/imports/{wrong}/data")).status


async def test_no_body_is_taken_apart_and_none_is_decompressed(alices: Program) -> None:
    answer = await append(alices, 0, b"x", **{"Content-Encoding": "gzip"})

    assert 415 == answer.status
    assert 0 == await offset(alices)


async def test_more_than_any_other_request_may_have_goes_by_in_pieces(
    alices: Program,
    home: Path,
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(40):
            yield bytes([number]) * 100_000

    assert "4000000" == (await append(alices, 0, pieces())).headers["Upload-Offset"]

    expected = b"".join(bytes([number]) * 100_000 for number in range(40))
    assert expected == (home / f"upload-{ID}").read_bytes()
    refused = await alices.call("POST", "/keys", {"line": "x" * 100_000})
    assert 413 == refused.status


async def test_larger_than_may_be(alices: Program, house: House) -> None:
    limit(house, max_bytes=10)
    await append(alices, 0, b"12345")

    async def unknown_length() -> AsyncIterator[bytes]:
        yield b"123456"

    for data in (b"123456", unknown_length()):
        answer = await append(alices, 5, data)
        assert (413, "the tarball is larger than it may be; use rsync") == (
            answer.status,
            problem(answer)["detail"],
        )
    assert 5 == await offset(alices)
    assert "10" == (await append(alices, 5, b"12345")).headers["Upload-Offset"]


async def send_slowly(url: str, secret: str, first: bytes) -> socket.socket:
    """Begin to send a piece of 1000 bytes."""
    parts = urlsplit(url)
    sender = socket.create_connection((parts.hostname or "", parts.port or 0))
    sender.setblocking(False)  # noqa: FBT003 - the standard library's own
    head = (
        f"PATCH {API}{DATA} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {secret}\r\n"
        "Upload-Offset: 0\r\nContent-Length: 1000\r\n\r\n"
    )
    await asyncio.get_running_loop().sock_sendall(sender, head.encode() + first)
    return sender


def grown(home: Path, size: int) -> Callable[[], bool]:
    path = home / f"upload-{ID}"
    return lambda: path.exists() and path.stat().st_size == size


async def test_what_came_before_the_connection_broke_is_kept(alices: Program, home: Path) -> None:
    with await send_slowly(alices.browser.url, alices.secret, b"12345"):
        await until(grown(home, 5))

    assert 5 == await offset(alices)
    assert "10" == (await append(alices, 5, b"67890")).headers["Upload-Offset"]
    assert b"1234567890" == (home / f"upload-{ID}").read_bytes()


async def test_a_sender_may_take_long_in_all_but_not_for_any_piece(
    house: House, alice: Account, home: Path, new_browser: NewBrowser
) -> None:
    timeout_s = 1.0
    async with house.open(WebSettings(body_timeout_s=timeout_s)) as url:
        slow = await program(new_browser(url), house, alice)
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        with await send_slowly(url, slow.secret, b"1") as sender:
            for size in range(2, 7):
                await asyncio.sleep(timeout_s / 3)  # what is tested is time itself
                await loop.sock_sendall(sender, b"1")
                await until(grown(home, size))
            assert loop.time() - began_at > timeout_s
            said = b""
            async with asyncio.timeout(20):
                while data := await loop.sock_recv(sender, 4096):
                    said += data
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"took too long to go on" in said
        assert 6 == await offset(slow)


async def test_no_more_at_a_time_than_may_be(alices: Program, house: House, home: Path) -> None:
    limit(house, max_of_account=1)
    with await send_slowly(alices.browser.url, alices.secret, b"12345"):
        await until(grown(home, 5))
        answer = await append(alices, 5, b"6")
        assert (503, "5") == (answer.status, answer.headers["Retry-After"])
    await until(lambda: not house.imports._receiving)
    assert 204 == (await append(alices, 5, b"6")).status


async def test_unpacked_into_a_directory(alices: Program, house: House, alice: Account, home: Path) -> None:
    await append(alices, 0, b"tarball")
    (home / "hold").touch()

    answer = await alices.call("POST", f"{UPLOAD}/unpack", {"into": "back"})
    assert (202, f"{API}{UPLOAD}") == (answer.status, answer.headers["Location"])
    assert "unpacking" == json.loads(answer.text)["state"]
    for again in (
        await alices.call("POST", f"{UPLOAD}/unpack", {"into": "other"}),
        await alices.call("DELETE", UPLOAD),
        await append(alices, 7, b"more"),
    ):
        assert 409 == again.status
    (home / "hold").unlink()

    done = await ended(alices, "done")
    assert ("back", False, 2) == (done["directory"], done["replaced"], done["files"])
    assert (["took a bit off \x1b[31m"], 37) == (done["warnings"], done["more_warnings"])
    runs = (home / "import-runs").read_text().splitlines()
    assert f"unpack --json --max-bytes {256 * 2**30} --into back --upload {ID}" in runs
    assert ("import_done", "api", "127.0.0.1") == (await trail(house, alice))[-1]
    assert "into ~/back" == (await house.audit.list(alice, limit=1))[0].detail
    # The same id again is another upload.
    await append(alices, 0, b"next")
    assert "receiving" == (await alices.json("GET", UPLOAD))["state"]


async def test_unpacked_in_place_of_the_home(alices: Program, home: Path) -> None:
    await append(alices, 0, b"tarball")

    await alices.call("POST", f"{UPLOAD}/unpack", {"replace": True, "into": "ignored"})

    done = await ended(alices, "done")
    assert ("home-before-today", True) == (done["directory"], done["replaced"])
    assert "--replace" in (home / "import-runs").read_text()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('{"error": "a device"}\n', "nothing was changed: a device"),
        ("", "your environment was stopped, and nothing was changed; try again"),
        ("[]\n", "your environment gives no answer that makes sense"),
    ],
)
async def test_what_fails_says_why_and_may_be_tried_again(
    alices: Program, house: House, home: Path, said: str, told: str
) -> None:
    alice = await house.accounts.get("alice")
    await append(alices, 0, b"tarball")
    (home / "answer").write_text(said)
    await alices.call("POST", f"{UPLOAD}/unpack", {})

    assert told == (await ended(alices, "failed"))["error"]
    assert "import_done" not in {action for action, _, _ in await trail(house, alice)}
    (home / "answer").unlink()
    assert 202 == (await alices.call("POST", f"{UPLOAD}/unpack", {})).status
    await ended(alices, "done")


async def test_what_was_never_sent_cannot_be_unpacked(alices: Program) -> None:
    answer = await alices.call("POST", f"{UPLOAD}/unpack", {})

    assert (404, "there is no such upload; send it first") == (answer.status, problem(answer)["detail"])


async def test_what_became_of_it_is_forgotten_after_a_while(
    alices: Program,
    house: House,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await append(alices, 0, b"tarball")
    await alices.call("POST", f"{UPLOAD}/unpack", {})
    await ended(alices, "done")

    async with asyncio.timeout(10):
        while any(  # noqa: ASYNC110 - a task of the service
            record.ended_at is None for record in house.unpackings._records.values()
        ):
            await asyncio.sleep(0.01)
    now = house.unpackings._clock()
    monkeypatch.setattr(house.unpackings, "_clock", lambda: now + 3700)

    assert 404 == (await alices.call("GET", UPLOAD)).status


async def test_an_environment_that_did_not_run_is_started_once_and_left_as_it_was(
    alices: Program,
    house: House,
    alice: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def state() -> EnvironmentState:
        return house.engine.host.containers[alice.userhash][1].state

    for size in range(3):
        await append(alices, size, b"x")
        assert EnvironmentState.RUNNING is state()
    assert [] == house.engine.stop_graces

    monkeypatch.setattr(house.imports._loans, "_linger_s", 0.01)
    await append(alices, 3, b"x")
    await until(lambda: state() is EnvironmentState.STOPPED)
    assert loans._LINGER_S > 1


async def test_nobody_sees_another_ones_upload(
    alices: Program,
    house: House,
    browser: Browser,
) -> None:
    await append(alices, 0, b"tarball")
    bob = await program(browser, house, await house.accounts.create("bob", password="x" * 12))

    assert 0 == await offset(bob)
    assert 404 == (await bob.call("POST", f"{UPLOAD}/unpack", {})).status
    await alices.call("POST", f"{UPLOAD}/unpack", {})
    await ended(alices, "done")
    assert 404 == (await bob.call("GET", UPLOAD)).status


async def test_a_page_of_this_site_may_and_of_another_may_not(browser: Browser, alice: Account) -> None:
    await browser.log_in(alice.name)
    token = (await browser.get("/tokens")).form_token
    own = {"Origin": browser.url, "X-CSRF-Token": token, "Upload-Offset": "0"}
    for changes in ({"Origin": "https://evil.test"}, {"X-CSRF-Token": "0" * 64}):
        answer = await browser.request("PATCH", API + DATA, headers={**own, **changes}, data=b"evil")
        assert 403 == answer.status
    assert 204 == (await browser.request("PATCH", API + DATA, headers=own, data=b"good")).status


async def test_the_page_is_for_who_is_logged_in(browser: Browser, alice: Account) -> None:
    assert "/login" == (await browser.get("/import")).location
    await browser.log_in(alice.name)

    page = await browser.get("/import")

    assert 200 == page.status
    assert f'data-imports="{API}/imports"' in page.text
    assert "<noscript>" in page.text
    assert 'href="/import"' in (await browser.get("/")).text


async def test_the_scope_is_offered_to_tokens(browser: Browser, alice: Account) -> None:
    await browser.log_in(alice.name)

    assert Scope.IMPORT_WRITE.value in (await browser.get("/tokens")).text
