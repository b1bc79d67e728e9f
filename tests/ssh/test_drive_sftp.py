"""SFTP on the export drive, a packet at a time: what is served, and that nothing else is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from asyncssh import constants as codes
from asyncssh.packet import Byte, PacketDecodeError, SSHPacket, String, UInt32, UInt64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rootblood.ssh.bytestream import ByteStream
from rootblood.ssh.drive_sftp import SFTPServer
from tests.fakes.exports import (
    TOO_MANY,
    FakeArchive,
    FakeChannel,
    FakeExports,
    make_account,
    make_drive,
    make_stream,
)

KEPT = b"home-20261123-180405-3f0c.tar.gz"
CONTENT = b"a tarball of the spool"


class Conversation:
    """A client that says what a test wants it to."""

    def __init__(self, directory: Path) -> None:
        self.exports = FakeExports(directory)
        self.channel = FakeChannel()
        self.stream: ByteStream = make_stream(self.channel)
        self.server = SFTPServer(make_drive(self.exports, self.stream), make_account(), self.stream)

    async def ask(self, kind: int, *content: bytes) -> tuple[int, SSHPacket]:
        """Send a request, and take the answer to it."""
        body = Byte(kind) + UInt32(7) + b"".join(content)
        self.stream.reader.feed_data(UInt32(len(body)) + body)
        async with asyncio.timeout(60):
            while len(self.channel.sent) < 4:  # noqa: ASYNC110 - the server is another task
                await asyncio.sleep(0)
        answer = SSHPacket(bytes(self.channel.sent[4:]))
        assert len(self.channel.sent) - 4 == int.from_bytes(self.channel.sent[:4], "big")
        self.channel.sent.clear()
        reply = answer.get_byte()
        assert answer.get_uint32() == (3 if reply == codes.FXP_VERSION else 7)
        return reply, answer

    async def status(self, kind: int, *content: bytes) -> tuple[int, str]:
        """Code and words of a request that is refused."""
        reply, answer = await self.ask(kind, *content)
        assert reply == codes.FXP_STATUS
        return answer.get_uint32(), answer.get_string().decode()

    async def open(self, path: bytes) -> bytes:
        reply, answer = await self.ask(codes.FXP_OPEN, String(path), UInt32(codes.FXF_READ), UInt32(0))
        assert reply == codes.FXP_HANDLE
        return answer.get_string()

    async def read(self, handle: bytes, offset: int, size: int) -> bytes:
        reply, answer = await self.ask(codes.FXP_READ, String(handle), UInt64(offset), UInt32(size))
        assert reply == codes.FXP_DATA
        return answer.get_string()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Conversation]:
    made = Conversation(tmp_path)
    await asyncio.to_thread(made.exports.keep, CONTENT)
    serving = asyncio.ensure_future(made.server.serve())
    reply, answer = await made.ask(codes.FXP_INIT)
    assert (reply, answer.get_string()) == (codes.FXP_VERSION, b"limits@openssh.com")
    yield made
    made.stream.end_reading()
    await serving
    assert made.exports.running == 0


async def test_what_there_is(client: Conversation) -> None:
    _, opened = await client.ask(codes.FXP_OPENDIR, String("/"))
    handle = String(opened.get_string())
    _, answer = await client.ask(codes.FXP_READDIR, handle)
    names = {}
    for _ in range(answer.get_uint32()):
        name, _ = answer.get_string(), answer.get_string()
        flags = answer.get_uint32()
        names[name] = answer.get_uint64() if flags & codes.FILEXFER_ATTR_SIZE else None
        answer.get_bytes(5 * 4)
    readme = names.pop(b"README")
    assert readme == len(await client.read(await client.open(b"README"), 0, 10_000))
    assert names == {
        b"home.tar.gz": None,
        b"home.tar.zst": None,
        KEPT: len(CONTENT),
        KEPT + b".sha256": 64 + 2 + len(KEPT) + 1,
    }
    assert await client.status(codes.FXP_READDIR, handle) == (codes.FX_EOF, "")


async def test_a_tarball_of_the_spool_is_read_anywhere(client: Conversation) -> None:
    handle = await client.open(b"/" + KEPT)
    assert await client.read(handle, 10, 2**32 - 1) == CONTENT[10:]
    assert await client.read(handle, 2, 3) == CONTENT[2:5]
    eof = await client.status(codes.FXP_READ, String(handle), UInt64(2**64 - 1), UInt32(1))
    assert eof == (codes.FX_EOF, "")


async def test_a_live_tarball_is_read_from_its_beginning(client: Conversation) -> None:
    client.exports.archive = FakeArchive([b"abc", b"def"])
    handle = await client.open(b"./home.tar.gz")
    code, words = await client.status(codes.FXP_READ, String(handle), UInt64(3), UInt32(3))
    assert code == codes.FX_FAILURE
    assert words.endswith(f"; take {KEPT.decode()}, which can be resumed")
    assert await client.read(handle, 0, 10) == b"abcdef"
    assert await client.status(codes.FXP_CLOSE, String(handle)) == (codes.FX_OK, "")
    assert client.channel.told.decode().splitlines() == [
        f"rootblood: {words}",
        "rootblood: ./sock: socket ignored",
    ]
    assert client.exports.running == 0


async def test_a_client_that_leaves_ends_what_it_had_open(client: Conversation) -> None:
    client.exports.archive = FakeArchive([b"abc"])
    await client.open(b"home.tar.zst")
    assert client.exports.running == 1  # the fixture sees that there is none at the end


async def test_what_stands_in_the_way_is_said_in_both_ways(client: Conversation) -> None:
    client.exports.refusal = TOO_MANY
    for _ in range(3):
        refused = await client.status(
            codes.FXP_OPEN, String("home.tar.gz"), UInt32(codes.FXF_READ), UInt32(0)
        )
        assert refused == (codes.FX_FAILURE, str(TOO_MANY))
    assert client.channel.told.decode() == f"rootblood: {TOO_MANY}\n"


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (codes.FXP_OPEN, String("new") + UInt32(codes.FXF_WRITE | codes.FXF_CREAT) + UInt32(0)),
        (codes.FXP_OPEN, String("README") + UInt32(codes.FXF_READ | codes.FXF_TRUNC) + UInt32(0)),
        (codes.FXP_WRITE, String("x") + UInt64(0) + String("data")),
        (codes.FXP_SETSTAT, String("README") + UInt32(0)),
        (codes.FXP_FSETSTAT, String("x") + UInt32(0)),
        (codes.FXP_REMOVE, String("README")),
        (codes.FXP_MKDIR, String("new") + UInt32(0)),
        (codes.FXP_RMDIR, String("/")),
        (codes.FXP_RENAME, String("README") + String("new")),
        (codes.FXP_SYMLINK, String("/etc/passwd") + String("new")),
    ],
)
async def test_whatever_writes_is_refused(client: Conversation, kind: int, content: bytes) -> None:
    assert await client.status(kind, content) == (
        codes.FX_PERMISSION_DENIED,
        "the export drive is read-only",
    )


@pytest.mark.parametrize("kind", [codes.FXP_READLINK, 99, 255])
async def test_what_it_does_not_know_is_refused(client: Conversation, kind: int) -> None:
    assert (await client.status(kind, String("README")))[0] == codes.FX_OP_UNSUPPORTED
    for name in (b"posix-rename@openssh.com", b"copy-data", b"", b"\xff"):
        assert (await client.status(codes.FXP_EXTENDED, String(name)))[0] == codes.FX_OP_UNSUPPORTED


@pytest.mark.parametrize(
    "path",
    [
        b"..",
        b"/..",
        b"../README",
        b"/etc/passwd",
        b"//README",
        b"README/",
        b"README/..",
        b"./../README",
        b"README\0",
        b"\0",
        b"home.tar.gz/x",
        b"\xff\xfe",
        b"x" * 65536,
        b"../" * 20000,
        b"3f0c" * 8,
    ],
)
async def test_a_path_that_is_no_name_is_no_file(client: Conversation, path: bytes) -> None:
    for kind in (codes.FXP_STAT, codes.FXP_LSTAT, codes.FXP_REALPATH, codes.FXP_OPENDIR):
        assert (await client.status(kind, String(path)))[0] == codes.FX_NO_SUCH_FILE
    opened = await client.status(codes.FXP_OPEN, String(path), UInt32(codes.FXF_READ), UInt32(0))
    assert opened[0] == codes.FX_NO_SUCH_FILE


async def test_handles_are_few_and_those_it_gave(client: Conversation) -> None:
    handles = [await client.open(KEPT) for _ in range(32)]
    refused = await client.status(codes.FXP_OPENDIR, String("/"))
    assert refused == (codes.FX_FAILURE, "too many open files; close one")
    assert (await client.status(codes.FXP_CLOSE, String(handles[0])))[0] == codes.FX_OK
    for kind in (codes.FXP_CLOSE, codes.FXP_READDIR, codes.FXP_FSTAT):
        for handle in (handles[0], b"", b"x" * 65536):
            assert (await client.status(kind, String(handle)))[0] == codes.FX_FAILURE


async def test_nothing_is_answered_that_the_client_does_not_take(client: Conversation) -> None:
    client.stream.pause_writing()
    request = UInt32(12) + Byte(codes.FXP_STAT) + UInt32(7) + String("/x1")
    client.stream.reader.feed_data(request * 1000)
    for _ in range(100):
        await asyncio.sleep(0)
    assert client.channel.sent == b""
    client.stream.resume_writing()
    while len(client.channel.sent) < 1000:  # noqa: ASYNC110 - the server is another task
        await asyncio.sleep(0)


async def test_who_asks_no_more_and_takes_nothing_has_left(tmp_path: Path) -> None:
    made = Conversation(tmp_path)
    made.exports.archive = FakeArchive([b"abc"])
    serving = asyncio.ensure_future(made.server.serve())
    handle = await made.open(b"home.tar.gz")
    assert made.exports.running == 1
    made.stream.pause_writing()
    request = Byte(codes.FXP_READ) + UInt32(7) + String(handle) + UInt64(0) + UInt32(1)
    made.stream.reader.feed_data(UInt32(len(request)) + request)
    made.stream.end_reading()
    with pytest.raises(BrokenPipeError):
        await serving
    assert made.exports.running == 0


@pytest.mark.parametrize("sent", [UInt32(2**32 - 1), UInt32(0), UInt32(3) + b"abc"])
async def test_what_is_no_packet_ends_it(tmp_path: Path, sent: bytes) -> None:
    made = Conversation(tmp_path)
    made.stream.reader.feed_data(sent)
    with pytest.raises(PacketDecodeError):
        await made.server.serve()


@given(st.integers(0, 255), st.binary(max_size=100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_packet_is_answered_and_gives_away_no_other_file(
    tmp_path: Path, kind: int, content: bytes
) -> None:
    made = Conversation(tmp_path)
    body = Byte(kind) + UInt32(7) + content
    made.stream.reader.feed_data(UInt32(len(body)) + body)
    made.stream.end_reading()
    with suppress(PacketDecodeError):
        await made.server.serve()
    assert len(made.channel.sent) > 4
    assert made.channel.sent[4] != codes.FXP_DATA
