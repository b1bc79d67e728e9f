"""Runs `rootblood ...` without starting Python and importing it all anew: forked off a process that has that.

What runs is the real thing, in a process of its own, with its own arguments, streams, environment and
directory; it only takes a tenth of the time to start, which counts where tests give a thousand commands. No
server is started like this, and `tests/cli/test_main.py` has commands that are programs from the start.
"""

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_MAX_REQUEST_BYTES = 1 << 17

_PROGRAM = f"""
import gc, json, os, signal, socket, sys
from rootblood.cli import late
from rootblood.cli.main import COMMANDS, load_command, main

def next_request(control):
    while True:
        request, files, _, _ = socket.recv_fds(control, {_MAX_REQUEST_BYTES}, 4)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            return json.loads(request), files
        for file in files:
            os.close(file)

for name in COMMANDS:
    load_command(name)
late.app, late.records, late.databases, late.settings, late.logs
gc.freeze()
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with socket.socket(fileno=int(sys.argv[1])) as control:
    (sys.argv, env, directory), files = next_request(control)
# From here on it is the process that waits for one command; and from the next fork on, that command itself.
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
with socket.socket(fileno=files.pop()) as answer:
    if command := os.fork():
        answer.sendall(f"{{command}}\\n".encode())
        status = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
        answer.sendall(f"{{status}}\\n".encode())
        os._exit(0)
signal.signal(signal.SIGINT, signal.default_int_handler)
for number, file in enumerate(files):
    os.dup2(file, number)
    os.close(file)
os.environ.clear()
os.environ.update(env)
os.chdir(directory)
main()
"""


class _Forks:
    """The process that commands are forked off. Threads may share it."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._control.close()
        self._process.wait()

    def send(self, request: bytes, files: Sequence[int]) -> None:
        assert len(request) < _MAX_REQUEST_BYTES
        socket.send_fds(self._control, [request], files)


@functools.cache
def _forks() -> _Forks:
    return _Forks()


def run_rootblood(
    arguments: Sequence[str], *, env: Mapping[str, str], directory: Path, stdin: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end.

    Raises:
        subprocess.TimeoutExpired: it took too long, and was killed.
    """
    argv = ["rootblood", *arguments]
    ours, theirs = socket.socketpair()
    with (
        tempfile.TemporaryFile("w+") as input_,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
        ours,
        ours.makefile() as answer,
    ):
        input_.write(stdin)
        input_.seek(0)
        ours.settimeout(timeout_s)
        with theirs:
            request = json.dumps([argv, dict(env), str(directory)]).encode()
            _forks().send(request, [*(file.fileno() for file in (input_, output, errors)), theirs.fileno()])
        pid = int(answer.readline())
        try:
            status = int(answer.readline())
        except TimeoutError as error:
            os.kill(pid, signal.SIGKILL)
            ours.recv(64)  # that it is gone
            raise subprocess.TimeoutExpired(argv, timeout_s) from error
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(argv, status, output.read(), errors.read())
