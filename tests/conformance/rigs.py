"""What the tests stand on: engines, and the hands of somebody who goes past them; who listens to a stream."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Protocol

from rootblood.domain.environments import Environment, Identity, container_name
from rootblood.engines.base import Engine
from rootblood.engines.docker.engine import DockerEngine
from rootblood.settings import EngineSettings, EnvironmentSettings, LimitsSettings
from tests.e2e.installation import docker_api, some_subnet
from tests.fakes.engine import FakeEngine

STREAM_TIMEOUT_S = 120


class Rig(Protocol):
    """An engine, and the hands of somebody who goes past it."""

    @property
    def engine(self) -> Engine: ...

    def sibling(self) -> Engine:
        """An engine of another installation on the same host."""

    def kill(self, userhash: str) -> None: ...
    def pause(self, userhash: str) -> None: ...
    def remove(self, userhash: str) -> None: ...
    def engine_ids(self, userhash: str) -> list[str]: ...


@dataclass
class FakeRig:
    engine: FakeEngine

    def sibling(self) -> Engine:
        return FakeEngine(self.engine.host, "another")

    def kill(self, userhash: str) -> None:
        self.engine.end_by_hand(userhash)

    def pause(self, userhash: str) -> None:
        self.engine.pause_by_hand(userhash)

    def remove(self, userhash: str) -> None:
        self.engine.remove_by_hand(userhash)

    def engine_ids(self, userhash: str) -> list[str]:
        found = self.engine.host.containers.get(userhash)
        return [found[1].engine_id] if found else []


@dataclass
class DockerRig:
    engine: DockerEngine
    instance: str

    def sibling(self) -> Engine:
        return docker_engine(f"{self.instance}-b")

    def kill(self, userhash: str) -> None:
        with docker_api() as api:
            api.kill(container_name(userhash))

    def pause(self, userhash: str) -> None:
        with docker_api() as api:
            api.pause(container_name(userhash))

    def remove(self, userhash: str) -> None:
        with docker_api() as api:
            api.remove_container(container_name(userhash), force=True)

    def engine_ids(self, userhash: str) -> list[str]:
        with docker_api() as api:
            rows = api.containers(all=True, filters={"label": f"rootblood.userhash={userhash}"})
            return [row["Id"] for row in rows]


def docker_engine(
    instance: str,
    *,
    environment: EnvironmentSettings | None = None,
    limits: LimitsSettings | None = None,
    sockets: Path | None = None,
) -> DockerEngine:
    return DockerEngine(
        EngineSettings(instance=instance, subnet=IPv4Network(some_subnet())),
        environment or EnvironmentSettings(),
        limits or LimitsSettings(),
        sockets,
    )


@asynccontextmanager
async def opened(instance: str, sockets: Path | None = None) -> AsyncIterator[DockerRig]:
    rig = DockerRig(docker_engine(instance, sockets=sockets), instance)
    try:
        yield rig
    finally:
        await rig.engine.close()


def new_identity() -> Identity:
    userhash = secrets.token_hex(16)
    uid = 20000 + secrets.randbelow(30000)
    return Identity(name=f"u{userhash[:8]}", userhash=userhash, uid=uid, gid=uid)


class Collector(asyncio.Protocol):
    """Keeps what arrives, and notices the end."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.arrived = asyncio.Event()
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        assert exc is None
        self.ended.set()


async def output(engine: Engine, environment: Environment, *argv: str, stdin: bytes = b"") -> bytes:
    """Run a program to its end and return what it wrote to stdout."""
    transport, collector = await engine.open_stream(environment, argv, Collector)
    transport.write(stdin)
    transport.write_eof()
    async with asyncio.timeout(STREAM_TIMEOUT_S):
        await collector.ended.wait()
    return bytes(collector.data)
