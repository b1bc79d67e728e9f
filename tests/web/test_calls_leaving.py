"""What `rb` asks for around tarballs and the end of an account, over a real socket as in `test_calls`."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Action, Door
from rootblood.domain.exports import ArchiveFormat
from rootblood.errors import NotFoundError
from rootblood.services import administration
from rootblood.services.archives import EXPORT_PROGRAM
from rootblood.services.penalties import Penalties
from rootblood.settings import PenaltySettings
from rootblood.web.calls import tarballs
from rootblood.web.calls.leaving import LeavingOperations
from rootblood.web.calls.server import Calls
from rootblood.web.calls.tarballs import TarballOperations
from tests.fakes import exporter
from tests.fakes.exporter import frame
from tests.fakes.tarballs import frames, unpacked
from tests.web.conftest import PASSWORD, House
from tests.web.test_calls import RB, TEXT, call

ID = re.compile(r"[0-9a-f]{32}\n")


@pytest.fixture
async def home(house: House, alice: Account, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`frames` in it is what the next tarball is made of."""
    monkeypatch.setitem(house.engine._programs, EXPORT_PROGRAM, [sys.executable, exporter.__file__])
    await house.exports.recover()
    home = house.engine.host.home(alice.userhash)
    await asyncio.to_thread(home.mkdir)
    return home


@pytest.fixture
async def port(house: House, alice: Account) -> AsyncIterator[int]:
    calls = Calls(
        house.accounts,
        TarballOperations(house.exports, house.takeout),
        LeavingOperations(
            house.accounts,
            house.administration,
            Penalties(PenaltySettings(free_failures=2, first_s=600)),
        ),
    )
    calls.url = "https://example.org/box"

    def answer() -> asyncio.Protocol:
        protocol = calls.answer(alice)
        assert protocol is not None
        return protocol

    server = await asyncio.get_running_loop().create_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def begin(port: int, what: str) -> str:
    status, text = await call(port, "POST", "/exports", TEXT, what)
    assert (200, True) == (status, ID.fullmatch(text) is not None), text
    return text


async def ended(port: int, export_id: str) -> str:
    """What is told at its end."""
    async with asyncio.timeout(60):
        while True:
            status, text = await call(port, "POST", "/exports/progress", TEXT, export_id)
            assert 200 == status
            if not text.startswith("running "):
                return text


async def test_a_home_is_kept_and_it_is_told_how_to_fetch_it(port: int, home: Path) -> None:
    await asyncio.to_thread((home / "frames").write_bytes, frames({"x": b"x"}, ArchiveFormat.ZSTD))

    text = await ended(port, await begin(port, "home tar.zst"))

    name = text.splitlines()[0].removeprefix("ready ")
    assert re.fullmatch(r"home-\d{8}-\d{6}-[0-9a-f]{4}\.tar\.zst", name)
    assert re.search(
        r"^  bytes    \d+\n  files    3\n  sha256   [0-9a-f]{64}\n  expires  20\S+ ", text, re.MULTILINE
    )
    assert "  lacks    ./sock: socket ignored\n  lacks    and 37 more\n" in text
    assert f"\n  scp alice+export@<this host>:{name} ." in text

    status, listed = await call(port, "GET", "/exports")
    assert (200, 1) == (status, listed.count(f"{name}  "))
    assert "  ready  " in listed
    assert f"scp alice+export@<this host>:{name} ." in listed


async def test_an_account_is_kept_with_its_home(port: int, home: Path, house: House, tmp_path: Path) -> None:
    await asyncio.to_thread((home / "frames").write_bytes, frames({"x": b"x"}, ArchiveFormat.GZIP))

    export_id = (await begin(port, "account tar.gz")).strip()

    assert (await ended(port, export_id)).startswith("ready account-")
    account = await house.accounts.get("alice")
    _, path = await house.exports.path(account, export_id)
    copy = tmp_path / "copy.tar.gz"
    await asyncio.to_thread(lambda: copy.write_bytes(path.read_bytes()))
    files = await asyncio.to_thread(unpacked, copy)
    assert {"home/x", "account/account.json"} <= files.keys()
    made = (await house.audit.list(account, limit=1))[0]
    assert (Action.EXPORT_MADE, Door.RB) == (made.action, made.door)


async def test_progress_is_told_while_it_goes_on(
    port: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarballs, "_WAIT_S", 0.1)
    piece = frame(b"d", b"x" * 300_000) + frame(b"p", b'{"files": 12}')
    await asyncio.to_thread((home / "frames").write_bytes, piece)
    await asyncio.to_thread((home / "hold").touch)
    export_id = await begin(port, "home tar.gz")

    async with asyncio.timeout(60):
        while " 12 files, " not in (
            told := (await call(port, "POST", "/exports/progress", TEXT, export_id))[1]
        ):
            assert told.startswith("running ")
    assert re.fullmatch(r"running 0\.3 MiB, 12 files, \d+\.\d MiB/s\n", told)
    assert "  running  " in (await call(port, "GET", "/exports"))[1]
    status, text = await call(port, "POST", "/exports", TEXT, "home tar.gz")
    assert (409, "a tarball of yours is on its way already; wait for it, or delete it\n") == (status, text)

    status, text = await call(port, "POST", "/exports/delete", TEXT, export_id[:8])
    assert (200, "deleted home-") == (status, text[:13])
    assert 404 == (await call(port, "POST", "/exports/progress", TEXT, export_id))[0]
    assert (200, "NAME  ID  STATE  SIZE  KEPT UNTIL\n") == await call(port, "GET", "/exports")


async def test_one_that_fails_says_why(port: int, home: Path) -> None:
    error = b'{"files": 0, "error": "./\\u001b[31m: Cannot open", "warnings": []}'
    await asyncio.to_thread((home / "frames").write_bytes, frame(b"e", error))

    text = await ended(port, await begin(port, "home tar.gz"))

    assert "failed your environment gave no whole tarball: ./\\x1b[31m: Cannot open\n" == text
    assert "failed: your environment gave" in (await call(port, "GET", "/exports"))[1]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/exports", "", 422),
        ("/exports", "home", 422),
        ("/exports", "home zip", 422),
        ("/exports", "else tar.gz", 422),
        ("/exports", "home tar.gz more", 422),
        ("/exports", "x" * 200, 422),
        ("/exports/progress", "", 404),
        ("/exports/progress", "../../etc/passwd", 404),
        ("/exports/progress", "0" * 32, 404),
        ("/exports/delete", "", 404),
        ("/exports/delete", "../*", 404),
        ("/exports/delete", "0" * 32, 404),
    ],
)
async def test_what_there_is_not(port: int, path: str, body: str, status: int) -> None:
    assert status == (await call(port, "POST", path, TEXT, body))[0]


async def test_another_accounts_tarball_is_not_there(port: int, home: Path, house: House) -> None:
    await asyncio.to_thread((home / "frames").write_bytes, frames({}, ArchiveFormat.GZIP))
    bob = await house.accounts.create("bob")
    export = await house.exports.spool(bob, ArchiveFormat.GZIP)
    for path in ("/exports/progress", "/exports/delete"):
        assert 404 == (await call(port, "POST", path, TEXT, export.id))[0]
    assert export.id == (await house.exports.find(bob, export.id)).id


async def test_an_account_is_deleted_after_it_was_told_so(
    port: int, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(administration, "_FAREWELL_S", 2.0)  # on a busy machine the answer takes a while
    assert (200, "alice\n") == await call(port, "GET", "/account")

    status, text = await call(port, "POST", "/account/delete", TEXT, f"alice\n{PASSWORD}\n")

    assert (200, "alice is being deleted now:") == (status, text[:27])
    assert "alice" == (await house.accounts.get("alice")).name
    await house.administration.close()
    with pytest.raises(NotFoundError):
        await house.accounts.get("alice")
    assert (404, "this account may not log in any more\n") == await call(port, "GET", "/account")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "that is not alice; nothing was deleted"),
        (f"bob\n{PASSWORD}\n", "that is not alice; nothing was deleted"),
        (f"alic\n{PASSWORD}\n", "that is not alice; nothing was deleted"),
        ("alice", "two lines are needed"),
        (f"alice\n{PASSWORD}\nx\n", "two lines are needed"),
        ("alice\n\n", "that is not your current password"),
        ("alice\nwrong one\n", "that is not your current password"),
    ],
)
async def test_an_account_stays_where_it_is_not_sure(port: int, house: House, body: str, said: str) -> None:
    status, text = await call(port, "POST", "/account/delete", TEXT, body)
    assert (422, said) == (status, text[: len(said)])
    await house.administration.close()
    assert "active" == (await house.accounts.get("alice")).state


async def test_wrong_passwords_are_counted(port: int) -> None:
    statuses = [(await call(port, "POST", "/account/delete", TEXT, "alice\nwrong\n"))[0] for _ in range(4)]
    assert [422, 422, 422, 429] == statuses


async def test_without_a_password_the_name_is_enough(
    port: int, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(administration, "_FAREWELL_S", 0.0)
    await house.accounts.set_password("alice", None)
    assert 200 == (await call(port, "POST", "/account/delete", TEXT, "alice\n\n"))[0]
    await house.administration.close()
    assert [] == await house.accounts.list()


@pytest.mark.parametrize(
    "headers",
    [
        {**TEXT, "Origin": "http://127.0.0.1:8000"},
        {**RB, "Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain"},
    ],
)
async def test_a_web_page_deletes_nothing(port: int, house: House, headers: dict[str, str]) -> None:
    status, _ = await call(port, "POST", "/account/delete", headers, f"alice\n{PASSWORD}\n")
    assert status in {403, 415}
    await house.administration.close()
    assert "active" == (await house.accounts.get("alice")).state
