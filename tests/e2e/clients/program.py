"""Clients that are programs: they say how their command lines look, and are run here."""

import os
import subprocess
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from typing_extensions import override

from tests.e2e.clients.base import TERMINAL, TIMEOUT_S, Done, Login, RealClient
from tests.programs import running


class CommandClient(RealClient):
    """A client that is a program."""

    @abstractmethod
    def shell(self, login: Login, *, terminal: bool = False) -> list[str]:
        """The command line of `ssh` or its like, without destination and command."""

    @abstractmethod
    def copier(self, login: Login, way: str) -> list[str]:
        """The command line of `scp` or its like, without source and destination."""

    def environment(self, login: Login) -> dict[str, str]:
        """Variables it gets."""
        return {"HOME": str(login.home), "TERM": TERMINAL}

    def launcher(self, login: Login, *, terminal: bool) -> list[str]:
        """What comes before the program, where it is not run right here."""
        del login, terminal
        return []

    def argv(self, login: Login, program: Sequence[str], *, terminal: bool = False) -> list[str]:
        """The whole command line."""
        variables = [f"{name}={value}" for name, value in self.environment(login).items()]
        launcher = self.launcher(login, terminal=terminal)
        return [*launcher, "env", "-u", "SSH_AUTH_SOCK", *variables, *program]

    def execute(self, login: Login, program: Sequence[str], stdin: bytes = b"") -> Done:
        """Run one of its programs."""
        done = subprocess.run(
            self.argv(login, program), input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def succeed(self, login: Login, program: Sequence[str], stdin: bytes = b"") -> Done:
        """Run one of its programs, which must succeed."""
        done = self.execute(login, program, stdin)
        assert done.status == 0, done.stderr
        return done

    @override
    def run(self, login: Login, command: str, stdin: bytes = b"") -> Done:
        return self.execute(login, [*self.shell(login), login.target, command], stdin)

    @override
    def on_terminal(self, login: Login, command: str, columns: int, rows: int) -> bytes:
        sized = ["sh", "-c", f'stty rows {rows} cols {columns} && exec "$@"', "sh"]
        program = [*sized, *self.shell(login, terminal=True), login.target, command]
        return on_own_terminal(self.argv(login, program, terminal=True))

    @override
    def put(self, login: Login, way: str, local: Path, remote: str) -> None:
        self.succeed(login, [*self.copier(login, way), str(local), f"{login.target}:{remote}"])

    @override
    def get(self, login: Login, way: str, remote: str, local: Path) -> None:
        self.succeed(login, [*self.copier(login, way), f"{login.target}:{remote}", str(local)])


def on_own_terminal(argv: Sequence[str]) -> bytes:
    """Run a program on a terminal of its own and return what it wrote there."""
    ours, theirs = os.openpty()
    output = bytearray()
    program = ["timeout", str(TIMEOUT_S), *argv]
    on_it = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
    with os.fdopen(ours, "rb", buffering=0) as master, running(program, **on_it) as process:
        os.close(theirs)
        with suppress(OSError):  # Linux ends a terminal nobody holds any more with EIO
            while data := master.read(65536):
                output += data
        process.wait()
    return bytes(output)
