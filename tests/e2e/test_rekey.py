"""New keys in the middle of a connection: asked for by either side, and never left half done."""

import asyncio
import hashlib
import subprocess
from collections.abc import Sequence

import asyncssh
import pytest
from asyncssh.constants import MSG_KEXINIT
from asyncssh.kex_dh import MSG_KEX_ECDH_INIT
from asyncssh.packet import SSHPacketLogger

from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation, wait_until

BULK = bytes(range(256)) * 4096 * 20  # 20 MiB
SHA256 = hashlib.sha256(BULK).hexdigest()


def check_both_ways(client: Client, *options: str) -> None:
    """Send and receive the bulk at one time, on two connections."""
    with subprocess.Popen(
        client.argv("sha256sum", options=options), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as up:
        down = client.run("cat bulk", options=options)
        out, _ = up.communicate(BULK, timeout=60)
    assert out.decode().split()[0] == SHA256
    assert hashlib.sha256(down.stdout).hexdigest() == SHA256


async def connect(client: Client, kex_algs: Sequence[str] = ()) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        "127.0.0.1",
        client.port,
        username=client.name,
        client_keys=[str(client.key)],
        known_hosts=None,
        agent_path=None,
        config=None,
        kex_algs=kex_algs,
    )


def test_rekeys_of_either_side_lose_nothing(own_installation: Installation) -> None:
    with own_installation.serving(ROOTBLOOD_SSH__REKEY_BYTES="1000000") as server:
        alice = client_of(own_installation, server, "alice")
        alice.output("cat >bulk", stdin=BULK)
        verbose = alice.run("cat bulk", options=["-v", "-o", "LogLevel=DEBUG1"])
        assert hashlib.sha256(verbose.stdout).hexdigest() == SHA256
        assert verbose.stderr.count(b"SSH2_MSG_KEXINIT received") > len(BULK) / 2_000_000
        check_both_ways(alice, "-o", "RekeyLimit=1M")


async def test_the_server_rekeys_by_time(own_installation: Installation) -> None:
    with own_installation.serving(ROOTBLOOD_SSH__REKEY_S="1") as server:
        async with await connect(client_of(own_installation, server, "alice")) as connection:
            first = connection._server_kexinit
            async with asyncio.timeout(30):
                while connection._server_kexinit == first:
                    assert (await connection.run("echo on", check=True)).stdout == "on\n"


@pytest.mark.parametrize("last", [MSG_KEXINIT, MSG_KEX_ECDH_INIT])
async def test_a_half_done_rekey_ends_the_connection(own_installation: Installation, last: int) -> None:
    """The client falls silent behind its KEXINIT, or does all but send NEWKEYS."""
    with own_installation.serving(ROOTBLOOD_SSH__REKEY_TIMEOUT_S="2") as server:
        alice = client_of(own_installation, server, "alice")
        connection = await connect(alice, kex_algs=["curve25519-sha256"])
        send, silent = connection.send_packet, False

        def send_until_last(pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
            nonlocal silent
            if not silent:
                send(pkttype, *args, handler=handler)
            silent = silent or pkttype == last

        connection.send_packet = send_until_last  # type: ignore[method-assign]
        connection._send_kexinit()
        connection._kexinit_sent = True
        async with asyncio.timeout(20):
            await connection.wait_closed()

        wait_until(lambda: "Key exchange took too long" in server.log)
        assert alice.output("echo well") == "well\n"
