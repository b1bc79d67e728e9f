"""What an editor does that puts a server of its own into the environment, as VS Code's Remote-SSH.

It runs `bash`, feeds it a script that unpacks and starts the server, reads the port off the output, keeps
that channel open, and comes back later for the same server.
"""

import asyncio
import base64
import http.client
import io
import os
import re
import signal
import socket
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import asyncssh
from typing_extensions import override

from tests.e2e.conftest import connect
from tests.e2e.installation import Client, ask, free_port

AT_ONCE = 8
MEGABYTE = 1_000_000
REQUEST_TIMEOUT_S = 60

SERVER = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(b"editor server " + self.path.encode())
    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"]))[::-1])
    def answer(self, body):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
    print(f"listeningOn=={server.server_port}==", flush=True)
    server.serve_forever()
"""

INSTALL = """
set -e
mkdir -p ~/.editor-server && cd ~/.editor-server
base64 -d <<'END' | tar -xz
{archive}END
if ! kill -0 "$(cat pid 2>/dev/null)" 2>/dev/null; then
    : >log
    nohup python3 server.py >log 2>&1 </dev/null &
    echo $! >pid
fi
until grep -q listeningOn log; do sleep 0.05; done
grep listeningOn log
echo "pid==$(cat pid)=="
"""


def install_script() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("server.py")
        info.size = len(SERVER)
        archive.addfile(info, io.BytesIO(SERVER.encode()))
    return INSTALL.format(archive=base64.encodebytes(buffer.getvalue()).decode()).encode()


def start(shell: "subprocess.Popen[bytes]") -> tuple[int, int]:
    """Feed the script to a `bash` whose input stays open; port and PID that it prints."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(install_script())
    shell.stdin.flush()
    port, pid = (re.search(rb"==(\d+)==", shell.stdout.readline()) for _ in range(2))
    assert port is not None
    assert pid is not None
    return int(port[1]), int(pid[1])


def test_a_server_is_put_there_found_and_found_again(alice: Client) -> None:
    with alice.open("bash", options=["-T"]) as shell, alice.open("cat") as beside:
        port, pid = start(shell)

        assert alice.output(f"curl -s http://127.0.0.1:{port}/one") == "editor server /one"

        # The long-lived ones still talk, both ways.
        assert ask(shell, b"echo $((6 * 7))\n") == b"42\n"
        assert ask(beside, b"up\n") == b"up\n"
        assert shell.communicate(b"exit 5\n", timeout=REQUEST_TIMEOUT_S)[1] == b""
        assert shell.returncode == 5

    with alice.open("bash", options=["-T"]) as shell:
        assert start(shell) == (port, pid)
        shell.communicate(timeout=REQUEST_TIMEOUT_S)
        assert shell.returncode == 0

    assert alice.output(f"curl -s http://127.0.0.1:{port}/two") == "editor server /two"
    alice.output(f"kill {pid}; rm -r .editor-server")


class Socks(http.client.HTTPConnection):
    """HTTP through a SOCKS5 proxy (RFC 1928) on a port here, to a port of the environment's loopback."""

    def __init__(self, proxy: int, port: int) -> None:
        super().__init__("127.0.0.1", port, timeout=REQUEST_TIMEOUT_S)
        self._proxy = proxy

    @override
    def connect(self) -> None:
        self.sock = socket.create_connection(("127.0.0.1", self._proxy), timeout=REQUEST_TIMEOUT_S)
        self.sock.sendall(b"\x05\x01\x00")
        assert self._receive(2) == b"\x05\x00"
        self.sock.sendall(b"\x05\x01\x00\x01" + socket.inet_aton(self.host) + self.port.to_bytes(2, "big"))
        assert self._receive(10)[:2] == b"\x05\x00"

    def _receive(self, count: int) -> bytes:
        return b"".join(self.sock.recv(1) for _ in range(count))

    def reversed(self, data: bytes) -> bytes:
        """What the editor's server makes of `data`."""
        self.request("POST", "/", data)
        return self.getresponse().read()

    def get(self, path: str) -> bytes:
        self.request("GET", path)
        return self.getresponse().read()


def reversed_by(proxy: int, port: int, body: bytes) -> bytes:
    """As `Socks.reversed`, over a connection of its own."""
    with closing(Socks(proxy, port)) as connection:
        return connection.reversed(body)


def test_many_requests_at_once_through_the_editor_s_proxy_and_again_after_a_drop(alice: Client) -> None:
    """As VS Code does by default: the server behind `ssh -D`, and a connection not closed but lost."""
    proxy = free_port()
    dynamic = ["-T", "-D", str(proxy), "-o", "ExitOnForwardFailure=yes"]
    bodies = [os.urandom(MEGABYTE + number) for number in range(AT_ONCE)]

    with alice.open("bash", options=dynamic) as shell:
        port, pid = start(shell)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda body: reversed_by(proxy, port, body), bodies))
        assert answers == [body[::-1] for body in bodies]
        assert ask(shell, b"echo $((6 * 7))\n") == b"42\n"

        with closing(Socks(proxy, port)) as lost:
            lost.request("POST", "/", headers={"Content-Length": str(MEGABYTE)})  # and not a byte of it
            shell.kill()
            assert shell.wait(timeout=REQUEST_TIMEOUT_S) == -signal.SIGKILL

    with alice.open("bash", options=dynamic) as shell:
        assert start(shell) == (port, pid)
        with closing(Socks(proxy, port)) as found:
            assert found.get("/again") == b"editor server /again"
        assert ask(shell, f"kill {pid} && rm -r ~/.editor-server && echo done\n".encode()) == b"done\n"


async def test_streams_at_once_on_one_connection_beside_a_long_lived_command(alice: Client) -> None:
    async def converse(connection: asyncssh.SSHClientConnection, port: int, body: bytes) -> bytes:
        reader: asyncssh.SSHReader[bytes]
        reader, writer = await connection.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200")
        writer.close()
        return answer

    bodies = [os.urandom(MEGABYTE + number) for number in range(AT_ONCE)]
    with alice.open("bash", options=["-T"]) as shell:
        port, pid = start(shell)
        async with asyncio.timeout(REQUEST_TIMEOUT_S), await connect(alice) as connection:
            beside = await connection.create_process("cat", encoding=None)
            answers = await asyncio.gather(*(converse(connection, port, body) for body in bodies))
            beside.stdin.write(b"still here\n")
            assert await beside.stdout.readline() == b"still here\n"
        assert answers == [body[::-1] for body in bodies]
        assert ask(shell, f"kill {pid} && rm -r ~/.editor-server && echo done\n".encode()) == b"done\n"
