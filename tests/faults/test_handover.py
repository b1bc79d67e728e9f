"""One server takes over from another: whoever connects at any moment is served, and a transfer ends well."""

import hashlib
import os
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import Client, Installation, Server, free_port, wait_until

HANDOVERS = 2
DATA_BYTES = 50 * 1024 * 1024
RATE_KBIT_S = 40_000
"""Of the transfer, which takes ten seconds then, and the time of the first hand-over, in which it is held."""


@dataclass
class Loop:
    """Does something over and over, until the test has seen enough."""

    attempt: Callable[[], str | None]
    """What went wrong, if anything did."""

    failures: list[str] = field(default_factory=list)
    count: int = 0

    @contextmanager
    def going(self) -> Iterator[None]:
        """Do it in a thread for the length of a block."""
        done = threading.Event()

        def work() -> None:
            while not done.is_set():
                failure = self.attempt()
                self.count += 1
                if failure is not None:
                    self.failures.append(failure)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def wait_for_more(self, number: int) -> None:
        """Wait until it was done so many times more."""
        enough = self.count + number
        wait_until(lambda: self.count >= enough, timeout_s=60)


def commands(client: Client) -> Loop:
    def attempt() -> str | None:
        done = client.run("echo here")
        return None if (done.returncode, done.stdout) == (0, b"here\n") else repr(done)

    return Loop(attempt)


def pages(url: str) -> Loop:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def attempt() -> str | None:
        try:
            with opener.open(f"{url}/healthz", timeout=30) as answer:
                return None if answer.read() == b"ok\n" else "another page"
        except OSError as error:
            return repr(error)

    return Loop(attempt)


Start = Callable[[], Server]


@contextmanager
def handed_over(installation: Installation) -> Iterator[Start]:
    """Servers that are started with the same two sockets, which outlive them."""
    with socket.create_server(("127.0.0.1", 0)) as ssh, socket.create_server(("127.0.0.1", 0)) as web:
        yield lambda: installation.start_program({"ssh": ssh, "web": web})


@contextmanager
def sharing_ports(installation: Installation) -> Iterator[Start]:
    """Servers that open sockets of their own on the same ports."""
    ports = {"ROOTBLOOD_SSH__PORT": str(free_port()), "ROOTBLOOD_WEB__PORT": str(free_port())}
    yield lambda: installation.start(ROOTBLOOD_SERVER__REUSE_PORT="true", **ports)


@pytest.mark.parametrize("way", [handed_over, sharing_ports])
def test_servers_take_over_from_each_other_and_nobody_notices(
    own_installation: Installation,
    tmp_path: Path,
    way: Callable[[Installation], AbstractContextManager[Start]],
) -> None:
    data = os.urandom(DATA_BYTES // 100) * 100
    (tmp_path / "data").write_bytes(data)
    own_installation.extra_env["ROOTBLOOD_SERVER__DRAIN_S"] = "90"
    with ExitStack() as cleanup:
        start = cleanup.enter_context(way(own_installation))

        def next_server() -> Server:
            server = start()
            cleanup.callback(close, server)
            return server

        servers = [next_server()]
        alice = client_of(own_installation, servers[0], "alice")
        alice.output("true")
        loops = [commands(alice), pages(servers[0].web_url)]
        with alice.open("until [ -s uploaded ]; do sleep 0.05; done; echo begun") as watching:
            sftp = cleanup.enter_context(upload(alice, tmp_path / "data"))
            assert watching.stdout is not None
            assert b"begun\n" == watching.stdout.readline()
        sftp.send_signal(signal.SIGSTOP)
        with loops[0].going(), loops[1].going():
            for _ in range(HANDOVERS):
                servers.append(next_server())
                servers[-2].process.terminate()
                wait_until(lambda: '"stopping"' in servers[-2].log)
                if len(servers) == 2:
                    assert servers[0].process.poll() is None  # it goes on there
                    sftp.send_signal(signal.SIGCONT)
                for loop in loops:
                    loop.wait_for_more(10)
        assert ([], []) == (loops[0].failures, loops[1].failures)
        assert 0 == sftp.wait(120)
        assert [0] * HANDOVERS == [server.process.wait(30) for server in servers[:-1]]
        assert hashlib.sha256(data).hexdigest() == alice.output("sha256sum uploaded").split()[0]


def close(server: Server) -> None:
    server.process.kill()
    server.process.wait()
    assert server.process.stdout is not None
    server.process.stdout.close()


@contextmanager
def upload(client: Client, path: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A slow sftp."""
    argv = ["sftp", "-q", "-l", str(RATE_KBIT_S), "-b", "-", *client.options, "-P", str(client.port)]
    with subprocess.Popen([*argv, client.target], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as sftp:
        assert sftp.stdin is not None
        sftp.stdin.write(f"put {path} uploaded\n".encode())
        sftp.stdin.close()
        try:
            yield sftp
        finally:
            sftp.kill()
