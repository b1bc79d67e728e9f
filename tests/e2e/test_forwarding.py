"""Forwarded streams: into the environment, out of it, and the client's agent."""

import hashlib
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, free_port, wait_until

GREETING = b"5.5.5-greets-first\n"

# A server that speaks first, echoes until the end of its input, and then says goodbye.
GREETER = f"""
import socket, sys, threading
listener = socket.socket(socket.AF_UNIX if '/' in sys.argv[1] else socket.AF_INET)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(sys.argv[1] if '/' in sys.argv[1] else ('127.0.0.1', int(sys.argv[1])))
listener.listen(50)
def serve(peer):
    peer.sendall({GREETING!r})
    while data := peer.recv(65536):
        peer.sendall(data)
    peer.sendall(b'goodbye')
    peer.close()
print('listening', listener.getsockname(), flush=True)
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]]).start()
"""


@contextmanager
def greeter(client: Client, where: str = "0") -> Iterator[str]:
    """A greeter in the client's environment; gives its port or path."""
    with client.open(f"exec python3 -c {_quoted(GREETER)} {where}") as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("listening")
        found = re.search(r"(\d+)\)|'(/.*)'|(/\S+)", line)
        assert found is not None, line
        yield next(group for group in found.groups() if group)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


@contextmanager
def forwarding(client: Client, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """An ssh that only forwards, once it does."""
    with client.open("echo up; cat", options=["-o", "ExitOnForwardFailure=yes", *options]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process


def converse(peer: socket.socket, data: bytes) -> bytes:
    """Send all of `data`, end the output, and return everything that comes back."""
    peer.settimeout(60)

    def send() -> None:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    received = b"".join(iter(lambda: peer.recv(65536), b""))
    sender.join()
    return received


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def test_local_port_half_closes_and_loses_nothing(alice: Client) -> None:
    data = os.urandom(5_000_000)
    local = free_port()
    with greeter(alice) as port, forwarding(alice, "-L", f"{local}:localhost:{port}"), connect(local) as peer:
        received = converse(peer, data)

    assert hashlib.sha256(received).digest() == hashlib.sha256(GREETING + data + b"goodbye").digest()


def test_a_server_that_speaks_first_is_heard(alice: Client) -> None:
    local = free_port()
    with greeter(alice) as port, forwarding(alice, "-L", f"{local}:127.0.0.1:{port}"):
        for _ in range(20):
            with connect(local) as peer:
                assert peer.recv(100) == GREETING


def test_many_streams_at_once(alice: Client) -> None:
    local = free_port()
    with (
        greeter(alice) as port,
        forwarding(alice, "-L", f"{local}:localhost:{port}"),
        ExitStack() as stack,
    ):
        peers = [stack.enter_context(connect(local)) for _ in range(30)]
        answers = [converse(peer, str(number).encode()) for number, peer in enumerate(peers)]

    assert answers == [GREETING + str(number).encode() + b"goodbye" for number in range(30)]


def test_stdio_forwarding(alice: Client) -> None:
    with greeter(alice) as port:
        done = alice.run(stdin=b"through stdio", options=["-W", f"localhost:{port}"])

    assert done.stdout == GREETING + b"through stdiogoodbye"


def test_dynamic_forwarding(alice: Client) -> None:
    local = free_port()
    with greeter(alice) as port, forwarding(alice, "-D", str(local)), connect(local) as peer:
        peer.sendall(b"\x05\x01\x00")
        assert peer.recv(2) == b"\x05\x00"
        peer.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + int(port).to_bytes(2, "big"))
        assert peer.recv(10)[:2] == b"\x05\x00"
        assert converse(peer, b"socks") == GREETING + b"socksgoodbye"


def test_a_unix_socket(alice: Client, tmp_path: Path) -> None:
    local = tmp_path / "s"
    with (
        greeter(alice, "/tmp/greeter.sock") as path,
        forwarding(alice, "-L", f"{local}:{path}"),
        closing(socket.socket(socket.AF_UNIX)) as peer,
    ):
        peer.connect(str(local))
        assert converse(peer, b"unix") == GREETING + b"unixgoodbye"
    alice.output("rm -f /tmp/greeter.sock")


def test_remote_port_of_the_environment_s_choice(alice: Client) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(60)
        here = listener.getsockname()[1]
        with alice.open(
            "echo up; cat", options=["-o", "LogLevel=DEBUG", "-R", f"0:127.0.0.1:{here}"]
        ) as process:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, b"")
            port = next(
                int(found[1]) for line in lines if (found := re.search(rb"Allocated port (\d+)", line))
            )
            fetch = f"import socket; s = socket.create_connection(('127.0.0.1', {port})); s.sendall(b'hi'); "
            fetch += "s.shutdown(1); print(s.makefile().read())"
            with alice.open(f'python3 -c "{fetch}"') as caller:
                peer, _ = listener.accept()
                with peer:
                    assert converse(peer, b"from outside") == b"hi"
                assert caller.stdout is not None
                assert caller.stdout.readline() == b"from outside\n"

    listening = f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))' 2>/dev/null"
    wait_until(lambda: alice.run(listening).returncode != 0, what="the port being given back")


def test_a_taken_remote_port_is_refused(alice: Client) -> None:
    with greeter(alice) as port:
        done = alice.run("true", options=["-o", "ExitOnForwardFailure=yes", "-R", f"{port}:127.0.0.1:1"])

    assert done.returncode == 255
    assert b"remote port forwarding failed" in done.stderr


def test_nobody_listening_is_a_clean_failure(alice: Client) -> None:
    done = alice.run(options=["-W", "localhost:9"])

    assert done.returncode != 0
    assert done.stdout == b""
    assert alice.output("echo still well") == "still well\n"


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "rootblood.invalid", "10.0.0.1", "0.0.0.1", "example.org"]
)
def test_destinations_beyond_loopback_are_refused(alice: Client, host: str) -> None:
    done = alice.run(options=["-W", f"{host}:80", "-o", "LogLevel=INFO"])

    assert done.returncode != 0
    assert b"administratively prohibited" in done.stderr


def with_agent(client: Client, agent: dict[str, str], command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command with the agent forwarded."""
    return subprocess.run(
        ["ssh", "-A", "-o", "IdentityAgent=SSH_AUTH_SOCK", *client.argv(command)[1:]],
        env=agent,
        capture_output=True,
        timeout=CLIENT_TIMEOUT_S,
        check=False,
    )


def test_the_agent_of_the_client_that_forwards_it(alice: Client, agent: dict[str, str]) -> None:
    fingerprint = subprocess.run(
        ["ssh-add", "-l"], env=agent, capture_output=True, text=True, check=True
    ).stdout.split()[1]

    inside = with_agent(alice, agent, "ssh-add -l")

    assert inside.stdout.decode().split()[1] == fingerprint
    assert alice.run("ssh-add -l").returncode == 2  # another connection has no agent


def test_what_an_account_may_not_forward_is_refused(
    own_installation: Installation, agent: dict[str, str]
) -> None:
    own_installation.extra_env["ROOTBLOOD_SSH__FORWARDING_OF"] = (
        '{"alice": {"local": false, "remote": false, "streamlocal": false, "agent": false}}'
    )
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        bob = client_of(own_installation, server, "bob")
        with greeter(bob) as port:
            assert bob.run(stdin=b"x", options=["-W", f"localhost:{port}"]).stdout == GREETING + b"xgoodbye"
        assert alice.run(options=["-W", "localhost:22"]).returncode != 0
        assert alice.run("true", options=["-o", "ExitOnForwardFailure=yes", "-R", "0:a:1"]).returncode == 255
        assert with_agent(alice, agent, "echo $SSH_AUTH_SOCK").stdout == b"\n"
