"""Runs `rootblood ...` many times over without importing it anew: each time in a forked process of its own.

What runs is the real thing; it only starts in a tenth of the time, which counts where there are many starts.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.e2e.installation import Installation, wait_until

READY_WITHIN_S = 30

_PROGRAM = """
import json, os, sys
import rootblood.cli.serve
from rootblood.cli.main import main
for line in iter(sys.stdin.readline, ""):
    log, env, arguments = json.loads(line)
    child = os.fork()
    if child == 0:
        out, err = (os.open(log + end, os.O_WRONLY | os.O_APPEND) for end in (".out", ".err"))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.environ.update(env)
        sys.argv = ["rootblood", *arguments]
        main()
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Run:
    """One such process."""

    def __init__(self, server: "ForkServer", pid: int, log: Path) -> None:
        self._server = server
        self.pid = pid
        self._log = log

    @property
    def stdout(self) -> str:
        return Path(f"{self._log}.out").read_text()

    @property
    def ssh_port(self) -> int:
        """Of a server, once it is ready."""
        wait_until(
            lambda: self.stdout.startswith("ready "), timeout_s=READY_WITHIN_S, what=f"ready of {self.stderr}"
        )
        return int(self.stdout.split()[1].rpartition(":")[2])

    @property
    def stderr(self) -> str:
        return Path(f"{self._log}.err").read_text()

    def stop(self, number: int) -> int:
        """Send it a signal, and return its status once it is gone."""
        os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> int:
        """Its exit status once it has ended; negative is the signal that killed it."""
        return self._server.wait()


class ForkServer:
    """Starts one process after the other for an installation; each has ended before the next begins."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self._process = process
        self._directory = directory
        self._count = 0
        self._running: int | None = None

    def start(self, *arguments: str, **env: str) -> Run:
        """Start `rootblood ...`."""
        self._count += 1
        log = self._directory / f"run-{self._count}"
        for end in (".out", ".err"):
            Path(f"{log}{end}").touch()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([str(log), env, arguments]) + "\n")
        self._process.stdin.flush()
        self._running = int(self.answer())
        return Run(self, self._running, log)

    def end(self) -> None:
        """End this server, and what it still runs."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.poll() is None and self._running is not None:
            with suppress(ProcessLookupError):
                os.kill(self._running, signal.SIGKILL)

    def wait(self) -> int:
        """Status of what runs, once it has ended."""
        status = int(self.answer())
        self._running = None
        return status

    def answer(self) -> str:
        """What the program says next."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def fork_server(installation: Installation) -> Iterator[ForkServer]:
    """A fork server for the length of a block; what runs at its end is killed."""
    directory = Path(tempfile.mkdtemp(prefix="runs-", dir=installation.directory))
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        env=installation.env,
        cwd=installation.directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        server = ForkServer(process, directory)
        try:
            yield server
        finally:
            server.end()
