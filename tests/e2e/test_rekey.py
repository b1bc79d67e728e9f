"""New keys in the middle of a connection: asked for by either side, and never left half done."""

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from asyncssh.constants import MSG_KEXINIT
from asyncssh.kex_dh import MSG_KEX_ECDH_INIT
from asyncssh.packet import SSHPacketLogger

from tests.e2e.conftest import client_of, connect
from tests.e2e.installation import Installation, ask, wait_until

BULK = bytes(range(256)) * 4096 * 50  # 50 MiB
SHA256 = hashlib.sha256(BULK).hexdigest()


def test_rekeys_of_either_side_lose_nothing(own_installation: Installation) -> None:
    """Bulk both ways and a conversation at one time, all on one connection."""
    control, log = own_installation.directory / "c", own_installation.directory / "client.log"
    with own_installation.serving(ROOTBLOOD_SSH__REKEY_BYTES="1000000") as server:
        alice = client_of(own_installation, server, "alice")
        alice.output("cat >bulk", stdin=BULK)
        through = ["-S", str(control)]
        verbose = ["-o", "LogLevel=DEBUG1", "-E", str(log)]
        with alice.open("cat", options=["-M", *through, *verbose, "-o", "RekeyLimit=1M"]) as beside:
            assert ask(beside, b"up\n") == b"up\n"
            wait_until(control.exists)
            with ThreadPoolExecutor() as pool:
                down = pool.submit(alice.run, "cat bulk", options=through)
                up = pool.submit(alice.run, "sha256sum", stdin=BULK, options=through)
                lines = 0
                while not (down.done() and up.done()):
                    lines += 1
                    assert ask(beside, b"line %d\n" % lines) == b"line %d\n" % lines
            assert beside.poll() is None

    assert hashlib.sha256(down.result().stdout).hexdigest() == SHA256
    assert up.result().stdout.split()[0].decode() == SHA256
    assert log.read_bytes().count(b"SSH2_MSG_KEXINIT received") > len(BULK) / 2_000_000
    assert lines > 1


async def test_the_server_rekeys_by_time(own_installation: Installation) -> None:
    with own_installation.serving(ROOTBLOOD_SSH__REKEY_S="1") as server:
        async with await connect(client_of(own_installation, server, "alice")) as connection:
            first = connection._server_kexinit
            async with asyncio.timeout(60):
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
        async with asyncio.timeout(60):
            await connection.wait_closed()

        wait_until(lambda: "Key exchange took too long" in server.log)
        assert alice.output("echo well") == "well\n"
