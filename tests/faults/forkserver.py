"""Processes of an installation that a test kills, one after the other, and many: see `tests.e2e.forked`."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.forked import Forked, fork_rootblood
from tests.e2e.installation import Installation, wait_until

READY_WITHIN_S = 30


class Run:
    """One such process."""

    def __init__(self, process: Forked, log: Path) -> None:
        self._process = process
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
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit status once it has ended; negative is the signal that killed it."""
        return self._process.wait()


class ForkServer:
    """Starts `rootblood ...` for an installation."""

    def __init__(self, installation: Installation, directory: Path) -> None:
        self._installation = installation
        self._directory = directory
        self._runs: list[Run] = []

    def start(self, *arguments: str, **env: str) -> Run:
        """Start one."""
        log = self._directory / f"run-{len(self._runs)}"
        with (
            Path(os.devnull).open("rb") as nothing,
            Path(f"{log}.out").open("ab") as out,
            Path(f"{log}.err").open("ab") as err,
        ):
            process = fork_rootblood(
                arguments,
                env={**self._installation.env, **env},
                directory=self._installation.directory,
                streams=(nothing, out, err),
            )
        self._runs.append(Run(process, log))
        return self._runs[-1]

    def end(self) -> None:
        """End what still runs."""
        for run in self._runs:
            run.stop(signal.SIGKILL)


@contextmanager
def fork_server(installation: Installation) -> Iterator[ForkServer]:
    """A fork server for the length of a block; what runs at its end is killed."""
    server = ForkServer(installation, Path(tempfile.mkdtemp(prefix="runs-", dir=installation.directory)))
    try:
        yield server
    finally:
        server.end()
