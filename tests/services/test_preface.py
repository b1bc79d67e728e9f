"""Files before a home: one tarball, for every program that reads such."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rootblood.domain.exports import ArchiveFormat
from rootblood.services.preface import preface
from tests.fakes.tarballs import tarball, unpacked

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize("kind", ArchiveFormat)
@pytest.mark.parametrize("size", [0, 1, 512, 128 * 1024 - 512, 300_000])
def test_a_home_goes_on_with_it(tmp_path: Path, kind: ArchiveFormat, size: int) -> None:
    before = {"account/one": b"#" * size, f"account/{'n' * 150}": b"long", "account/\u00fc": b"not ASCII"}
    path = tmp_path / f"whole.{kind.value}"
    path.write_bytes(preface(before, kind, at=NOW) + tarball({"file": b"content"}, kind))

    assert {**before, "home/file": b"content"} == unpacked(path)


@pytest.mark.parametrize("kind", ArchiveFormat)
def test_nothing_before_it(tmp_path: Path, kind: ArchiveFormat) -> None:
    path = tmp_path / f"whole.{kind.value}"
    path.write_bytes(preface({}, kind, at=NOW) + tarball({"file": b"content"}, kind))

    assert {"home/file": b"content"} == unpacked(path)
