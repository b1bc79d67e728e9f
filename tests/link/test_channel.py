"""What a channel holds for a session that reads in fits and starts."""

import asyncio

import asyncssh

from rootblood.link.channel import WINDOW_BYTES, LinkChannel

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


async def test_never_more_than_a_window_is_held() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=OpenDoor,
        server_host_keys=[key],
        process_factory=_stream,
        encoding=None,
    )
    async with (
        server,
        asyncssh.connect(
            "127.0.0.1", server.get_port(), known_hosts=None, client_keys=None, agent_path=None, config=None
        ) as connection,
    ):
        reader = FitfulReader()
        await LinkChannel(connection).create(
            lambda: reader,
            command=None,
            subsystem=None,
            env={},
            request_pty=False,
            term_type=None,
            term_size=(0, 0, 0, 0),
            term_modes={},
            x11_forwarding=False,
            x11_display=None,
            x11_auth_path=None,
            x11_single_connection=False,
            agent_forwarding=False,
        )
        await reader.done.wait()

    assert reader.received == STREAM_BYTES
    assert reader.most_held <= WINDOW_BYTES
