"""A client behind a network that drops its packets, both ways, without a word: it is given up.

The client lives in a network namespace of its own; a rule of nftables there drops everything.
"""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

import pytest
from typing_extensions import override

from rootblood.settings import SSHSettings
from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation, wait_until

KEEPALIVE = {"ROOTBLOOD_SSH__KEEPALIVE_INTERVAL_S": "2"}
"""Three questions so far apart. Clients that do answer need not do so at once on a busy machine."""

LISTEN = """
import socket
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    peer = listener.accept()[0].makefile()
    print(peer.readline().strip(), flush=True)
    print(peer.read() or "closed", flush=True)
"""


@dataclass
class Network:
    """A namespace and the pair of interfaces that joins it to this one."""

    name: str
    near: str

    def run(self, *command: str) -> None:
        """Run a command inside."""
        subprocess.run(["ip", "netns", "exec", self.name, *command], check=True, timeout=10)

    def drop_everything(self) -> None:
        self.run("nft", "add table inet silence")
        for hook in ("input", "output"):
            rule = f"add chain inet silence {hook} {{ type filter hook {hook} priority 0; policy drop; }}"
            self.run("nft", rule)


@pytest.fixture
def network() -> Iterator[Network]:
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("nft")):
        pytest.skip("a network namespace needs root, ip and nft")
    name = f"rb{secrets.token_hex(3)}"
    block = IPv4Address("198.18.0.0") + 4 * secrets.randbelow(2**15)  # a /30 of RFC 2544's /15
    near, far = str(block + 1), str(block + 2)
    if subprocess.run(["ip", "netns", "add", name], check=False, timeout=10).returncode:
        pytest.skip("this machine makes no network namespaces")
    try:
        link = ["ip", "link", "add", name, "type", "veth", "peer", "name", "client", "netns", name]
        subprocess.run(link, check=True, timeout=10)
        subprocess.run(["ip", "addr", "add", f"{near}/30", "dev", name], check=True, timeout=10)
        subprocess.run(["ip", "link", "set", name, "up"], check=True, timeout=10)
        made = Network(name, near)
        made.run("ip", "addr", "add", f"{far}/30", "dev", "client")
        made.run("ip", "link", "set", "client", "up")
        yield made
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)


@dataclass
class ClientOf(Client):
    """A client of a server that does not listen on loopback."""

    address: str

    @property
    @override
    def target(self) -> str:
        return f"{self.name}@{self.address}"


def test_by_default_a_silent_client_is_given_up_in_time() -> None:
    settings = SSHSettings()

    assert settings.keepalive_interval_s * (settings.keepalive_count_max + 1) <= 90


@pytest.mark.parametrize(
    "command",
    ["echo up; sleep {length}", "echo up; (sleep {length} & cat /dev/zero)"],
    ids=["idle", "with data in flight"],
)
def test_dropped_packets(own_installation: Installation, network: Network, command: str) -> None:
    length = f"1000.{secrets.randbelow(10**6):06}"
    settings = {**KEEPALIVE, "ROOTBLOOD_SSH__HOST": network.near}
    with own_installation.serving(**settings) as server:
        alice = ClientOf(**vars(client_of(own_installation, server, "alice")), address=network.near)
        with subprocess.Popen(
            ["ip", "netns", "exec", network.name, *alice.argv(command.format(length=length))],
            stdout=subprocess.PIPE,
        ) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == b"up\n"
            network.drop_everything()

            try:
                wait_until(lambda: _gone(alice, length), what="the end of the command")
                wait_until(lambda: "not responding to keepalive" in server.log)
                assert client.poll() is None  # it has not heard of it
            finally:
                client.kill()


def test_a_silent_client_s_forwarded_stream_is_closed_and_its_connection_forgotten(
    own_installation: Installation, network: Network
) -> None:
    settings = {**KEEPALIVE, "ROOTBLOOD_SSH__HOST": network.near}
    local = own_installation.directory / "s"  # a path: it leads out of the client's namespace
    with own_installation.serving(**settings) as server:
        alice = ClientOf(**vars(client_of(own_installation, server, "alice")), address=network.near)
        rescue = replace(alice, name="alice+rescue")
        with alice.open(f"exec python3 -c '{LISTEN}'") as listening:
            port = line_of(listening)
            forward = ["-L", f"{local}:127.0.0.1:{port}", "-o", "ExitOnForwardFailure=yes"]
            with (
                subprocess.Popen(
                    ["ip", "netns", "exec", network.name, *alice.argv("echo up; cat", options=forward)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                ) as client,
                socket.socket(socket.AF_UNIX) as stream,
            ):
                try:
                    assert line_of(client) == "up"
                    stream.connect(str(local))
                    stream.sendall(b"hello\n")
                    assert line_of(listening) == "hello"
                    assert "echo up; cat" in rescue.output("sessions")
                    network.drop_everything()

                    wait_until(lambda: "echo up; cat" not in rescue.output("sessions"), what="the end of it")
                    assert line_of(listening) == "closed"
                    assert client.poll() is None  # it has not heard of it
                finally:
                    client.kill()


def line_of(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def _gone(alice: Client, length: str) -> bool:
    return alice.run(f"pgrep -f '[s]leep {length}'").returncode == 1
