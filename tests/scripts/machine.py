"""A machine that systemd runs, for what only happens on one: this one's files and kernel, all else its own.

It is made of namespaces, as a container is, by `boot`: it has its own processes, mounts, network, control
groups and name. Docker is the one that the tests use, by its socket. Its network is its loopback alone, so
addresses are the defaults. It dies with this process, however that ends.
"""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from typing_extensions import override

from tests.e2e.installation import Client, wait_until

CHECKOUT = Path(__file__).parents[2]
PLACE = "/opt/rootblood"
"""Of the checkout there."""

_SYSTEMD = Path("/lib/systemd/systemd")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc")
_REFUSED = re.compile(
    "^(unshare|mount|pivot_root): |permission denied|not permitted", re.IGNORECASE | re.MULTILINE
)
"""What is said where the kernel, or whoever runs it, lets nobody make a machine."""

_HOMES = re.compile("/(home|root)/")
_BOOT_S = 120
_COMMAND_S = 240


@dataclass(frozen=True)
class Machine:
    """One that runs."""

    pid: int
    """Of its first process, as it is counted here."""

    env: Mapping[str, str]
    """For whoever works on it."""

    def run(self, *argv: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on it, as root."""
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", *_NAMESPACES, "--cgroup", *argv],
            env={"PATH": _SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8", **self.env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}\n{done.stderr}"
        return done

    def output(self, *argv: str) -> str:
        """What a command that must succeed prints, without its last newline."""
        return self.run(*argv).stdout.removesuffix("\n")

    def journal(self, unit: str) -> str:
        """What a unit has said, and systemd of it."""
        self.run("journalctl", "--sync")
        return self.output("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")


@dataclass
class ClientThere(Client):
    """A client on that machine's network, with files of this one."""

    machine: Machine

    @override
    def argv(self, *command: str | bytes, options: Sequence[str] = ()) -> list[str | bytes]:
        network = f"--net=/proc/{self.machine.pid}/ns/net"
        return ["nsenter", network, *super().argv(*command, options=options)]


@contextmanager
def booted(directory: Path, env: Mapping[str, str]) -> Iterator[Machine]:
    """A machine for the length of a block, in an empty directory; skips the test where none can be."""
    if not _SYSTEMD.exists():
        pytest.skip(f"there is no {_SYSTEMD}: apt-get install systemd")
    cgroup = f"rootblood-test-{secrets.token_hex(4)}"
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "unshare", *_NAMESPACES, "--fork", "--kill-child",
         str(Path(__file__).with_name("boot")), str(directory), str(CHECKOUT), _python(), cgroup],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        if not line:
            said = process.stderr.read()
            if _REFUSED.search(said):
                pytest.skip(f"no machine can be made here: {said.strip()}")
            raise AssertionError(said)
        machine = Machine(int(line), env)
        try:
            wait_until(lambda: _is_up(machine, process), timeout_s=_BOOT_S, what="basic.target")
            yield machine
        finally:
            # All its processes end with the first one, and its mounts with them.
            with suppress(ProcessLookupError):
                os.kill(machine.pid, signal.SIGKILL)
            process.wait()
            # The last of them may be on its way out for a moment yet.
            wait_until(lambda: _remove(cgroup), what="the control group's removal")
    finally:
        process.kill()
        process.communicate()


def _is_up(machine: Machine, process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, process.communicate()
    return machine.run("systemctl", "is-active", "basic.target", check=False).returncode == 0


def _python() -> str:
    """The Python of .venv, or one like it that a service can see."""
    own = Path(sys.executable).resolve()
    if not _HOMES.match(str(own)):
        return str(own)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = shutil.which(name, path=_SYSTEM_PATH)
    if found is None:
        pytest.skip(f"a service cannot see {own}, and there is no {name} of the system's")
    return found


def _remove(cgroup: str) -> bool:
    script = """
    mount -t cgroup2 cgroup2 /mnt
    [ ! -d "/mnt/$1" ] || find "/mnt/$1" -depth -type d -exec rmdir {} +
    """
    return (
        subprocess.run(["unshare", "--mount", "sh", "-ec", script, "sh", cgroup], check=False).returncode == 0
    )
