"""Calls that come up a link: served by any asyncio protocol, few at a time, and none for long."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import asyncssh
import pytest
from typing_extensions import override

from rootblood.link.calls import CALL_PORT, answer_calls
from rootblood.link.channel import bound_connection
from rootblood.link.link import Link
from rootblood.settings import LinkSettings

TIMEOUT_S = 120
BULK = bytes(range(256)) * 4096 * 8


class Served(asyncio.Protocol):
    """Keeps what comes, and whether it may write."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.received = bytearray()
        self.input_ended = asyncio.Event()
        self.lost = asyncio.Event()
        self.may_write = True

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        assert not self.lost.is_set()
        self.received += data

    @override
    def eof_received(self) -> bool:
        self.input_ended.set()
        return True

    @override
    def pause_writing(self) -> None:
        self.may_write = False

    @override
    def resume_writing(self) -> None:
        self.may_write = True

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        assert not self.lost.is_set()
        self.lost.set()


class Port(asyncssh.SSHListener):
    """Where the environment would listen."""

    @override
    def get_port(self) -> int:
        return CALL_PORT

    @override
    def close(self) -> None:
        pass

    @override
    async def wait_closed(self) -> None:
        pass


@dataclass
class Environment(asyncssh.SSHServer):
    """The link's far end: listens when it is asked to, and calls when the test says so."""

    refusals: int = 0
    """So many requests to listen are refused first."""

    asked: list[tuple[str, int]] = field(default_factory=list)
    asked_once: asyncio.Event = field(default_factory=asyncio.Event)
    listening: asyncio.Event = field(default_factory=asyncio.Event)
    connection: asyncssh.SSHServerConnection = field(init=False)

    @override
    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn

    @override
    def begin_auth(self, username: str) -> bool:
        return False

    @override
    def server_requested(self, listen_host: str, listen_port: int) -> "Port | bool":
        self.asked.append((listen_host, listen_port))
        self.asked_once.set()
        if len(self.asked) <= self.refusals:
            return False
        self.listening.set()
        return Port()

    async def call(self) -> "tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]":
        """A program of the environment connects."""
        await self.listening.wait()
        while True:
            try:
                return await self.connection.open_connection("127.0.0.1", CALL_PORT, encoding=None)
            except asyncssh.ChannelOpenError as error:
                if error.reason != "No such listener":  # it has not heard yet that it listens
                    raise
                await asyncio.sleep(0.01)


@dataclass
class Calls:
    """A link that takes calls."""

    environment: Environment
    answering: "asyncio.Task[None]"
    served: list[Served]


@asynccontextmanager
async def taking_calls(
    environment: Environment | None = None,
    settings: LinkSettings | None = None,
    new_protocol: Callable[[], Served | None] = Served,
) -> AsyncIterator[Calls]:
    environment = environment or Environment()
    served: list[Served] = []

    def answer() -> Served | None:
        protocol = new_protocol()
        if protocol is not None:
            served.append(protocol)
        return protocol

    class Client(asyncssh.SSHClient):
        @override
        def connection_lost(self, exc: Exception | None) -> None:
            lost.set()

    lost = asyncio.Event()
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: environment,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
    )
    async with asyncio.timeout(TIMEOUT_S), server:
        connection = await asyncssh.connect(
            "127.0.0.1",
            server.get_port(),
            known_hosts=None,
            client_keys=None,
            agent_path=None,
            config=None,
            client_factory=Client,
        )
        bound_connection(connection)
        link = Link(connection, lost, forwards_agent=False, session_timeout_s=TIMEOUT_S)
        answering = asyncio.create_task(answer_calls(link, answer, settings or LinkSettings()))
        try:
            yield Calls(environment, answering, served)
        finally:
            await link.close()
            await answering


async def test_bytes_pass_both_ways_and_each_way_ends_by_itself() -> None:
    async with taking_calls() as calls:
        reader, writer = await calls.environment.call()
        writer.write(b"question")
        writer.write_eof()
        [served] = calls.served
        await served.input_ended.wait()
        assert b"question" == served.received

        served.transport.write(b"ans")
        served.transport.writelines([b"w", b"er"])
        served.transport.close()
        assert b"answer" == await reader.read()
        await served.lost.wait()
        assert [("127.0.0.1", CALL_PORT)] == calls.environment.asked


async def test_a_caller_that_does_not_read_stops_the_writer_and_loses_nothing() -> None:
    async with taking_calls() as calls:
        reader, _ = await calls.environment.call()
        [served] = calls.served
        sent = 0
        while served.may_write:
            served.transport.write(BULK[:65536])
            sent += 65536
            assert sent < 64 * 1024 * 1024
            await asyncio.sleep(0)
        assert served.transport.get_write_buffer_size() > 0
        served.transport.close()
        assert sent == len(await reader.read())


async def test_a_protocol_that_pauses_stops_the_caller_at_its_window() -> None:
    async with taking_calls() as calls:
        _, writer = await calls.environment.call()
        [served] = calls.served
        served.transport.pause_reading()
        writer.write(BULK)
        writer.write_eof()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await writer.drain()
        assert b"" == served.received
        served.transport.resume_reading()
        await served.input_ended.wait()
        assert BULK == served.received


async def test_a_call_is_cut_off_in_the_end() -> None:
    async with taking_calls(settings=LinkSettings(call_timeout_s=0.1)) as calls:
        reader, _ = await calls.environment.call()
        await calls.served[0].lost.wait()
        assert b"" == await reader.read()


async def test_a_caller_that_hangs_up_is_gone() -> None:
    async with taking_calls() as calls:
        _, writer = await calls.environment.call()
        writer.close()
        await calls.served[0].lost.wait()
        calls.served[0].transport.write(b"to nobody")
        calls.served[0].transport.close()


async def test_so_many_calls_at_once_and_more_when_one_is_over() -> None:
    async with taking_calls(settings=LinkSettings(max_calls=2)) as calls:
        await calls.environment.call()
        await calls.environment.call()
        with pytest.raises(asyncssh.ChannelOpenError, match="too many calls"):
            await calls.environment.call()
        calls.served[0].transport.abort()
        await calls.served[0].lost.wait()
        while len(calls.served) < 3:
            try:
                await calls.environment.call()
            except asyncssh.ChannelOpenError:
                await asyncio.sleep(0.01)


async def test_nobody_there_to_answer() -> None:
    async with taking_calls(new_protocol=lambda: None) as calls:
        with pytest.raises(asyncssh.ChannelOpenError, match="nobody answers"):
            await calls.environment.call()


async def test_a_port_that_is_taken_is_tried_again() -> None:
    async with taking_calls(Environment(refusals=2)) as calls:
        await calls.environment.call()
        assert 3 == len(calls.environment.asked)


async def test_it_ends_with_the_link() -> None:
    async with taking_calls() as calls:
        await calls.environment.call()
        calls.environment.connection.abort()
        await calls.answering
        await calls.served[0].lost.wait()


async def test_it_ends_with_the_link_while_the_port_is_taken() -> None:
    async with taking_calls(Environment(refusals=1000)) as calls:
        await calls.environment.asked_once.wait()
        calls.environment.connection.abort()
        await calls.answering
