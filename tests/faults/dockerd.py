"""A Docker Engine of the tests' own, to be stopped, killed, frozen and started again.

Its data, its containerd and its network namespace are its own, so the engine that everybody else uses hears
nothing of it, and neither its bridges nor its rules are this machine's. Only root can run it.
"""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
import requests

from rootblood.engines.docker.connection import ClosingClient
from rootblood.settings import EnvironmentSettings
from tests.e2e.installation import wait_until

START_TIMEOUT_S = 60
IMAGE = os.environ.get("ROOTBLOOD_ENVIRONMENT__IMAGE", EnvironmentSettings().image)


@dataclass
class PrivateDocker:
    """A dockerd in `directory`, which runs between `start` and `end`."""

    directory: Path
    """Its path is short, as there are sockets below it."""

    name: str
    """Of its network namespace, and of its namespaces in containerd."""

    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"unix://{self.directory}/docker.sock"

    def api(self) -> docker.APIClient:
        """A client, to be closed."""
        return ClosingClient(self.url, timeout_s=30, connections=1)

    def start(self, *options: str) -> None:
        """Start it on what it kept, and return once it answers. Nothing happens where it runs."""
        if self.process is not None:
            return
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    # Not `ip netns exec`, which mounts a /sys without control groups.
                    *("nsenter", f"--net=/run/netns/{self.name}"),
                    *("dockerd", "--host", self.url),
                    *("--data-root", self.directory / "data", "--exec-root", self.directory / "run"),
                    *("--pidfile", self.directory / "pid"),
                    *("--containerd-namespace", self.name),
                    *("--containerd-plugins-namespace", f"{self.name}-plugins"),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then end it themselves
            )
        wait_until(self._answers, timeout_s=START_TIMEOUT_S, what="a Docker Engine that answers")

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it with that signal; by SIGTERM it stops its containers first, by SIGKILL nothing."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(START_TIMEOUT_S)
            self.process = None
        # A containerd dies with its dockerd; one that is just dying would be taken for one that lives.
        pid_file = self.directory / "run" / "containerd" / "containerd.pid"
        if pid_file.exists():
            containerd = Path("/proc", pid_file.read_text(), "cmdline")
            wait_until(lambda: not containerd.exists() or not containerd.read_bytes(), what="its end")
            pid_file.unlink()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections and answers none, for the length of a block."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def containers(self, userhash: str) -> list[str]:
        """The names of an account's containers, running or not."""
        with closing(self.api()) as api:
            rows = api.containers(all=True, filters={"label": f"rootblood.userhash={userhash}"})
        return [row["Names"][0].removeprefix("/") for row in rows]

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()[-2000:]
        try:
            with closing(self.api()) as api:
                return bool(api.ping())
        except (docker.errors.DockerException, requests.RequestException):
            return False


@contextmanager
def private_docker() -> Iterator[PrivateDocker]:
    """One that runs and has the image, for the length of a block."""
    if os.geteuid() != 0 or not (shutil.which("dockerd") and shutil.which("nsenter")):
        pytest.skip("a Docker Engine of the tests' own needs root, dockerd and nsenter")
    made = PrivateDocker(Path(tempfile.mkdtemp(prefix="rb-docker-")), f"rbd{secrets.token_hex(4)}")
    if subprocess.run(["ip", "netns", "add", made.name], check=False, timeout=10).returncode:
        made.directory.rmdir()
        pytest.skip("this machine makes no network namespaces")
    try:
        made.start()
        with subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE) as saved:
            load = ["docker", "--host", made.url, "load", "--quiet"]
            subprocess.run(load, stdin=saved.stdout, check=True, timeout=120, stdout=subprocess.DEVNULL)
        yield made
    finally:
        _remove(made)


def _remove(made: PrivateDocker) -> None:
    """Leave nothing, in whatever state a test has left it."""
    made.start()  # it ends what a killed one left running
    with closing(made.api()) as api:
        for row in api.containers(all=True):
            api.remove_container(row["Id"], force=True)
    made.end()
    # Of a container that it was killed while it started, a Docker that was started again knows nothing.
    for shim in Path("/proc").glob("[0-9]*"):
        if f"\0-namespace\0{made.name}\0" in _command_line(shim):
            for pid in [*(shim / "task" / shim.name / "children").read_text().split(), shim.name]:
                os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", made.name], check=True, timeout=10)
    for mount in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        if mount.split()[1].startswith(f"{made.directory}/"):
            subprocess.run(["umount", mount.split()[1]], check=True, timeout=10)
    shutil.rmtree(made.directory)


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:  # it has just ended
        return ""
