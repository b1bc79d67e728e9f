"""What comes as an archive is taken apart strictly: it is the account's own to forge."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootblood.domain.complaints import Complaints
from rootblood.domain.exports import Progress
from rootblood.errors import EnvironmentBrokenError, LimitReachedError
from rootblood.services.archives import Archive
from tests.fakes.exporter import GOOD_END, frame


class Stream(asyncio.Transport):
    """Notes what an archive asks of it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def abort(self) -> None:
        self.calls.append("abort")


def archive_of(*pieces: bytes, max_bytes: int = 10_000_000, lost: bool = True) -> Archive:
    archive = Archive(max_bytes)
    archive.connection_made(Stream())
    for piece in pieces:
        archive.data_received(piece)
    if lost:
        archive.connection_lost(None)
    return archive


async def content_of(archive: Archive) -> bytes:
    content = b""
    async with asyncio.timeout(60):
        while data := await archive.read():
            content += data
    return content


async def test_a_whole_archive() -> None:
    archive = archive_of(frame(b"d", b"tar"), frame(b"p", b'{"files": 2}'), frame(b"d", b"ball"), GOOD_END)
    assert await content_of(archive) == b"tarball"
    assert archive.progress == Progress(7, 3)
    assert archive.warnings == Complaints(("./sock: socket ignored",), 37)


@given(data=st.data())
async def test_pieces_may_be_cut_anywhere(data: Any) -> None:
    whole = frame(b"d", b"tar") + frame(b"p", b'{"files": 2}') + frame(b"d", b"ball") + GOOD_END
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=12)))
    pieces = [whole[start:end] for start, end in pairwise([0, *cuts, len(whole)])]
    assert await content_of(archive_of(*pieces)) == b"tarball"


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [frame(b"d", b"tar")],
        [frame(b"d", b"tar"), GOOD_END[:-1]],
        [frame(b"d", b"tar"), frame(b"e", b'{"files": 1, "error": "cannot read ./x", "warnings": []}')],
        [frame(b"d", b"tar"), frame(b"e", b'{"files": 1, "warnings": []}')],
        [frame(b"d", b"tar"), frame(b"e", b'{"files": 1, "error": null, "warnings": 5}')],
        [frame(b"e", b'{"files": 1, "error": null, "warnings": [], "more_warnings": -1}')],
        [frame(b"e", b'{"files": 1, "error": null, "warnings": [], "more_warnings": "x"}')],
        [frame(b"d", b"tar"), frame(b"e", b"[]")],
        [frame(b"d", b"tar"), frame(b"p", b'{"files": true}'), GOOD_END],
        [frame(b"d", b"tar"), frame(b"p", b"[" * 100_000), GOOD_END],
        [frame(b"d", b"tar"), frame(b"x", b""), GOOD_END],
        [frame(b"d", b"tar"), b"d\xff\xff\xff\xff", GOOD_END],
    ],
    ids=str,
)
async def test_what_is_no_whole_archive_is_an_error(pieces: list[bytes]) -> None:
    with pytest.raises(EnvironmentBrokenError, match="no whole tarball"):
        await content_of(archive_of(*pieces))


async def test_nothing_counts_after_the_end() -> None:
    archive = archive_of(frame(b"d", b"tar") + GOOD_END + frame(b"d", b"more"), frame(b"d", b"more"))
    assert await content_of(archive) == b"tar"


async def test_a_size_that_may_not_be() -> None:
    archive = archive_of(frame(b"d", b"x" * 60), frame(b"d", b"x" * 60), GOOD_END, max_bytes=100)
    assert len(await archive.read()) == 60
    with pytest.raises(LimitReachedError, match="larger than it may be"):
        await archive.read()


async def test_who_reads_slowly_holds_the_environment_back() -> None:
    archive, stream = Archive(10**9), Stream()
    archive.connection_made(stream)
    for _ in range(4):
        archive.data_received(frame(b"d", b"x" * 2**18))
    assert stream.calls == ["pause"]
    assert len(await archive.read()) == 2**20
    assert stream.calls == ["pause", "resume"]


async def test_the_warnings_kept_are_few_and_short() -> None:
    warnings = ",".join(['"' + "w" * 5000 + '"'] * 100).encode()
    told = b'{"files": 1, "error": null, "more_warnings": 7, "warnings": [' + warnings + b"]}"
    archive = archive_of(frame(b"e", told))
    assert await content_of(archive) == b""
    assert [len(warning) for warning in archive.warnings.listed] == [500] * 20
    assert archive.warnings.count == 107
