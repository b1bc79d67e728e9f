"""A home of a million files: nothing on the way in, or to the first byte of a tarball, walks through it."""

import asyncio
import time
from dataclasses import replace
from statistics import median

import pytest

from tests.e2e.conftest import client_of, connect
from tests.e2e.installation import Client, Installation, Server, docker_api
from tests.e2e.outcomes import container_of, says_ok

pytestmark = [pytest.mark.serial, pytest.mark.timeout(600)]

DIRECTORIES, IN_EACH = 1000, 1000

MAKE = f"""
import os
os.mkdir("many")
for number in range({DIRECTORIES}):
    os.mkdir(f"many/{{number}}")
    first = f"many/{{number}}/0"
    os.close(os.open(first, os.O_CREAT | os.O_WRONLY))
    for other in range(1, {IN_EACH}):
        os.link(first, f"many/{{number}}/{{other}}")
"""
"""Hard links: names without an inode each, which is quicker, and as many steps for whoever walks through."""

LOGINS = 5
MAX_RATIO = 1.5
TARBALLS = 3
FIRST_BYTES_WITHIN_S = 2
"""What compresses gives nothing before it has read thousands of such names, which takes tar some tenths of a
second. All of them take it many times as long."""

GZIP = b"\x1f\x8b"


def login_s(client: Client, container: str) -> float:
    """How long a login takes for which the container has to be made anew, in seconds."""
    with docker_api() as api:
        api.remove_container(container, force=True)
    begin = time.monotonic()
    assert says_ok(client)
    return time.monotonic() - begin


async def first_bytes_s(client: Client) -> float:
    """How long the first bytes of a tarball take, in seconds, connection included."""
    begin = time.monotonic()
    async with (
        await connect(replace(client, name=f"{client.name}+export")) as drive,
        drive.start_sftp_client() as sftp,
        sftp.open("home.tar.gz", "rb", block_size=1024, max_requests=1) as archive,
    ):
        beginning: str | bytes = await archive.read(2)
        took_s = time.monotonic() - begin
    assert beginning == GZIP
    return took_s


async def test_login_and_tarball(own_installation: Installation, own_server: Server) -> None:
    alice, bob = (client_of(own_installation, own_server, name) for name in ("alice", "bob"))
    made = await asyncio.to_thread(alice.run, "python3 -", stdin=MAKE.encode(), timeout_s=300)
    assert (made.returncode, made.stderr) == (0, b"")
    assert await asyncio.to_thread(says_ok, bob)

    times: dict[str, list[float]] = {"alice": [], "bob": []}
    for _ in range(LOGINS):
        for client in (alice, bob):
            took_s = await asyncio.to_thread(login_s, client, container_of(own_installation, client.name))
            times[client.name].append(took_s)
    assert median(times["alice"]) <= MAX_RATIO * median(times["bob"])

    assert median([await first_bytes_s(alice) for _ in range(TARBALLS)]) <= FIRST_BYTES_WITHIN_S
