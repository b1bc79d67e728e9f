"""What an editor does that puts a server of its own into the environment, as VS Code's Remote-SSH.

It runs `bash`, feeds it a script that unpacks and starts the server, reads the port off the output, keeps
that channel open, and comes back later for the same server.
"""

import base64
import io
import re
import subprocess
import tarfile

from tests.e2e.installation import Client

SERVER = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"editor server " + self.path.encode())
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
    rm -f log
    nohup python3 server.py >log 2>&1 </dev/null &
    echo $! >pid
fi
until grep -q listeningOn log; do sleep 0.05; done
cat log
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
        for channel, line, answer in ((shell, b"echo $((6 * 7))\n", b"42\n"), (beside, b"up\n", b"up\n")):
            assert channel.stdin is not None
            assert channel.stdout is not None
            channel.stdin.write(line)
            channel.stdin.flush()
            assert channel.stdout.readline() == answer
        assert shell.communicate(b"exit 5\n", timeout=20)[1] == b""
        assert shell.returncode == 5

    with alice.open("bash", options=["-T"]) as shell:
        assert start(shell) == (port, pid)
        shell.communicate(timeout=20)
        assert shell.returncode == 0

    assert alice.output(f"curl -s http://127.0.0.1:{port}/two") == "editor server /two"
    alice.output(f"kill {pid}; rm -r .editor-server")
