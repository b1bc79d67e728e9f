"""An account as one archive: all that is about the person, and nothing that lets anybody in."""

import asyncio
import hashlib
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rootblood.domain.accounts import Account
from rootblood.domain.audit import Action, Actor, Door
from rootblood.domain.complaints import Complaints
from rootblood.domain.exports import ArchiveFormat, Export, ExportContent, ExportState
from rootblood.domain.keys import parse_public_key
from rootblood.domain.tokens import Scope
from rootblood.errors import EnvironmentBrokenError
from rootblood.services.archives import EXPORT_PROGRAM
from tests.fakes import exporter
from tests.fakes.exporter import frame
from tests.fakes.tarballs import frames, unpacked
from tests.web.conftest import PASSWORD, House, house

__all__ = ["house"]

HOME = {"notes": b"mine\n", "deep/er/file": b"\0" * 5000}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice@laptop\x1b[31m"
RB = Actor(Door.RB)
ALL = {
    "account/README.txt",
    "account/authorized_keys",
    "account/account.json",
    "account/keys.json",
    "account/activity.json",
    "account/sessions.json",
    "account/tokens.json",
    "account/visits.json",
    "account/exports.json",
}


@pytest.fixture
async def alice(house: House, monkeypatch: pytest.MonkeyPatch) -> Account:
    """One of whom there is something of each kind to tell."""
    monkeypatch.setitem(house.engine._programs, EXPORT_PROGRAM, [sys.executable, exporter.__file__])
    account = await house.accounts.create("alice", password=PASSWORD)
    await house.accounts.add_key("alice", parse_public_key(KEY))
    await house.logins.begin(account, address="192.0.2.7", user_agent="a fox\x85")
    await house.tokens.create(account, name="ci", scopes={Scope.KEYS_READ}, lifetime=timedelta(days=1))
    await house.visits.arrive(account, by=Actor(Door.SSH, "192.0.2.8"))
    await house.exports.recover()
    return account


async def give_home(house: House, account: Account, content: bytes) -> None:
    home = house.engine.host.home(account.userhash)
    await asyncio.to_thread(home.mkdir, exist_ok=True)
    await asyncio.to_thread((home / "frames").write_bytes, content)


async def streamed(house: House, account: Account, kind: ArchiveFormat, path: Path) -> dict[str, bytes]:
    data = b""
    async with house.takeout.stream(account, kind) as archive:
        while piece := await archive.read():
            data += piece
    assert Complaints(("./sock: socket ignored",), 37) == archive.warnings
    await asyncio.to_thread(path.write_bytes, data)
    return await asyncio.to_thread(unpacked, path)


async def spooled(house: House, account: Account) -> Export:
    begun = await house.takeout.spool(account, ArchiveFormat.GZIP, by=RB)
    return [told async for told in house.exports.follow(account, begun.id, interval_s=0.05)][-1]


def document(files: dict[str, bytes], name: str) -> Any:
    return json.loads(files[f"account/{name}.json"])


@pytest.mark.parametrize("kind", ArchiveFormat)
async def test_it_is_all_there(house: House, alice: Account, tmp_path: Path, kind: ArchiveFormat) -> None:
    await give_home(house, alice, frames(HOME, kind))

    files = await streamed(house, alice, kind, tmp_path / f"alice.{kind.value}")

    assert HOME == {name.removeprefix("home/"): files[name] for name in files if name.startswith("home/")}
    assert ALL == {name for name in files if name.startswith("account/")}
    account = document(files, "account")
    assert ("alice", alice.uid, "active", True) == tuple(
        account[field] for field in ("name", "uid", "state", "has_password")
    )
    assert [KEY] == [key["line"] for key in document(files, "keys")]
    assert KEY.replace("\x1b", "\\x1b") + "\n" == files["account/authorized_keys"].decode()
    assert ["logged_in", "token_made", "key_added", "created"] == [
        event["action"] for event in document(files, "activity")
    ]
    assert [("192.0.2.7", "a fox\x85")] == [
        (login["address"], login["user_agent"]) for login in document(files, "sessions")
    ]
    assert [("ci", ["keys:read"])] == [
        (token["name"], token["scopes"]) for token in document(files, "tokens")
    ]
    assert "192.0.2.8" == document(files, "visits")["last_login"]["address"]


async def test_nothing_in_it_lets_anybody_in(house: House, alice: Account, tmp_path: Path) -> None:
    await give_home(house, alice, frames({}, ArchiveFormat.GZIP))

    files = await streamed(house, alice, ArchiveFormat.GZIP, tmp_path / "alice.tar.gz")

    text = b"".join(files.values()).decode()
    assert "$argon2" not in text
    assert alice.password_hash is not None
    assert alice.password_hash not in text
    assert not [word for word in ("token_hash", "secret_hash", "password_hash") if word in text]


async def test_without_a_whole_home_there_is_no_archive(house: House, alice: Account) -> None:
    broken = frame(b"e", b'{"files": 0, "error": "./x: Cannot open", "warnings": []}')
    await give_home(house, alice, broken)

    async with house.takeout.stream(alice, ArchiveFormat.GZIP) as archive:
        with pytest.raises(EnvironmentBrokenError, match="Cannot open"):
            await archive.read()

    assert "export_made" not in [event.action for event in await house.audit.list(alice, limit=10)]


async def test_one_in_the_spool(house: House, alice: Account, tmp_path: Path) -> None:
    await give_home(house, alice, frames(HOME, ArchiveFormat.GZIP))

    export = await spooled(house, alice)

    assert (ExportState.READY, ExportContent.ACCOUNT) == (export.state, export.content)
    assert export.file_name.startswith("account-")
    _, path = await house.exports.path(alice, export.id)
    data = await asyncio.to_thread(path.read_bytes)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (export.progress.bytes, export.sha256)
    copy = tmp_path / export.file_name
    await asyncio.to_thread(copy.write_bytes, data)
    files = await asyncio.to_thread(unpacked, copy)
    assert ALL | {f"home/{name}" for name in HOME} == set(files)
    (made, *_) = await house.audit.list(alice, limit=1)
    assert (Action.EXPORT_MADE, Door.RB, "account.tar.gz") == (
        made.action,
        made.door,
        made.detail.split(",")[0],
    )


async def test_one_that_fails_in_the_spool_leaves_no_file(house: House, alice: Account) -> None:
    await give_home(house, alice, frame(b"e", b'{"files": 0, "error": "no", "warnings": []}'))

    export = await spooled(house, alice)

    assert (ExportState.FAILED, True) == (export.state, "no" in (export.error or ""))
    left = await asyncio.to_thread(lambda: [*house.settings.state_dir.parent.glob("exports/*/*.tar*")])
    assert [] == left
