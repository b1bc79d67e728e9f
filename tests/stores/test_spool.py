"""The spool: whole records, room that is counted, and nothing left behind by a server that was killed."""

import errno
import hashlib
import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rootblood.domain.complaints import Complaints
from rootblood.domain.exports import ArchiveFormat, Export, ExportContent, ExportState, Progress
from rootblood.errors import LimitReachedError, StoreUnavailableError
from rootblood.stores.spool import Spool

ALICE = secrets.token_hex(16)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def spool_in(directory: Path, *, max_bytes: int = 100) -> Spool:
    spool = Spool(directory / "exports", max_bytes=max_bytes, min_free_bytes=0)
    spool.recover()
    return spool


def new_export(*, created_at: datetime = NOW, userhash: str = ALICE) -> Export:
    return Export(
        id=secrets.token_hex(16),
        userhash=userhash,
        format=ArchiveFormat.ZSTD,
        state=ExportState.RUNNING,
        created_at=created_at,
        expires_at=created_at + timedelta(days=1),
    )


def spooled(spool: Spool, content: bytes = b"tarball", *, created_at: datetime = NOW) -> Export:
    growing = spool.begin(new_export(created_at=created_at))
    growing.write(content)
    return growing.finish(Progress(len(content), 3), Complaints(("./sock: socket ignored",), 37))


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_what_is_kept_is_what_was_told(tmp_path: Path) -> None:
    export = spooled(spool_in(tmp_path))
    assert export.sha256 == hashlib.sha256(b"tarball").hexdigest()
    again = spool_in(tmp_path)
    assert again.find(ALICE, export.id) == export
    assert again.list(ALICE) == [export]
    assert again.path(export).read_bytes() == b"tarball"
    assert (tmp_path / "exports").stat().st_mode & 0o777 == 0o700


def test_a_server_that_was_killed_leaves_a_clear_state(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    ready = spooled(spool)
    half = new_export()
    growing = spool.begin(half)
    growing.write(b"tar")
    place = tmp_path / "exports" / ALICE
    (place / f"{secrets.token_hex(16)}.tar.gz").write_bytes(b"of a record that is gone")
    (place / f"{half.id}.new").write_text("{")
    # Killed between the two renames at the end of another one.
    unrecorded = new_export()
    spool.begin(unrecorded).finish(Progress(), Complaints())
    spool.record(unrecorded)

    again = spool_in(tmp_path)
    found = again.find(ALICE, half.id)
    assert found is not None
    assert (found.state, found.error) == (
        ExportState.FAILED,
        "the server was stopped meanwhile; make another one",
    )
    assert again.find(ALICE, ready.id) == ready
    assert files(place) == sorted(
        [f"{ready.id}.json", f"{ready.id}.tar.zst", f"{half.id}.json", f"{unrecorded.id}.json"]
    )
    growing.fail("the test is over")


def test_room_is_counted_and_given_back(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    first = spooled(spool, b"x" * 60)
    growing = spool.begin(new_export())
    growing.write(b"x" * 30)
    with pytest.raises(LimitReachedError, match="no room"):
        growing.write(b"x" * 30)
    failed = growing.fail("no room")
    assert (failed.state, failed.error) == (ExportState.FAILED, "no room")
    full = spool.begin(new_export())
    with pytest.raises(LimitReachedError):
        full.write(b"x" * 60)
    full.fail("no room")
    assert spool.delete(first)
    assert not spool.delete(first)
    spooled(spool, b"x" * 60)


def test_a_disk_that_is_nearly_full(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=100, min_free_bytes=2**60)
    spool.recover()
    with pytest.raises(LimitReachedError, match="too full"):
        spool.begin(new_export())
    assert files(tmp_path) == []


def test_other_bounds_count_from_then_on(tmp_path: Path) -> None:
    spool = spool_in(tmp_path, max_bytes=10)
    growing = spool.begin(new_export())
    with pytest.raises(LimitReachedError, match="no room"):
        growing.write(b"x" * 11)

    spool.bound(max_bytes=11, min_free_bytes=0)
    growing.write(b"x" * 11)
    growing.finish(Progress(11, 1), Complaints())

    spool.bound(max_bytes=100, min_free_bytes=2**60)
    with pytest.raises(LimitReachedError, match="too full"):
        spooled(spool)


def test_a_disk_that_fails(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    (tmp_path / "exports").rmdir()
    (tmp_path / "exports").write_text("no directory")
    with pytest.raises(StoreUnavailableError):
        spool.begin(new_export())


def test_a_record_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spool_in(tmp_path)
    growing = spool.begin(new_export())

    def full(path: Path, text: str) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, text)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StoreUnavailableError):
        growing.fail("no room")
    with pytest.raises(StoreUnavailableError):
        spool.begin(new_export())
    assert files(tmp_path) == []


def test_expired_ones_go_and_those_on_their_way_stay(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    old = spooled(spool, created_at=NOW - timedelta(days=2))
    young = spooled(spool)
    half = new_export(created_at=NOW - timedelta(days=2))
    growing = spool.begin(half)
    spool.delete_expired(NOW)
    assert {export.id for export in spool.list(ALICE)} == {young.id, half.id}
    assert not spool.path(old).exists()
    growing.fail("the test is over")


@pytest.mark.parametrize("export_id", ["", "..", "../x", "/etc/passwd", "a" * 33, "A" * 32, "\0" * 32])
def test_an_id_is_never_a_path(tmp_path: Path, export_id: str) -> None:
    assert spool_in(tmp_path).find(ALICE, export_id) is None


def test_what_goes_while_it_is_counted_keeps_nobody_from_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server has deleted a tarball, or given it its name, after this one had listed it."""
    spool = spool_in(tmp_path)
    spooled(spool)
    glob = Path.glob
    gone = tmp_path / "exports" / ALICE / "gone.other.part"
    monkeypatch.setattr(Path, "glob", lambda path, pattern: [*glob(path, pattern), gone])
    assert ExportState.READY is spooled(spool).state


@pytest.mark.parametrize("written", ["", '{"id"'])
def test_a_record_that_did_not_get_to_the_disk_is_litter(tmp_path: Path, written: str) -> None:
    """As a machine that went down may leave it: the server starts all the same."""
    export = spooled(spool_in(tmp_path))
    (tmp_path / "exports" / ALICE / f"{export.id}.json").write_text(written)
    assert [] == spool_in(tmp_path).list(ALICE)
    assert [] == files(tmp_path)


def test_an_account_that_goes_takes_all_along(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spooled(spool)
    spool.delete_all(ALICE)
    spool.delete_all(ALICE)
    assert list((tmp_path / "exports").iterdir()) == []


def test_of_a_deleted_account_nothing_is_left_whoever_wrote_it(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spooled(spool)
    growing = spool.begin(new_export())
    growing.write(b"of a server that was killed")
    (tmp_path / "exports" / ALICE / "half.new").write_text("{")
    other = new_export(userhash=secrets.token_hex(16))
    spool.begin(other).finish(Progress(), Complaints())

    for _ in range(2):
        spool_in_another_process = Spool(tmp_path / "exports", max_bytes=100, min_free_bytes=0)
        spool_in_another_process.delete_all(ALICE)

        assert [other.userhash] == [path.name for path in (tmp_path / "exports").iterdir()]
    with pytest.raises(StoreUnavailableError):
        growing.fail("and its file is closed")


def test_a_tarball_whose_account_is_deleted_meanwhile_ends_in_an_error(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    growing = spool.begin(new_export())
    growing.write(b"tar")
    Spool(tmp_path / "exports", max_bytes=100, min_free_bytes=0).delete_all(ALICE)

    with pytest.raises(StoreUnavailableError):
        growing.finish(Progress(3, 1), Complaints())
    with pytest.raises(StoreUnavailableError):
        growing.fail("its environment is gone")
    assert [] == files(tmp_path / "exports")


def test_what_a_tarball_is_of_is_kept_and_older_records_are_homes(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    export = replace(new_export(), content=ExportContent.ACCOUNT)
    spool.begin(export).finish(Progress(), Complaints())
    found = spool.find(ALICE, export.id)
    assert found is not None
    assert ("account-20261124-120000-", ".tar.zst") == (found.file_name[:24], found.file_name[-8:])

    record = tmp_path / "exports" / ALICE / f"{export.id}.json"
    told = json.loads(record.read_text())
    del told["content"]
    told["warnings"] = ["./sock: socket ignored"]
    record.write_text(json.dumps(told))
    found = spool.find(ALICE, export.id)
    assert found is not None
    assert ExportContent.HOME is found.content
    assert Complaints(("./sock: socket ignored",)) == found.warnings


def test_what_a_living_server_writes_is_left_alone(tmp_path: Path) -> None:
    old = Spool(tmp_path / "exports", max_bytes=100, min_free_bytes=0, server="old")
    old.recover()
    half, done = new_export(), new_export()
    growing = old.begin(half)
    growing.write(b"tar")
    old.begin(done).finish(Progress(), Complaints())
    old.record(replace(done, server="old"))  # between the two renames at its end
    place = tmp_path / "exports" / ALICE
    (place / f"{new_export().id}.old.new").write_text("{")
    before = files(place)

    new = Spool(tmp_path / "exports", max_bytes=100, min_free_bytes=0, server="new")
    new.recover({"old", "new"})

    assert before == files(place)
    growing.write(b"ball")
    assert b"tarball" == new.path(growing.finish(Progress(7, 1), Complaints())).read_bytes()
    new.recover({"new"})
    assert ExportState.READY is _found(new, half).state
    assert ExportState.FAILED is _found(new, done).state
    assert sorted([f"{done.id}.json", f"{half.id}.json", f"{half.id}.tar.zst"]) == files(place)


def _found(spool: Spool, export: Export) -> Export:
    found = spool.find(ALICE, export.id)
    assert found is not None
    return found
