"""What a channel holds for a session that reads in fits and starts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncssh
import pytest
from asyncssh.constants import MSG_CHANNEL_WINDOW_ADJUST
from asyncssh.packet import UInt32

from rootblood.link.channel import MAX_PACKET_BYTES, MIN_PACKET_BYTES, WINDOW_BYTES, LinkChannel
from tests.link.shell import open_shell

STREAM_BYTES = 16 * WINDOW_BYTES


class FitfulReader(asyncssh.SSHClientSession[bytes]):
    """Pauses after each piece and resumes a moment later, as a bridge to a slower peer does."""

    channel: LinkChannel

    def __init__(self) -> None:
        self.received = 0
        self.most_held = 0
        self.done = asyncio.Event()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        assert isinstance(chan, LinkChannel)
        self.channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        del datatype
        self.received += len(data)
        self.most_held = max(self.most_held, sum(len(held) for held, _ in self.channel._recv_buf))
        self.channel.pause_reading()
        asyncio.get_running_loop().call_soon(self.channel.resume_reading)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.done.set()


async def _stream(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Send as fast as the window lets."""
    for _ in range(STREAM_BYTES // 65536):
        process.stdout.write(bytes(65536))
        await process.stdout.drain()
    process.exit(0)


class OpenDoor(asyncssh.SSHServer):
    """Lets everybody in."""

    def begin_auth(self, username: str) -> bool:
        del username
        return False


@asynccontextmanager
async def _served(
    process: Callable[["asyncssh.SSHServerProcess[bytes]"], Awaitable[None]],
    *,
    window: int = WINDOW_BYTES,
    max_pktsize: int = MAX_PACKET_BYTES,
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection to a server that runs `process` for each session, and announces these sizes."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=OpenDoor,
        server_host_keys=[key],
        process_factory=process,
        encoding=None,
        window=window,
        max_pktsize=max_pktsize,
    )
    async with (
        server,
        asyncssh.connect(
            "127.0.0.1",
            server.get_port(),
            known_hosts=None,
            client_keys=None,
            agent_path=None,
            config=None,
        ) as connection,
    ):
        yield connection


async def test_never_more_than_a_window_is_held() -> None:
    reader = FitfulReader()
    async with _served(_stream) as connection:
        await open_shell(LinkChannel(connection), reader)
        await reader.done.wait()

    assert reader.received == STREAM_BYTES
    assert reader.most_held <= WINDOW_BYTES


class SlowStart(asyncssh.SSHClientSession[bytes]):
    """Reads nothing until it is told to."""

    def __init__(self) -> None:
        self.received: dict[asyncssh.DataType, bytes] = {None: b"", asyncssh.EXTENDED_DATA_STDERR: b""}
        self.done = asyncio.Event()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.channel = chan
        chan.pause_reading()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self.received[datatype] += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.done.set()


TINY_PACKETS = 20_000


async def _drip(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Send single bytes, standard output and standard error in turns."""
    for number in range(TINY_PACKETS):
        process.channel.write(b"o", None)
        process.channel.write(b"e", asyncssh.EXTENDED_DATA_STDERR)
        if number % 100 == 0:
            await asyncio.sleep(0)
    process.exit(0)


async def test_tiny_packets_are_held_in_few_pieces() -> None:
    """A window of single bytes once froze the server: each delivery moved every entry that was held."""
    session = SlowStart()
    async with _served(_drip) as connection:
        channel = LinkChannel(connection)
        await open_shell(channel, session)
        while channel._recv_state == "open":  # noqa: ASYNC110 - asyncssh has no event for it
            await asyncio.sleep(0.01)
        pieces = len(channel._recv_buf)
        channel.resume_reading()
        await session.done.wait()

    assert pieces <= 4
    assert {None: b"o" * TINY_PACKETS, asyncssh.EXTENDED_DATA_STDERR: b"e" * TINY_PACKETS} == session.received


async def test_tiny_writes_wait_in_few_pieces() -> None:
    async with _served(_stream) as connection:
        channel = LinkChannel(connection)
        await open_shell(channel, SlowStart())
        channel._send_window = 0  # as when the peer takes nothing
        for _ in range(TINY_PACKETS):
            channel.write(b"x")

        assert (len(channel._send_buf), channel.get_write_buffer_size()) == (1, TINY_PACKETS)
        channel.abort()


async def _idle(process: asyncssh.SSHServerProcess[bytes]) -> None:
    await process.stdin.read()
    process.exit(0)


async def test_packets_stay_small_whatever_is_announced() -> None:
    async with _served(_idle, window=2**32 - 1, max_pktsize=2**32 - 1) as connection:
        channel = LinkChannel(connection)
        await open_shell(channel, SlowStart())

        assert channel._send_pktsize == MAX_PACKET_BYTES


@pytest.mark.parametrize("size", [0, 1, MIN_PACKET_BYTES - 1])
async def test_a_peer_that_wants_crumbs_is_dropped(size: int) -> None:
    async with _served(_idle, max_pktsize=size) as connection:
        with pytest.raises((asyncssh.ChannelOpenError, asyncssh.ProtocolError)):
            await open_shell(LinkChannel(connection), SlowStart())
        await connection.wait_closed()


async def _overflow(process: asyncssh.SSHServerProcess[bytes]) -> None:
    process.channel.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(2**32 - 1))
    await process.stdin.read()


async def test_a_window_beyond_its_limit_ends_the_connection() -> None:
    session = SlowStart()
    async with _served(_overflow) as connection:
        await open_shell(LinkChannel(connection), session)
        await session.done.wait()
        await connection.wait_closed()
