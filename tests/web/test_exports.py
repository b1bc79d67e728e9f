"""Tarballs over HTTP: made while they are sent, or from the spool; by browsers, by programs and by curl."""

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Action
from rootblood.domain.exports import ArchiveFormat, Export, ExportState
from rootblood.domain.tokens import Scope
from rootblood.settings import ExportSettings, WebSettings
from tests.fakes.exporter import GOOD_END, frame
from tests.web.conftest import Browser, House, NewBrowser
from tests.web.test_api import API, Program, problem, program

GZIP = ArchiveFormat.GZIP
CONTENT = b"tarball"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
BAD_END = frame(b"e", b'{"files": 1, "error": "tar: no <b>x\\u009b2J", "warnings": []}')
LARGE = frame(b"d", b"x" * 500_000) * 40


@pytest.fixture
async def alices(browser: Browser, house: House, alice: Account) -> Program:
    """A program that may download, and no more."""
    return await program(browser, house, alice, Scope.EXPORT_READ)


@dataclass(frozen=True)
class Home:
    """What alice's next tarballs are made of."""

    path: Path

    async def gives(self, frames: bytes, *, hold: bool = False) -> None:
        def write() -> None:
            self.path.mkdir(exist_ok=True)
            (self.path / "frames").write_bytes(frames)
            if hold:
                (self.path / "hold").touch()

        await asyncio.to_thread(write)

    def was_left(self) -> bool:
        """Whether what made it has been told that nobody reads it."""
        return (self.path / "left").exists()


@pytest.fixture
async def home(house: House, alice: Account) -> Home:
    await house.environments.start(alice)
    return Home(house.engine.host.home(alice.userhash))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.02)


async def told_when(program: Program, path: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the API tells of an export, once it tells what is waited for."""
    async with asyncio.timeout(60):
        while not is_so(told := await program.json("GET", path)):  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.02)
    return dict(told)


async def curl(*words: str, directory: Path) -> tuple[int, bytes]:
    """Exit status of a curl, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--noproxy", "*", *words,
        cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said


def bearer(alices: Program) -> list[str]:
    return ["-H", f"Authorization: Bearer {alices.secret}"]


async def spooled(house: House, alice: Account, kind: ArchiveFormat = GZIP) -> Export:
    begun = await house.exports.spool(alice, kind)
    return [told async for told in house.exports.follow(alice, begun.id, interval_s=0.05)][-1]


@contextlib.asynccontextmanager
async def connected(
    url: str, path: str, alices: Program, version: str = "1.1"
) -> AsyncIterator[asyncio.StreamReader]:
    """A client that reads as it likes; what comes after its request."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    request = f"GET {path} HTTP/{version}\r\nHost: {host}\r\nAuthorization: Bearer {alices.secret}\r\n\r\n"
    writer.write(request.encode())
    try:
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


# A tarball that is made while it is sent.


@pytest.mark.parametrize("kind", ArchiveFormat)
async def test_a_live_one_for_a_program(
    alices: Program, house: House, alice: Account, kind: ArchiveFormat
) -> None:
    answer = await alices.browser.get(f"/export/{kind.file_name}", Authorization=f"Bearer {alices.secret}")

    assert (200, CONTENT.decode()) == (answer.status, answer.text)
    assert kind.media_type == answer.headers["Content-Type"]
    assert f'attachment; filename="{kind.file_name}"' == answer.headers["Content-Disposition"]
    assert ("chunked", "none") == (answer.headers["Transfer-Encoding"], answer.headers["Accept-Ranges"])
    assert "Content-Length" not in answer.headers
    event = (await house.audit.list(alice, limit=1))[0]
    assert (Action.EXPORT_MADE, "api", f"{kind.file_name}, 7 bytes of home") == (
        event.action,
        event.door,
        event.detail,
    )


async def test_a_live_one_for_a_browser(browser: Browser, house: House, alice: Account) -> None:
    await browser.log_in()

    for headers in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert CONTENT.decode() == (await browser.get("/export/home.tar.gz", **headers)).text
    for site in ("same-site", "cross-site", "", "nonsense"):
        refused = await browser.get("/export/home.tar.gz", **{"Sec-Fetch-Site": site})
        assert (403, True) == (refused.status, "another site" in refused.text)
    made = [event for event in await house.audit.list(alice, limit=9) if event.action is Action.EXPORT_MADE]
    assert [("web", "127.0.0.1")] * 3 == [(event.door, event.peer) for event in made]


async def test_head_starts_nothing(alices: Program, house: House) -> None:
    answer = await alices.browser.request(
        "HEAD", "/export/home.tar.gz", headers={"Authorization": f"Bearer {alices.secret}"}
    )

    assert (200, "application/gzip") == (answer.status, answer.headers["Content-Type"])
    assert {} == house.engine.host.containers


async def test_nobody_and_who_may_not(browser: Browser, house: House, alice: Account) -> None:
    export = await spooled(house, alice)
    other = await program(browser, house, alice, Scope.ENVIRONMENT_READ, Scope.EXPORT_WRITE)
    for path in ("/export/home.tar.gz", f"/export/{export.id}/home.tar.gz"):
        nobody = await browser.get(path)
        assert (401, "Bearer", True) == (
            nobody.status,
            nobody.headers["WWW-Authenticate"],
            "<h1>" in nobody.text,
        )
        refused = await browser.get(path, Authorization=f"Bearer {other.secret}")
        assert "no scope export:read" in problem(refused)["detail"]
        wrong = await browser.get(path, Authorization="Bearer rb_" + "A" * 43)
        assert 401 == problem(wrong)["status"]


async def test_what_fails_before_the_first_byte_has_a_status(alices: Program, home: Home) -> None:
    await home.gives(BAD_END)

    answer = await alices.browser.get("/export/home.tar.gz", Authorization=f"Bearer {alices.secret}")

    assert 503 == answer.status
    assert "no whole tarball: tar: no <b>x" in problem(answer)["detail"]


async def test_a_browser_is_told_on_a_page(browser: Browser, home: Home) -> None:
    await home.gives(BAD_END)
    await browser.log_in()

    answer = await browser.get("/export/home.tar.gz")

    assert (503, "text/html; charset=utf-8") == (answer.status, answer.headers["Content-Type"])
    assert "tar: no &lt;b&gt;x" in answer.text


@pytest.mark.parametrize(("version", "status"), [("--http1.1", 18), ("--http1.0", 56)])
async def test_what_fails_later_is_no_good_end_to_curl(
    alices: Program, home: Home, tmp_path: Path, *, version: str, status: int
) -> None:
    await home.gives(frame(b"d", b"x" * 500_000) + BAD_END)

    code, said = await curl(
        version, "-OJ", *bearer(alices), f"{alices.browser.url}/export/home.tar.gz", directory=tmp_path
    )

    assert status == code, said


async def test_a_part_that_was_read_is_in_the_trail(
    alices: Program, home: Home, house: House, alice: Account, url: str
) -> None:
    await home.gives(frame(b"d", b"x" * 500_000) + BAD_END)
    async with connected(url, "/export/home.tar.gz", alices) as reader:
        await reader.read()
    event = (await house.audit.list(alice, limit=1))[0]
    assert "home.tar.gz, 500000 bytes of home, broken off" == event.detail


@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
async def test_a_whole_one_is_a_good_end_to_curl(
    alices: Program, home: Home, tmp_path: Path, version: str
) -> None:
    await home.gives(LARGE + GOOD_END)

    done = await curl(
        version, "-OJ", *bearer(alices), f"{alices.browser.url}/export/home.tar.zst", directory=tmp_path
    )

    assert (0, b"") == done
    assert 20_000_000 == (tmp_path / "home.tar.zst").stat().st_size


async def test_no_other_time_limit_ends_a_long_one(
    house: House, alice: Account, new_browser: NewBrowser, home: Home, tmp_path: Path
) -> None:
    await home.gives(LARGE + GOOD_END)
    async with house.open(WebSettings(keepalive_s=1, body_timeout_s=1)) as url:
        alices = await program(new_browser(url), house, alice, Scope.EXPORT_READ)
        begun = time.monotonic()
        done = await curl(
            "--limit-rate", "5M", "-OJ", *bearer(alices), f"{url}/export/home.tar.gz", directory=tmp_path
        )  # fmt: skip
    assert (0, b"") == done
    assert 1.5 < time.monotonic() - begun
    assert 20_000_000 == (tmp_path / "home.tar.gz").stat().st_size


async def test_who_leaves_stops_what_makes_it(alices: Program, home: Home, url: str) -> None:
    await home.gives(frame(b"d", b"x"), hold=True)
    async with connected(url, "/export/home.tar.gz", alices) as reader:
        assert b"200 OK" in await head_of(reader)
    await until(home.was_left)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("ending", ["lock", "token deleted", "locked by another process"])
async def test_who_may_not_have_it_any_more_is_cut_off(
    alices: Program, house: House, alice: Account, home: Home, *, ending: str, version: str
) -> None:
    await home.gives(frame(b"d", b"x"), hold=True)
    async with connected(alices.browser.url, "/export/home.tar.gz", alices, version) as reader:
        await head_of(reader)
        if ending == "token deleted":
            (token,) = await house.tokens.list(alice)
            await house.tokens.delete(alice, token.id)
        else:
            if ending == "locked by another process":
                house.endings._listeners.clear()
            await house.accounts.lock("alice")
        async with asyncio.timeout(60):
            if version == "1.0":
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            else:
                assert b"1\r\nx\r\n" == await reader.read()
    await until(home.was_left)


async def test_a_logout_cuts_off_its_browser(browser: Browser, home: Home) -> None:
    await home.gives(frame(b"d", b"x"), hold=True)
    await browser.log_in()
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    async with browser.session.get(
        f"{browser.url}/export/home.tar.gz", headers={"Cookie": cookies}
    ) as response:
        assert b"x" == await response.content.readany()
        await browser.press("/logout")
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.readany()
    await until(home.was_left)


async def test_a_stop_cuts_off_what_does_not_end(
    house: House, alice: Account, new_browser: NewBrowser, home: Home
) -> None:
    await home.gives(frame(b"d", b"x"), hold=True)
    async with contextlib.AsyncExitStack() as stack:
        async with house.open() as url:
            alices = await program(new_browser(url), house, alice, Scope.EXPORT_READ)
            reader = await stack.enter_async_context(connected(url, "/export/home.tar.gz", alices))
            old = await stack.enter_async_context(connected(url, "/export/home.tar.gz", alices, "1.0"))
            await head_of(reader)
            await head_of(old)
        assert b"1\r\nx\r\n" == await reader.read()
        with pytest.raises(ConnectionResetError):
            await old.read()


async def test_no_more_than_may_be_at_one_time(alices: Program, home: Home, url: str) -> None:
    await home.gives(frame(b"d", b"x"), hold=True)
    async with connected(url, "/export/home.tar.gz", alices) as one:
        await head_of(one)
        async with connected(url, "/export/home.tar.gz", alices) as two:
            await head_of(two)
            answer = await alices.browser.get("/export/home.tar.gz", Authorization=f"Bearer {alices.secret}")
    assert (503, "5") == (answer.status, answer.headers["Retry-After"])
    assert "wait for one of them" in problem(answer)["detail"]


async def test_one_larger_than_it_may_be_is_broken_off(
    alices: Program, house: House, home: Home, tmp_path: Path
) -> None:
    house.exports._settings = ExportSettings(max_bytes=1_000_000)
    await home.gives(LARGE + GOOD_END)

    code, said = await curl(
        "-OJ", *bearer(alices), f"{alices.browser.url}/export/home.tar.gz", directory=tmp_path
    )

    assert (18, True) == (code, b"transfer closed" in said)


# From the spool.


@pytest.fixture
async def export(house: House, alice: Account) -> Export:
    return await spooled(house, alice)


async def get(alices: Program, export: Export, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    """Status, body and Content-Range."""
    answer = await alices.browser.request(
        method,
        f"/export/{export.id}/{export.format.file_name}",
        headers={"Authorization": f"Bearer {alices.secret}", **headers},
    )
    return answer.status, answer.text, answer.headers.get("Content-Range", "")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_one_that_is_kept(alices: Program, export: Export, method: str) -> None:
    answer = await alices.browser.request(
        method,
        f"/export/{export.id}/home.tar.gz",
        headers={"Authorization": f"Bearer {alices.secret}", "Accept-Encoding": "gzip, br"},
    )

    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    expected = {
        "Content-Length": "7",
        "Content-Type": "application/gzip",
        "Content-Disposition": 'attachment; filename="home.tar.gz"',
        "Accept-Ranges": "bytes",
        "ETag": f'"{DIGEST}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "no-store",
    }
    assert (200, CONTENT.decode() if method == "GET" else "") == (answer.status, answer.text)
    assert expected == {name: answer.headers.get(name) for name in expected}
    assert "Last-Modified" in answer.headers
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-2", (206, "tar", "bytes 0-2/7")),
        ("bytes=3-", (206, "ball", "bytes 3-6/7")),
        ("bytes=3-99", (206, "ball", "bytes 3-6/7")),
        ("bytes=6-6", (206, "l", "bytes 6-6/7")),
        ("bytes=-4", (206, "ball", "bytes 3-6/7")),
        ("bytes=-99", (206, "tarball", "bytes 0-6/7")),
        ("Bytes=0-0", (206, "t", "bytes 0-0/7")),
        ("bytes=7-", (416, "", "bytes */7")),
        ("bytes=99-100", (416, "", "bytes */7")),
        ("bytes=-0", (416, "", "bytes */7")),
        ("bytes=3-1", (200, "tarball", "")),
        ("bytes=0-1,3-4", (200, "tarball", "")),
        ("bytes=", (200, "tarball", "")),
        ("bytes=-", (200, "tarball", "")),
        ("lines=0-1", (200, "tarball", "")),
        ("bytes=\u0661-", (200, "tarball", "")),
        ("bytes=" + "9" * 5000 + "-", (200, "tarball", "")),
    ],
)
async def test_ranges(alices: Program, export: Export, asked: str, expected: tuple[int, str, str]) -> None:
    assert expected == await get(alices, export, Range=asked)


async def test_a_range_of_a_head_is_none(alices: Program, export: Export) -> None:
    assert (200, "", "") == await get(alices, export, "HEAD", Range="bytes=0-2")


async def test_conditions(alices: Program, export: Export) -> None:
    answer = await alices.browser.get(
        f"/export/{export.id}/home.tar.gz", Authorization=f"Bearer {alices.secret}"
    )
    etag, modified = answer.headers["ETag"], answer.headers["Last-Modified"]
    later, before = "Fri, 01 Jan 2100 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT"
    part, whole = (206, "tar", "bytes 0-2/7"), (200, "tarball", "")

    for if_range, expected in [
        (etag, part), (modified, part), ('"another"', whole), (f"W/{etag}", whole), (before, whole),
        (later, whole), ("nonsense", whole),
    ]:  # fmt: skip
        assert expected == await get(alices, export, Range="bytes=0-2", **{"If-Range": if_range}), if_range
    for header, value, status in [
        ("If-None-Match", etag, 304), ("If-None-Match", f"W/{etag}", 304), ("If-None-Match", "*", 304),
        ("If-None-Match", '"another"', 200), ("If-Match", etag, 200), ("If-Match", "*", 200),
        ("If-Match", f"W/{etag}", 412), ("If-Match", '"another"', 412),
        ("If-Modified-Since", modified, 304), ("If-Modified-Since", before, 200),
        ("If-Unmodified-Since", modified, 200), ("If-Unmodified-Since", before, 412),
    ]:  # fmt: skip
        assert status == (await get(alices, export, **{header: value}))[0], (header, value)


@pytest.mark.parametrize("header", ["If-Modified-Since", "If-Unmodified-Since", "If-Range"])
@pytest.mark.parametrize(
    "date", ["nonsense", "Fri, 01 Jan 99999999999999999999 00:00:00 GMT", "Fri, 32 Jan 2100 00:00:00 GMT"]
)
async def test_a_date_that_is_none_is_no_condition(
    alices: Program, export: Export, header: str, date: str
) -> None:
    assert (200, "tarball", "") == await get(alices, export, **{header: date})


@pytest.mark.parametrize("name", ["home.tar.zst", "home.tar.gz.gz", "x", "..%2f..%2fhome.tar.gz", "%00"])
async def test_a_tarball_has_one_name(alices: Program, export: Export, name: str) -> None:
    answer = await alices.browser.get(f"/export/{export.id}/{name}", Authorization=f"Bearer {alices.secret}")
    assert 404 == answer.status


async def test_another_accounts_is_not_there(browser: Browser, house: House, export: Export) -> None:
    bob = await program(browser, house, await house.accounts.create("bob"))
    for export_id in (export.id, "0" * 32, "..", "%2e%2e", "x" * 5000):
        answer = await browser.get(f"/export/{export_id}/home.tar.gz", Authorization=f"Bearer {bob.secret}")
        assert 404 == answer.status
    assert 404 == problem(await bob.call("GET", f"/exports/{export.id}"))["status"]
    assert 404 == problem(await bob.call("DELETE", f"/exports/{export.id}"))["status"]
    assert [] == (await bob.json("GET", "/exports"))["exports"]


async def test_curl_resumes(
    alices: Program, house: House, alice: Account, home: Home, tmp_path: Path
) -> None:
    await home.gives(frame(b"d", b"0123456789" * 90_000) + GOOD_END)
    export = await spooled(house, alice)
    url = f"{alices.browser.url}/export/{export.id}/home.tar.gz"
    partly = tmp_path / "home.tar.gz"
    partly.write_bytes(b"#" * 400_000)

    for _ in range(2):  # the second finds it whole
        assert (0, b"") == await curl("-C", "-", "-O", *bearer(alices), url, directory=tmp_path)
        assert b"#" * 400_000 + (b"0123456789" * 90_000)[400_000:] == partly.read_bytes()


async def test_a_file_that_is_shorter_than_it_should_be_is_no_good_end(
    alices: Program, house: House, alice: Account, home: Home, url: str
) -> None:
    """The disk's fault, or somebody's at it."""
    await home.gives(frame(b"d", b"x" * 1_000_000) + GOOD_END)
    export = await spooled(house, alice)
    _, path = await house.exports.path(alice, export.id)
    async with connected(url, f"/export/{export.id}/home.tar.gz", alices) as reader:
        assert b"Content-Length: 1000000" in await head_of(reader)
        with path.open("rb+") as file:
            file.truncate(300_000)
        assert 1_000_000 > len(await reader.read())


async def test_an_expired_one_is_gone(house: House, alice: Account, alices: Program) -> None:
    house.exports._settings = ExportSettings(spool_expiry_s=1)
    begun = await house.exports.spool(alice, GZIP)
    async with asyncio.timeout(60):
        while (answer := await get(alices, begun))[0] != 404:
            assert answer[0] in {200, 409}
            await asyncio.sleep(0.05)
    assert "it may have expired" in answer[1]


# The API.


def is_over(told: dict[str, Any]) -> bool:
    return bool(told["state"] != "running")


@pytest.fixture
async def keeper(browser: Browser, house: House, alice: Account) -> Program:
    return await program(browser, house, alice, Scope.EXPORT_READ, Scope.EXPORT_WRITE)


async def test_the_life_of_one_by_the_api(keeper: Program, house: House, alice: Account) -> None:
    answer = await keeper.call("POST", "/exports", {"format": "tar.gz"})
    made = json.loads(answer.text)
    assert (202, f"{API}/exports/{made['id']}") == (answer.status, answer.location)
    assert ("running", None, None) == (made["state"], made["size"], made["url"])

    told = await told_when(keeper, f"/exports/{made['id']}", is_over)
    assert ("ready", 7, 3, 7, DIGEST, ["./sock: socket ignored"], 37, None) == tuple(
        told[name]
        for name in ("state", "bytes", "files", "size", "sha256", "warnings", "more_warnings", "error")
    )
    path = told["url"].removeprefix(keeper.browser.url)
    assert CONTENT.decode() == (await keeper.browser.get(path, Authorization=f"Bearer {keeper.secret}")).text
    assert [told] == (await keeper.json("GET", "/exports"))["exports"]
    event = (await house.audit.list(alice, limit=1))[0]
    assert (Action.EXPORT_MADE, "api", "home.tar.gz, 7 bytes of home, kept here for a while") == (
        event.action,
        event.door,
        event.detail,
    )

    assert 204 == (await keeper.call("DELETE", f"/exports/{made['id']}")).status
    assert 404 == (await keeper.call("GET", f"/exports/{made['id']}")).status
    assert 404 == (await keeper.browser.get(path, Authorization=f"Bearer {keeper.secret}")).status


async def test_one_on_its_way_says_how_far_it_is(keeper: Program, home: Home) -> None:
    await home.gives(frame(b"d", b"x" * 1000) + frame(b"p", b'{"files": 2}'), hold=True)
    made = await keeper.call("POST", "/exports", {"format": "tar.zst"})
    path = made.location.removeprefix(API)
    told = await told_when(keeper, path, lambda told: told["files"] > 0)
    assert ("running", 1000, 2, True) == (
        told["state"],
        told["bytes"],
        told["files"],
        0 < told["bytes_per_s"] <= 1000,
    )
    assert 409 == problem(await keeper.call("POST", "/exports", {"format": "tar.gz"}))["status"]
    download = await keeper.browser.get(
        f"/export/{told['id']}/home.tar.zst", Authorization=f"Bearer {keeper.secret}"
    )
    assert "still on its way" in problem(download)["detail"]
    assert 204 == (await keeper.call("DELETE", path)).status
    await until(home.was_left)


async def test_one_that_fails_says_why(keeper: Program, home: Home) -> None:
    await home.gives(frame(b"d", b"x" * 700_000) * 2 + GOOD_END)  # the spool of these tests takes a MiB
    path = (await keeper.call("POST", "/exports", {"format": "tar.gz"})).location.removeprefix(API)
    told = await told_when(keeper, path, is_over)
    assert ("failed", None, None) == (told["state"], told["url"], told["size"])
    assert "no room for more tarballs" in told["error"]


@pytest.mark.parametrize("body", [{}, {"format": "zip"}, {"format": 1}, {"format": "tar.gz", "x": 1}])
async def test_what_is_no_format(keeper: Program, body: object) -> None:
    assert 422 == problem(await keeper.call("POST", "/exports", body))["status"]


# The pages.


async def test_one_is_prepared_downloaded_and_deleted_by_buttons(
    browser: Browser, house: House, alice: Account
) -> None:
    await browser.log_in()
    start = await browser.get("/")
    assert 'href="/export/home.tar.gz"' in start.text
    fields = {"form_token": start.form_token, "file": "home.tar.zst"}
    assert "/exports" == (await browser.post("/exports", fields)).location
    (export,) = await house.exports.list(alice)
    async with asyncio.timeout(60):
        while export.state is ExportState.RUNNING:
            export = await house.exports.find(alice, export.id)
    for path in ("/", "/exports"):
        page = (await browser.get(path)).text
        assert DIGEST in page
        assert "38 files were left out or changed meanwhile" in page
        assert re.search(r"<li><span>\./sock: socket ignored</span></li>\s*<li>and 37 more</li>", page)
        assert "http-equiv" not in page
    assert CONTENT.decode() == (await browser.get(f"/export/{export.id}/home.tar.zst")).text

    fields = {"form_token": start.form_token}
    assert "/exports" == (await browser.post(f"/exports/{export.id}/delete", fields)).location
    assert 303 == (await browser.post(f"/exports/{export.id}/delete", fields)).status
    assert [] == await house.exports.list(alice)
    assert [Action.EXPORT_MADE, Action.LOGGED_IN] == [
        event.action for event in await house.audit.list(alice, limit=2)
    ]


async def test_the_page_is_anew_while_one_is_made_and_tells_what_fails(
    browser: Browser, home: Home, house: House, alice: Account
) -> None:
    hostile = '{"files": 1, "error": "<script>\\u009b2J\\u202e", "warnings": []}'
    await home.gives(frame(b"d", b"x"), hold=True)
    await browser.log_in()
    fields = {"form_token": (await browser.get("/")).form_token, "file": "home.tar.gz"}
    await browser.post("/exports", fields)
    page = (await browser.get("/exports")).text
    assert '<meta http-equiv="refresh" content="2;url=/exports">' in page
    assert "being made" in page
    again = await browser.post("/exports", fields)
    assert (409, True) == (again.status, "on its way already" in again.text)
    assert "http-equiv" not in again.text
    assert 422 == (await browser.post("/exports", {**fields, "file": "../x"})).status

    (export,) = await house.exports.list(alice)
    await house.exports.delete(alice, export.id)
    await asyncio.to_thread((home.path / "hold").unlink)
    await home.gives(frame(b"e", hostile.encode()))
    await spooled(house, alice)
    page = (await browser.get("/exports")).text
    assert "failed: your environment gave no whole tarball: &lt;script&gt;" in page
    assert "<script>" not in page
    assert "\x9b" not in page
    assert "\u202e" not in page


async def test_behind_a_path_and_tls_of_a_proxy(
    house: House, alice: Account, new_browser: NewBrowser
) -> None:
    async with house.open(WebSettings(public_url="https://example.test/box")) as url:
        keeper = await program(new_browser(url), house, alice)
        made = await keeper.call("POST", "/exports", {"format": "tar.gz"})
        assert f"/box{API}/exports/" == made.location[:-32]
        told = await told_when(keeper, made.location.removeprefix(f"/box{API}"), is_over)
        assert f"https://example.test/box/export/{told['id']}/home.tar.gz" == told["url"]
