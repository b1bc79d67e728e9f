"""An installation of RootBlood of its own: state, keys, instance label, and servers as processes.

Tests use it as an operator does (the CLI, as a subprocess) and as users do (OpenSSH's own clients).
"""

import itertools
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from tests.e2e.forked import run_rootblood
from tests.programs import running

CLIENT_TIMEOUT_S = 180
"""Of what hangs: on a busy machine a client takes ten times as long as on a quiet one."""

_READY = re.compile(r"ready ssh=(?P<host>[0-9.]+):(?P<port>\d+) web=(?P<web>\S+)( metrics=(?P<metrics>\S+))?")


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 60, what: str = "the condition") -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not hold within {timeout_s} s")
        time.sleep(0.05)


_PORTS_EACH = 500
_ports = itertools.count(secrets.randbelow(_PORTS_EACH))


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now.

    A port that the kernel chooses could be another's before it is used. So it is one of those that are never
    chosen (Linux chooses from 32768 on), and each of the tests' processes has some to itself.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 20_000 + worker * _PORTS_EACH + next(_ports) % _PORTS_EACH
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


_SUBNETS_EACH = 4096
_subnets = itertools.count(secrets.randbelow(_SUBNETS_EACH))


def some_subnet() -> str:
    """Addresses for one bridge: one after the other of those that this worker has for itself."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw15").removeprefix("gw")) % 16
    number = worker * _SUBNETS_EACH + next(_subnets) % _SUBNETS_EACH
    return f"{IPv4Address('10.64.0.0') + 64 * number}/26"


@dataclass
class Server:
    """A running `rootblood serve`."""

    process: subprocess.Popen[bytes]
    port: int
    web_url: str
    log_file: Path
    metrics_url: str | None = None
    """None where it has no metrics."""

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def rss_kib(self) -> int:
        """Resident memory, in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 90) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()  # a server that does not end must not outlive its test
            self.process.wait()
            raise


@dataclass
class Installation:
    """State and keys in `directory`, resources under an instance label that nobody else has."""

    directory: Path
    instance: str = field(default_factory=lambda: f"test-{secrets.token_hex(4)}")
    subnet: str = field(default_factory=some_subnet)
    """Of its bridge: Docker itself has addresses for about thirty."""

    extra_env: dict[str, str] = field(default_factory=dict)
    _userhashes: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "ROOTBLOOD_STATE_DIR": str(self.directory / "state"),
            "ROOTBLOOD_KEYS_DIR": str(self.directory / "keys"),
            "ROOTBLOOD_ENGINE__INSTANCE": self.instance,
            "ROOTBLOOD_ENGINE__SUBNET": self.subnet,
            "ROOTBLOOD_SSH__PORT": "0",
            "ROOTBLOOD_WEB__PORT": "0",
            "ROOTBLOOD_SERVER__DRAIN_S": "5",  # of what tests leave open
            **self.extra_env,
        }

    def cli(
        self, *arguments: str, stdin: str = "", check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `rootblood ...` as an operator does; see `tests.e2e.forked` for how it is started."""
        done = run_rootblood(
            arguments,
            env={**self.env, **(env or {})},
            directory=self.directory,
            stdin=stdin,
            timeout_s=CLIENT_TIMEOUT_S,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def cli_json(self, *arguments: str) -> Any:
        """Run a command with `--json` and return what it printed."""
        return json.loads(self.cli(*arguments, "--json").stdout)

    def start(self, sockets: Mapping[str, socket.socket] | None = None, /, **extra_env: str) -> Server:
        """Start a server and wait for its ready line; `sockets` are handed to it, as systemd does."""
        argv = [sys.executable, "-m", "rootblood", "serve"]
        handed = [made.fileno() for made in (sockets or {}).values()]
        if sockets:
            # The process's own ID is only known in it, and the sockets are to be 3 and 4.
            redirections = " ".join(f"{number}<&{each}" for number, each in enumerate(handed, 3))
            argv = ["bash", "-c", f'exec env LISTEN_PID=$$ "$@" {redirections}', "bash", *argv]
            extra_env |= {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": ":".join(sockets)}
        log_file = self.directory / f"server-{secrets.token_hex(4)}.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                argv,
                env={**self.env, **extra_env},
                cwd=self.directory,
                pass_fds=handed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert process.stdout is not None
        ready = None
        try:
            line = process.stdout.readline().decode()
            ready = _READY.match(line)
        finally:
            if ready is None:  # or the test's time is up
                process.kill()
                process.wait()
                process.stdout.close()
        assert ready is not None, f"no ready line but {line!r}; log: {log_file.read_text()}"
        return Server(process, int(ready["port"]), ready["web"], log_file, ready["metrics"])

    @contextmanager
    def serving(self, **extra_env: str) -> Iterator[Server]:
        """A server for the length of a block; it must end with status 0 unless the test ended it."""
        server = self.start(**extra_env)
        assert server.process.stdout is not None
        with server.process.stdout:
            try:
                yield server
            finally:
                ended_by_test = server.process.poll() is not None
                status = server.stop()
        assert ended_by_test or status == 0, server.log

    def userhash(self, name: str) -> str:
        """The account's userhash, which stays the same."""
        if name not in self._userhashes:
            self._userhashes |= {row["name"]: row["userhash"] for row in self.cli_json("user", "list")}
        return self._userhashes[name]

    def containers(self) -> list[str]:
        """Names of all of this installation's containers, by Docker's own word."""
        with docker_api() as api:
            rows = api.containers(all=True, filters={"label": f"rootblood.instance={self.instance}"})
            return sorted(row["Names"][0].removeprefix("/") for row in rows)

    def environments(self) -> list[str]:
        """As `containers`, without helpers: Docker takes a moment to remove one that has ended."""
        return [name for name in self.containers() if name.startswith("rb_")]

    def destroy(self) -> None:
        """Remove every container, volume and network of this installation, and its names of images."""
        label = {"label": f"rootblood.instance={self.instance}"}
        with docker_api() as api:
            for row in api.containers(all=True, filters=label):
                _remove(api.remove_container, row["Id"], force=True)
            for volume in api.volumes(filters=label)["Volumes"] or []:
                _remove(api.remove_volume, volume["Name"], force=True)
            for network in api.networks(filters=label):
                _remove(api.remove_network, network["Id"])
            for image in api.images(filters={"reference": f"rootblood-*:{self.instance}.*"}):
                for tag in image["RepoTags"]:
                    if tag.partition(":")[2].startswith(f"{self.instance}."):
                        api.remove_image(tag)


def _remove(remove: Callable[..., object], name: str, **options: bool) -> None:
    """Remove what somebody else may just be removing, or letting go of: a killed server's last call."""

    def is_gone() -> bool:
        try:
            remove(name, **options)
        except NotFound:
            return True
        except APIError as error:
            if error.status_code != HTTPStatus.CONFLICT:
                raise
            return False
        return True

    wait_until(is_gone, what=f"the removal of {name}")


@contextmanager
def bare(directory: Path, **extra_env: str) -> Iterator[Installation]:
    """An installation that is not set up; what it comes to have on the engine is removed at the end."""
    made = Installation(directory, extra_env=extra_env)
    try:
        yield made
    finally:
        made.destroy()


@contextmanager
def docker_api() -> Iterator[docker.APIClient]:
    """A Docker client of the test's own, to look at what the server did."""
    api = docker.APIClient()
    try:
        yield api
    finally:
        api.close()


def ask(shell: subprocess.Popen[bytes], line: bytes) -> bytes:
    """Say a line to what runs there, and return the line it answers."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(line)
    shell.stdin.flush()
    return shell.stdout.readline()


@dataclass
class Client:
    """OpenSSH's clients, as one user with one key, with no configuration of the machine's."""

    directory: Path
    name: str
    port: int
    key: Path | None

    @property
    def target(self) -> str:
        return f"{self.name}@127.0.0.1"

    @property
    def options(self) -> list[str]:
        identity = (
            ["-i", str(self.key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
            if self.key is not None
            else ["-o", "PubkeyAuthentication=no"]
        )
        return [
            "-F",
            "none",
            "-o",
            f"UserKnownHostsFile={self.directory / 'known_hosts'}",
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            "IdentityAgent=none",
            "-o",
            "LogLevel=ERROR",
            *identity,
        ]

    @property
    def remote_shell(self) -> str:
        """For `rsync -e` and GIT_SSH_COMMAND."""
        return " ".join(["ssh", *self.options, "-p", str(self.port)])

    def argv(self, *command: str | bytes, options: Sequence[str] = ()) -> list[str | bytes]:
        return ["ssh", *options, *self.options, "-p", str(self.port), self.target, *command]

    def run(
        self,
        *command: str | bytes,
        stdin: bytes = b"",
        options: Sequence[str] = (),
        timeout_s: float = CLIENT_TIMEOUT_S,
    ) -> subprocess.CompletedProcess[bytes]:
        """`ssh host command` with a pipe on each side."""
        return subprocess.run(
            self.argv(*command, options=options),
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )

    def output(self, *command: str | bytes, stdin: bytes = b"", options: Sequence[str] = ()) -> str:
        """What a command that must succeed prints."""
        done = self.run(*command, stdin=stdin, options=options)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    def sftp(self, *lines: str) -> str:
        """Run lines of an sftp batch that must succeed; what it printed, without its echo of them."""
        done = subprocess.run(
            ["sftp", "-q", "-b", "-", *self.options, "-P", str(self.port), self.target],
            input="\n".join(lines),
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return "".join(
            line for line in done.stdout.splitlines(keepends=True) if not line.startswith("sftp> ")
        )

    @contextmanager
    def open(self, *command: str | bytes, options: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """A client that stays open for the length of a block."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with running(self.argv(*command, options=options), **pipes) as process:
            yield process
