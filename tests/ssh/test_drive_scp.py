"""The old protocol of scp on the export drive: what is a request, and what is said to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootblood.domain.complaints import Complaints
from rootblood.domain.exports import ArchiveFormat, ExportState, Progress
from rootblood.ssh.drive_scp import Request, SCPSource, parse_command
from tests.fakes.exports import TOO_MANY, FakeChannel, FakeExports, make_drive, make_stream, ready

KEPT = "home-20261123-180405-3f0c.tar.gz"
CONTENT = b"a tarball of the spool"

Serve = Callable[[str, bytes], Awaitable[tuple[int, bytes, str]]]


@pytest.mark.parametrize(
    ("command", "request_"),
    [
        (b"scp -f home.tar.gz", Request(sends=False, times=False, patterns=("home.tar.gz",))),
        (b"scp -v -p -r -f -- home*", Request(sends=False, times=True, patterns=("home*",))),
        (b"scp -pf 'a b' c", Request(sends=False, times=True, patterns=("a b", "c"))),
        (b"scp -t .", Request(sends=True, times=False, patterns=(".",))),
        (b"scp -f \xff;id", Request(sends=False, times=False, patterns=("\ufffd;id",))),
        (b"scp home.tar.gz", None),
        (b"scp -f -t x", None),
        (b"scp -f 'x", None),
        (b"/usr/bin/scp -f x", None),
        (b"ls", None),
        (b"", None),
        (b"scp -f " + b"x" * 5000, None),
        (b"scp " + b"-f " * 1000 + b"x", Request(sends=False, times=False, patterns=("x",))),
    ],
)
def test_what_is_a_request(command: bytes, request_: Request | None) -> None:
    assert parse_command(command) == request_


@given(st.binary(max_size=200))
def test_no_command_is_too_strange(rest: bytes) -> None:
    parse_command(rest)
    parse_command(b"scp -f " + rest)


@pytest.fixture
async def exports(tmp_path: Path) -> FakeExports:
    made = FakeExports(tmp_path)
    await asyncio.to_thread(made.keep, CONTENT)
    return made


@pytest.fixture
async def serve(exports: FakeExports) -> AsyncIterator[Serve]:
    async def serve(command: str, answers: bytes) -> tuple[int, bytes, str]:
        """Status, what was sent, and what was told, when the other end answers so and hangs up."""
        channel = FakeChannel()
        stream = make_stream(channel)
        stream.reader.feed_data(answers)
        stream.reader.feed_eof()
        request = parse_command(command.encode())
        assert request is not None
        status = await SCPSource(make_drive(exports, stream), "alice", stream).serve(request)
        return status, bytes(channel.sent), channel.told.decode()

    yield serve
    assert exports.running == 0


async def test_a_tarball_of_the_spool_at_once(serve: Serve) -> None:
    size = len(CONTENT)
    assert await serve(f"scp -f {KEPT}", b"\0" * 3) == (
        0,
        f"C0600 {size} {KEPT}\n".encode() + CONTENT + b"\0",
        "",
    )
    _, sent, _ = await serve(f"scp -p -f ./{KEPT}", b"\0" * 4)
    assert sent.startswith(f"T1795457045 0 1795457045 0\nC0600 {size} {KEPT}\n".encode())


async def test_one_of_the_home_is_made_first_and_has_the_name_that_was_asked_for(
    serve: Serve, exports: FakeExports
) -> None:
    made = ready(b"new", "77aa" * 8)
    await asyncio.to_thread(exports.keep, b"new", made)
    running = replace(made, state=ExportState.RUNNING, progress=Progress(1, 1))
    exports.to_come = [
        running,
        replace(made, warnings=Complaints(("./so\x1bck: socket ignored", *["./x: socket ignored"] * 6), 30)),
    ]
    status, sent, told = await serve("scp -f home.tar.gz", b"\0" * 3)
    assert (status, sent) == (0, b"C0600 3 home.tar.gz\nnew\0")
    assert told.splitlines() == [
        "rootblood: ./so\\x1bck: socket ignored",
        *["rootblood: ./x: socket ignored"] * 4,
        "rootblood: and 32 more",
        "rootblood: home-20261123-180405-77aa.tar.gz is kept until 2026-11-24 18:04:05 UTC",
    ]


async def test_one_that_fails_is_an_error_of_the_protocol(serve: Serve, exports: FakeExports) -> None:
    failed = replace(ready(b""), state=ExportState.FAILED, error="no whole tarball: ./x")
    exports.to_come = [failed]
    assert await serve("scp -f home.tar.gz", b"\0" * 3) == (
        1,
        b"\x01scp: home.tar.gz: no whole tarball: ./x\n",
        "",
    )
    exports.refusal = TOO_MANY
    _, sent, _ = await serve("scp -f home.tar.zst", b"\0" * 3)
    assert sent == f"\x01scp: home.tar.zst: {TOO_MANY}\n".encode()


async def test_the_one_that_is_on_its_way_already_is_waited_for(serve: Serve, exports: FakeExports) -> None:
    running = replace(ready(b""), state=ExportState.RUNNING, format=ArchiveFormat.ZSTD)
    exports.kept.append(running)
    exports.refusal = TOO_MANY  # of a new one
    exports.to_come = [exports.kept[0]]
    status, sent, _ = await serve("scp -f home.tar.zst", b"\0" * 3)
    assert (status, sent) == (0, b"C0600 22 home.tar.zst\n" + CONTENT + b"\0")


async def test_globs_are_matched_against_the_names_alone(serve: Serve) -> None:
    status, sent, _ = await serve("scp -f home-*.gz*", b"\0" * 6)
    assert (status, sent.count(b"C0600 ")) == (0, 2)
    for pattern in ("../*", "/etc/*", "*/README", "README/", "[", "home.tar.gz\\0"):
        status, sent, _ = await serve(f"scp -f {pattern}", b"\0" * 6)
        assert (status, sent[:1], sent.count(b"C0600 ")) == (1, b"\x01", 0)
        assert sent.endswith(b": there is no such file in the export drive\n")
    for pattern in ("/", ".", "''"):
        assert (await serve(f"scp -r -f {pattern}", b"\0"))[1].endswith(b"that is a directory; name a file\n")


async def test_one_bad_name_does_not_keep_the_others_back(serve: Serve) -> None:
    status, sent, _ = await serve(f"scp -f nothing {KEPT}", b"\0" * 3)
    assert (status, sent.startswith(b"\x01scp: nothing: "), CONTENT in sent) == (1, True, True)


async def test_an_upload_is_refused_in_words(serve: Serve) -> None:
    assert await serve("scp -t .", b"") == (1, b"\x01scp: the export drive is read-only\n", "")


@pytest.mark.parametrize("answers", [b"", b"\1no\n", b"\0", b"\0\1disk full\n", b"\0\0", b"\0\0\1"])
async def test_who_does_not_go_along_is_left(serve: Serve, answers: bytes) -> None:
    assert (await serve(f"scp -f {KEPT}", answers))[0] == 1


async def test_a_file_that_is_shorter_than_announced_ends_it(serve: Serve, exports: FakeExports) -> None:
    await asyncio.to_thread((exports.directory / exports.kept[0].id).write_bytes, CONTENT[:5])
    status, sent, told = await serve(f"scp -f {KEPT}", b"\0" * 3)
    assert (status, sent[-5:]) == (1, CONTENT[:5])
    assert told == "rootblood: the file ends before its end\n"
