"""Bulk over a real connection: every byte, in order, whatever else happens on the connection."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh
import pytest

from rootblood.link.channel import LinkChannel, bound_connection
from rootblood.link.wire import Wire
from tests.link.shell import open_shell

TIMEOUT_S = 120
BULK_BYTES = 8 * 1024 * 1024
CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"]


class OpenDoor(asyncssh.SSHServer):
    """Lets everybody in, over a connection that is bounded as the door's are."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        bound_connection(conn)

    def begin_auth(self, username: str) -> bool:
        del username
        return False


class Echoed(asyncssh.SSHClientSession[bytes]):
    """Hashes what comes back."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.received = 0
        self.over = asyncio.Event()
        self.error: Exception | None = None

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        del datatype
        self.digest.update(data)
        self.received += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.over.set()


async def echo(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    """Send back what comes, and end with it."""
    while data := await process.stdin.read(65536):
        process.stdout.write(data)
        await process.stdout.drain()
    process.exit(0)


@asynccontextmanager
async def connected(cipher: str, **options: object) -> AsyncIterator[asyncssh.SSHClientConnection]:
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=OpenDoor,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=echo,
        encoding=None,
        compression_algs=None,
        **options,
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
            encryption_algs=[cipher],
            compression_algs=None,
            **options,
        ) as connection,
    ):
        bound_connection(connection)
        yield connection


async def opened(connection: asyncssh.SSHClientConnection) -> tuple[LinkChannel, Echoed]:
    channel, session = LinkChannel(connection), Echoed()
    await open_shell(channel, session)
    return channel, session


async def assert_echoed(connection: asyncssh.SSHClientConnection, size: int) -> None:
    """Send `size` bytes in pieces of all sizes, and get them back."""
    channel, session = await opened(connection)
    digest, sent = hashlib.sha256(), 0
    while sent < size:
        piece = secrets.token_bytes(min(size - sent, 1 + secrets.randbelow(100_000)))
        digest.update(piece)
        channel.write(piece)
        sent += len(piece)
        await asyncio.sleep(0)
    channel.write_eof()
    async with asyncio.timeout(TIMEOUT_S):
        await session.over.wait()
    assert (None, size, digest.digest()) == (session.error, session.received, session.digest.digest())


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_every_byte_comes_back(cipher: str) -> None:
    async with connected(cipher) as connection:
        await assert_echoed(connection, BULK_BYTES)


@pytest.mark.parametrize("cipher", CIPHERS[::2])
async def test_channels_do_not_mix_while_keys_change(cipher: str) -> None:
    async with connected(cipher, rekey_bytes=300_000) as connection:
        await asyncio.gather(*(assert_echoed(connection, 1_000_000) for _ in range(4)))


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_a_packet_that_was_changed_ends_the_connection(cipher: str) -> None:
    async with connected(cipher) as connection:
        channel, session = await opened(connection)
        wire: Wire = connection.get_extra_info("rootblood_wire")
        changed = bytearray(64)
        wire.gather(bytes(changed))  # no packet at all
        channel.write(b"after it")
        async with asyncio.timeout(TIMEOUT_S):
            await session.over.wait()
        assert isinstance(session.error, asyncssh.DisconnectError)
        assert 0 == session.received


async def test_more_than_the_window_allows_ends_the_connection() -> None:
    async with connected(CIPHERS[0]) as connection:
        channel, session = await opened(connection)
        channel._send_window = 1 << 30  # a peer that does not keep to it
        while not session.over.is_set() and not channel.is_closing():
            channel.write(bytes(32 * 1024))
            channel.pause_reading()
            await asyncio.sleep(0)
        async with asyncio.timeout(TIMEOUT_S):
            await session.over.wait()
        assert isinstance(session.error, asyncssh.DisconnectError)


async def test_packets_of_one_event_are_one_write() -> None:
    async with connected(CIPHERS[0]) as connection:
        channel, session = await opened(connection)
        wire: Wire = connection.get_extra_info("rootblood_wire")
        writes: list[int] = []
        write = wire._transport.write

        def counted(data: bytes | bytearray | memoryview) -> None:
            writes.append(len(data))
            write(data)

        wire._transport.write = counted  # type: ignore[method-assign]
        for _ in range(100):
            channel.write(b"x" * 10)
        channel.write_eof()
        async with asyncio.timeout(TIMEOUT_S):
            await session.over.wait()
        assert 1000 == session.received
        # A write for what was sent in one event, and the few that answer the peer at the end.
        assert len(writes) < 10


async def test_what_waits_keeps_its_order_when_the_window_opens_bit_by_bit() -> None:
    async with connected(CIPHERS[0]) as connection:
        channel, session = await opened(connection)
        window, channel._send_window = channel._send_window, 0
        channel.write(b"a" * 40_000)
        channel.write(b"b" * 40_000)
        channel._send_window = 20_000
        channel._flush_send_buf()  # what is left of the first piece is short now, and not the last
        channel.write(b"c" * 10)
        channel._send_window = window - 20_000
        channel._flush_send_buf()
        channel.write_eof()
        async with asyncio.timeout(TIMEOUT_S):
            await session.over.wait()
        expected = hashlib.sha256(b"a" * 40_000 + b"b" * 40_000 + b"c" * 10).digest()
        assert expected == session.digest.digest()
