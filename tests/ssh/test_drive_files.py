"""Files of the export drive that are open: what a stream can give as a file, and what it refuses."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootblood.domain.audit import OPERATOR
from rootblood.domain.complaints import Complaints
from rootblood.domain.exports import ArchiveFormat
from rootblood.errors import ConflictError, EnvironmentBrokenError, LimitReachedError, StoreUnavailableError
from rootblood.ssh.drive_files import AHEAD_BYTES, KEPT_BYTES, LiveFile, SpooledFile, TextFile
from tests.fakes.exports import (
    TOO_MANY,
    VISITOR,
    FakeArchive,
    FakeChannel,
    FakeExports,
    make_account,
    make_drive,
    make_stream,
)

BROKEN = EnvironmentBrokenError("no whole tarball: ./x: Permission denied")
MIB = 1024 * 1024


class Live:
    """A live file over a stream of the test's, and what it told."""

    def __init__(self, pieces: Sequence[bytes], error: EnvironmentBrokenError | None = None) -> None:
        self.exports = FakeExports(Path("unused"))
        self.exports.archive = FakeArchive(pieces, error)
        self.warnings: list[Complaints] = []
        self.file = LiveFile("home.tar.gz", "take another", self.warnings.append)

    async def __aenter__(self) -> Self:
        stream = self.exports.stream(make_account(), ArchiveFormat.GZIP, by=OPERATOR)
        await self.file.open(stream, asyncio.get_running_loop().create_task)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.file.close()
        assert self.exports.running == 0


async def test_a_stream_is_read_as_a_file_and_tells_what_it_lacks_once() -> None:
    async with Live([b"abc", b"defg", b"h"]) as live:
        assert await live.file.read(0, 5) == b"abcde"
        assert live.warnings == []
        assert await live.file.read(5, 5) == b"fgh"
        assert await live.file.read(8, 5) == b""
        assert await live.file.read(10**15, 5) == b""
    assert live.warnings == [Complaints(("./sock: socket ignored",))]


async def test_pieces_in_another_order() -> None:
    async with Live([b"abc", b"defg", b"h"]) as live:
        assert await live.file.read(0, 2) == b"ab"
        assert await live.file.read(4, 2) == b"ef"
        assert await live.file.read(2, 2) == b"cd"
        assert await live.file.read(0, 8) == b"abcdefgh"


async def test_too_far_back_and_too_far_ahead_are_refused_and_the_rest_goes_on() -> None:
    pieces = [bytes([number]) * MIB for number in range(12)]
    async with Live(pieces) as live:
        for number in range(9):
            await live.file.read(number * MIB, MIB)
        for offset in (9 * MIB - KEPT_BYTES - 1, 0, 9 * MIB + AHEAD_BYTES + 1):
            with pytest.raises(ConflictError, match=r"home.tar.gz is made as it is read.*take another"):
                await live.file.read(offset, 1)
        assert await live.file.read(9 * MIB - KEPT_BYTES, 1) == bytes([5])
        assert await live.file.read(9 * MIB, 1) == bytes([9])
        assert len(live.file._kept) <= KEPT_BYTES + MIB


async def test_who_begins_in_the_middle_would_mix_two_tarballs() -> None:
    async with Live([b"abcdefgh"]) as live:
        with pytest.raises(ConflictError, match="from its beginning"):
            await live.file.read(3, 5)
        assert await live.file.read(0, 3) == b"abc"


async def test_a_tarball_that_is_not_whole_ends_in_an_error_and_not_in_a_short_piece() -> None:
    async with Live([b"abc", b"def"], BROKEN) as live:
        assert await live.file.read(0, 4) == b"abcd"
        for offset, size in ((4, 4), (6, 1), (0, 2), (10**15, 1)):
            with pytest.raises(EnvironmentBrokenError, match="Permission denied"):
                await live.file.read(offset, size)
        assert live.exports.running == 0
    assert live.warnings == []


async def test_why_a_stream_was_broken_off_goes_before_that_it_was() -> None:
    live = Live([b"abc"], BROKEN)
    live.exports.farewell = LimitReachedError("the tarball takes too long; use rsync")
    async with live:
        with pytest.raises(LimitReachedError, match="too long"):
            await live.file.read(0, 4)


async def test_one_that_may_not_be_made_does_not_open() -> None:
    live = Live([])
    live.exports.refusal = TOO_MANY
    with pytest.raises(LimitReachedError, match="wait for one"):
        await live.__aenter__()


async def test_a_client_that_takes_it_for_empty_is_told() -> None:
    live = Live([b"abc"])
    await live.__aenter__()
    with pytest.raises(ConflictError, match=r"nothing was read of home.tar.gz.*direct_io"):
        await live.file.close()
    assert live.exports.running == 0


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.integers(1, 64))
async def test_read_in_turn_it_is_the_stream(pieces: list[bytes], size: int) -> None:
    async with Live(pieces) as live:
        found = b""
        while piece := await live.file.read(len(found), size):
            found += piece
        assert found == b"".join(pieces)


async def test_a_text_and_a_spooled_file_are_read_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "spooled"
    await asyncio.to_thread(path.write_bytes, b"0123456789")
    spooled = await asyncio.to_thread(SpooledFile, path)
    await asyncio.to_thread(path.unlink)  # it expired meanwhile
    for file in (TextFile(b"0123456789"), spooled):
        reads = [await file.read(*where) for where in ((7, 10), (0, 2), (10, 1), (2**64 - 1, 1))]
        assert reads == [b"789", b"01", b"", b""]
        await file.close()
    with pytest.raises(StoreUnavailableError):
        await asyncio.to_thread(SpooledFile, path)


async def test_who_takes_a_tarball_is_told_to_who_makes_it(tmp_path: Path) -> None:
    exports = FakeExports(tmp_path)
    exports.archive = FakeArchive([b"abc"])
    drive = make_drive(exports, make_stream(FakeChannel()))
    file = await drive.open(await drive.find("home.tar.gz"))
    assert await file.read(0, 9) == b"abc"
    await file.close()
    assert [told async for told in drive.spool(ArchiveFormat.ZSTD)] == []
    assert exports.actors == [VISITOR, VISITOR]
