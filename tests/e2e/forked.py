"""Runs `rootblood ...` without starting Python and importing it all anew: forked off a process that has that.

What runs is the real thing, in a process of its own, with its own arguments, streams, environment and
directory; it only takes a tenth of the time to start, which counts where tests give a thousand commands.
`Installation.start` starts servers as programs, and `tests/cli/test_main.py` commands.
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
from typing import IO, Any

_MAX_REQUEST_BYTES = 1 << 17
_MAX_ANSWER_BYTES = 32

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
late.app, late.inventory, late.records, late.databases, late.settings, late.logs
gc.freeze()
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with socket.socket(fileno=int(sys.argv[1])) as control:
    (sys.argv, env, directory), files = next_request(control)
# From here on it is the process that waits for one command; and from the next fork on, that command itself.
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
with socket.socket(fileno=files.pop()) as answer:
    if command := os.fork():
        answer.send(str(command).encode())
        status = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
        answer.send(str(status).encode())
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


class Forked:
    """A command that runs, or has run."""

    def __init__(self, answer: socket.socket) -> None:
        self._answer = answer
        self.pid = int(answer.recv(_MAX_ANSWER_BYTES))

    def wait(self, timeout_s: float | None = None) -> int:
        """Its exit status once it has ended; negative is the signal that killed it. To be called once.

        Raises:
            TimeoutError: it has not ended; it can be waited for again.
        """
        self._answer.settimeout(timeout_s)
        status = int(self._answer.recv(_MAX_ANSWER_BYTES))
        self._answer.close()
        return status


def fork_rootblood(
    arguments: Sequence[str], *, env: Mapping[str, str], directory: Path, streams: Sequence[IO[Any]]
) -> Forked:
    """Start one command; `streams` are its stdin, stdout and stderr."""
    request = json.dumps([["rootblood", *arguments], dict(env), str(directory)]).encode()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        _forks().send(request, [*(stream.fileno() for stream in streams), theirs.fileno()])
    return Forked(ours)


def run_rootblood(
    arguments: Sequence[str], *, env: Mapping[str, str], directory: Path, stdin: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end.

    Raises:
        subprocess.TimeoutExpired: it took too long, and was killed.
    """
    with (
        tempfile.TemporaryFile("w+") as input_,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
    ):
        input_.write(stdin)
        input_.seek(0)
        command = fork_rootblood(arguments, env=env, directory=directory, streams=(input_, output, errors))
        try:
            status = command.wait(timeout_s)
        except TimeoutError as error:
            os.kill(command.pid, signal.SIGKILL)
            command.wait()
            raise subprocess.TimeoutExpired(["rootblood", *arguments], timeout_s) from error
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(["rootblood", *arguments], status, output.read(), errors.read())
