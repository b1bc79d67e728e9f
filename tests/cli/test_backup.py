"""Backups of an installation with a real database, on the fake engine. Docker: tests/e2e/test_backup.py."""

import fcntl
import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rootblood.domain.environments import Volume
from tests.cli.conftest import Rootblood
from tests.fakes.engine import FakeEngine

FORMS = ["tar", "restic", "borg"]


@pytest.fixture(autouse=True)
def installed(installation: Path, engine: FakeEngine, rootblood: Rootblood) -> None:
    """Alice and bob, each with a home, and a settings file."""
    (installation / "rootblood.toml").write_text("[limits]\nmemory_mib = 640\n")
    for name in ("alice", "bob"):
        assert rootblood("user", "add", name).status == 0
        home = engine.host.home(userhash(rootblood, name))
        home.mkdir(mode=0o700)
        (home / "file").write_text(f"of {name}")
        (home / "large").write_bytes(name.encode() * 200_000)
    (engine.host.shared("default") / "alice").mkdir()
    (engine.host.shared("default") / "alice" / "note").write_text("for all")


def users(rootblood: Rootblood) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(rootblood("user", "list", "--json").out)
    return found


def userhash(rootblood: Rootblood, name: str) -> str:
    return next(str(user["userhash"]) for user in users(rootblood) if user["name"] == name)


def wipe(directory: Path, engine: FakeEngine) -> None:
    """Lose everything, but for the key of encrypted backups."""
    for key in (directory / "keys").iterdir():
        if key.name != "backup_key":
            key.unlink()
    shutil.rmtree(directory / "state")
    shutil.rmtree(engine.host.directory)
    (directory / "rootblood.toml").unlink()
    engine.host.directory.mkdir()
    engine.host.identities.clear()


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and "_system" not in str(path)
    }


def newest(directory: Path) -> Path:
    """The directory of the newest backup in `directory`/backups."""
    manifests = (directory / "backups").glob("*/manifest.json")
    return max(manifests, key=lambda path: path.stat().st_mtime_ns).parent


@pytest.mark.parametrize("form", FORMS)
def test_all_of_it_comes_back(
    installation: Path, engine: FakeEngine, rootblood: Rootblood, form: str
) -> None:
    before = users(rootblood), files(engine.host.directory), files(installation / "keys")
    made = rootblood("backup", "backups", "--with", form, "--json")
    assert (0, form) == (made.status, json.loads(made.out)["form"]), made.err
    again = json.loads(rootblood("backup", "backups", "--json").out)
    assert form == again["form"]
    keys = {name: stat.S_IMODE((installation / "keys" / name).stat().st_mode) for name in before[2]}
    wipe(installation, engine)

    restored = rootblood("restore", "backups", "--json")

    assert (0, again["id"]) == (restored.status, json.loads(restored.out)["id"]), restored.err
    (installation / "keys" / "backup_key").unlink(missing_ok=True)
    assert before == (users(rootblood), files(engine.host.directory), files(installation / "keys"))
    assert (installation / "rootblood.toml").read_text() == "[limits]\nmemory_mib = 640\n"
    private = {name: mode for name, mode in keys.items() if not name.endswith(".pub")}
    assert dict.fromkeys(private, 0o600) == private
    assert stat.S_IMODE((installation / "state" / "rootblood.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((installation / "state").stat().st_mode) == 0o700


@pytest.mark.parametrize("form", ["restic", "borg"])
def test_what_two_backups_share_is_kept_once(
    installation: Path, engine: FakeEngine, rootblood: Rootblood, form: str
) -> None:
    # What does not compress can only be kept small by being kept once.
    (engine.host.home(userhash(rootblood, "alice")) / "random").write_bytes(os.urandom(3_000_000))

    def size() -> int:
        return sum(path.stat().st_size for path in (installation / "backups").rglob("*") if path.is_file())

    rootblood("backup", "backups", "--with", form)
    once = size()
    assert once > 3_000_000
    rootblood("backup", "backups")
    assert size() - once < 1_000_000


@pytest.mark.parametrize("form", ["restic", "borg"])
def test_an_encrypted_backup_needs_its_key(
    installation: Path, engine: FakeEngine, rootblood: Rootblood, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    for name in ("RESTIC_PASSWORD_FILE", "BORG_PASSCOMMAND"):  # whoever exported it did not mean this one
        monkeypatch.setenv(name, "/etc/hostname")
    rootblood("backup", "backups", "--with", form)
    key = installation / "keys" / "backup_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    kept = installation / "kept"
    key.rename(kept)
    wipe(installation, engine)

    lacking = rootblood("restore", "backups")
    assert lacking.status == 1
    assert "its key" in lacking.err
    assert not (installation / "state").exists()

    monkeypatch.setenv("ROOTBLOOD_BACKUPS__KEY_FILE", str(kept))
    kept.chmod(0o644)
    assert "chmod 600" in rootblood("restore", "backups").err
    kept.chmod(0o600)
    assert rootblood("restore", "backups").status == 0


def test_a_backup_that_was_cut_off_is_none(
    installation: Path, engine: FakeEngine, rootblood: Rootblood
) -> None:
    first = json.loads(rootblood("backup", "backups", "--with", "tar", "--json").out)["id"]
    second = json.loads(rootblood("backup", "backups", "--json").out)["id"]
    (installation / "backups" / second / "manifest.json").unlink()
    wipe(installation, engine)

    refused = rootblood("restore", "backups", "--at", second)
    assert (1, False) == (refused.status, (installation / "state").exists())
    assert f"cut off and of no use: {second}" in refused.err
    assert first == json.loads(rootblood("restore", "backups", "--json").out)["id"]

    assert rootblood("backup", "backups").status == 0
    assert not (installation / "backups" / second).exists()
    assert (installation / "backups" / first).exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_part_that_was_tampered_with_is_found_before_anything_is_touched(
    installation: Path, engine: FakeEngine, rootblood: Rootblood, form: str
) -> None:
    # What does not compress is most of what is kept.
    (engine.host.home(userhash(rootblood, "alice")) / "random").write_bytes(os.urandom(3_000_000))
    rootblood("backup", "backups", "--with", form)
    parts = [path for path in (installation / "backups").rglob("*") if path.is_file()]
    part = max(parts, key=lambda path: path.stat().st_size)
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.chmod(0o600)
    part.write_bytes(data)
    wipe(installation, engine)

    for arguments in (["--dry-run"], []):
        refused = rootblood("restore", "backups", *arguments)
        assert refused.status == 1
        assert "damaged" in refused.err or "failed" in refused.err
    assert not (installation / "state").exists()
    assert {} == files(engine.host.directory)


def test_a_damaged_manifest_or_one_of_a_newer_version_is_refused(
    installation: Path, rootblood: Rootblood
) -> None:
    rootblood("backup", "backups", "--with", "tar")
    manifest = newest(installation) / "manifest.json"
    text = manifest.read_text()
    for wrong, said in (
        (text[: len(text) // 2], "damaged"),
        (text.replace('"format": 1', '"format": 2'), "upgrade"),
        (text.replace('"global.tar.zst"', '"../global.tar.zst"'), "damaged"),
    ):
        manifest.write_text(wrong)
        refused = rootblood("restore", "backups", "--over")
        assert (1, True) == (refused.status, said in refused.err), refused.err


def test_a_home_that_cannot_be_read_does_not_lose_the_others(
    installation: Path, engine: FakeEngine, rootblood: Rootblood
) -> None:
    bob = userhash(rootblood, "bob")
    engine.unreadable.add(Volume(bob))
    made = rootblood("backup", "backups", "--with", "tar", "--json")
    assert made.status == 1
    assert "not in this backup: home of bob" in made.err
    assert [f"home_{bob}.tar.zst"] == [failure["name"] for failure in json.loads(made.out)["failures"]]
    engine.unreadable.clear()
    alice = userhash(rootblood, "alice")
    wipe(installation, engine)
    restored = rootblood("restore", "backups")
    assert (1, True) == (restored.status, "home of bob" in restored.err)
    assert (engine.host.home(alice) / "file").read_text() == "of alice"


def test_what_is_there_is_replaced_only_if_told(
    installation: Path, engine: FakeEngine, rootblood: Rootblood
) -> None:
    alice = userhash(rootblood, "alice")
    rootblood("backup", "backups", "--with", "tar")
    (engine.host.home(alice) / "file").write_text("newer")
    rootblood("user", "add", "carol")
    refused = rootblood("restore", "backups")
    assert (1, True) == (refused.status, "--over" in refused.err)
    assert (engine.host.home(alice) / "file").read_text() == "newer"

    with closing(sqlite3.connect(installation / "state" / "rootblood.db")) as server:
        server.execute("SELECT * FROM accounts").fetchall()
        in_use = rootblood("restore", "backups", "--over")
    assert (1, True) == (in_use.status, "stop the server" in in_use.err)
    assert (engine.host.home(alice) / "file").read_text() == "newer"

    assert rootblood("restore", "backups", "--over").status == 0
    assert (engine.host.home(alice) / "file").read_text() == "of alice"
    assert ["alice", "bob"] == [user["name"] for user in users(rootblood)]
    assert rootblood("user", "add", "dave").status == 0  # with the UID that carol had


def test_nothing_is_served_from_half_a_restore_and_it_can_be_run_again(
    installation: Path, engine: FakeEngine, rootblood: Rootblood
) -> None:
    rootblood("backup", "backups", "--with", "tar")
    wipe(installation, engine)
    engine.image_present = False  # it ends where the first volume is to be written
    assert rootblood("restore", "backups").status == 1
    for command in (["setup"], ["user", "list"], ["serve"]):
        refused = rootblood(*command)
        assert (1, True) == (refused.status, "restore" in refused.err)
    engine.image_present = True
    engine.host.shared("default").mkdir()
    assert rootblood("restore", "backups").status == 0
    assert len(users(rootblood)) == 2


def test_who_was_logged_in_is_not_after_a_restore(installation: Path, rootblood: Rootblood) -> None:
    file = installation / "state" / "rootblood.db"
    with closing(sqlite3.connect(file)) as database:
        uid = database.execute("SELECT uid FROM accounts").fetchone()[0]
        now = "2026-01-01 00:00:00.000000"
        row = ("id", b"token", uid, now, now, "127.0.0.1", "browser")
        database.execute(
            "INSERT INTO login_sessions (id, token_hash, account_uid, created_at, last_used_at, address, "
            "user_agent) VALUES (?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        database.commit()
    rootblood("backup", "backups", "--with", "tar")
    assert rootblood("restore", "backups", "--over").status == 0
    with closing(sqlite3.connect(file)) as database:
        assert [(0,)] == database.execute("SELECT count(*) FROM login_sessions").fetchall()


def test_a_backup_is_of_one_installation(rootblood: Rootblood, monkeypatch: pytest.MonkeyPatch) -> None:
    rootblood("backup", "backups", "--with", "tar")
    monkeypatch.setenv("ROOTBLOOD_ENGINE__INSTANCE", "another")
    refused = rootblood("restore", "backups", "--over")
    assert (1, True) == (refused.status, "engine.instance" in refused.err)


def test_one_backup_at_a_time(installation: Path, rootblood: Rootblood) -> None:
    rootblood("backup", "backups", "--with", "tar")
    for lock in (installation / "backups" / ".lock", installation / "state" / "backup.lock"):
        with lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            refused = rootblood("backup", "backups")
        assert (1, True) == (refused.status, "another backup" in refused.err)
    assert rootblood("backup", "backups").status == 0


def test_a_disk_that_would_be_full_is_noticed_ahead(
    installation: Path, rootblood: Rootblood, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOTBLOOD_BACKUPS__MIN_FREE_BYTES", str(2**60))
    refused = rootblood("backup", "backups", "--with", "tar")
    assert (1, True) == (refused.status, "MiB free" in refused.err)
    assert [] == list((installation / "backups").glob("2*"))


def test_what_is_asked_for_wrongly_is_said(rootblood: Rootblood) -> None:
    assert "there is no directory" in rootblood("restore", "nowhere").err
    rootblood("backup", "backups", "--with", "tar")
    assert "no such backup" in rootblood("restore", "backups", "--at", "yesterday").err
    assert rootblood("backup", "backups", "--with", "zip").status == 2


def test_without_its_database_the_rest_is_restored_beside_another(
    engine: FakeEngine, rootblood: Rootblood
) -> None:
    alice = userhash(rootblood, "alice")
    made = rootblood("backup", "backups", "--with", "tar", "--without-database", "--json")
    assert json.loads(made.out)["database"] is False
    shutil.rmtree(engine.host.home(alice))
    rootblood("user", "add", "carol")
    assert rootblood("restore", "backups", "--over").status == 0
    assert (engine.host.home(alice) / "file").read_text() == "of alice"
    assert ["alice", "bob", "carol"] == [user["name"] for user in users(rootblood)]
