"""A PostgreSQL of the tests' own: Debian's programs, a directory and a UNIX socket nobody else knows of.

It keeps nothing (no fsync), listens on no port, and ends with the process that started it, however that ends.
PostgreSQL refuses to run as root, so root lends it the user that Debian's package makes.
"""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SUPERUSER = "tests"

_DATABASE = "postgres"
"""The one that initdb makes."""

_GUARDED = "guarded"

START_TIMEOUT_S = 60

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "100",
}


def _programs() -> Path:
    """Where initdb and postgres are; an error, as without them the tests would show nothing."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        raise RuntimeError("there is no PostgreSQL to test with: run scripts/test-tools, as root")
    return found[-1].parent


def _as_its_user() -> list[str]:
    """What goes before a command that must not run as root; it also ends with this process."""
    command = ["setpriv", "--pdeathsig", "QUIT"]
    if os.geteuid() == 0:
        command += ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    return command


@dataclass
class Cluster:
    """A running PostgreSQL."""

    directory: Path
    """Its socket is here."""

    programs: Path
    process: "subprocess.Popen[bytes]"
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def create(self) -> str:
        """Make a schema, and a role that sees nothing else, and return their name, for `url`.

        A database would take three hundred files, and a second to be made and deleted.
        """
        name = f"test_{next(self._numbers)}"
        self.sql(
            f"CREATE ROLE {name} LOGIN; CREATE SCHEMA AUTHORIZATION {name};"
            f" ALTER ROLE {name} SET search_path = {name}"
        )
        return name

    def url(self, name: str, password: str = "") -> str:
        """For `database.url`."""
        secret = f":{password}" if password else ""
        return f"postgresql+asyncpg://{name}{secret}@/{_DATABASE}?host={self.directory}"

    def guard(self, name: str, password: str) -> None:
        """Let nobody use the database `name` without this password, which has no quotes."""
        self.sql(f"ALTER ROLE {name} PASSWORD '{password}'; GRANT {_GUARDED} TO {name}")

    def sql(self, statement: str, name: str = SUPERUSER) -> str:
        """Run statements, as the superuser or as who uses the database `name`, and return what they give."""
        return subprocess.run(
            [
                self.programs / "psql",
                *("-h", self.directory, "-U", name, "-d", _DATABASE),
                *("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def stop(self) -> None:
        """End it at once, with all its connections."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(START_TIMEOUT_S)

    def kill(self) -> None:
        """Kill it, and return once the processes it leaves behind have noticed."""
        self.process.kill()
        self.process.wait(START_TIMEOUT_S)
        data = self.directory / "data"
        deadline = time.monotonic() + START_TIMEOUT_S
        while any(_works_in(process, data) for process in Path("/proc").glob("[0-9]*")):
            if time.monotonic() > deadline:
                raise RuntimeError("processes of a killed PostgreSQL go on")
            time.sleep(0.05)

    def start(self) -> None:
        """Start it again, on what it kept."""
        self.process = _start(self.programs, self.directory)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster for the length of a block. Only members of `guarded` have to give a password."""
    programs = _programs()
    directory = Path(tempfile.mkdtemp(prefix="rootblood-postgresql-"))  # short: a socket's path is limited
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(directory, owner.pw_uid, owner.pw_gid)
        _run(
            [
                programs / "initdb",
                *("-D", directory / "data", "-U", SUPERUSER, "-E", "UTF8", "--locale", "C.UTF-8"),
                *("--auth", "trust", "--no-sync", "--no-instructions"),
            ],
            directory,
        )
        (directory / "data" / "pg_hba.conf").write_text(
            f"local all +{_GUARDED} scram-sha-256\nlocal all all trust\n"
        )
        cluster = Cluster(directory, programs, _start(programs, directory))
        try:
            cluster.sql(f"CREATE ROLE {_GUARDED}")
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(directory)


def _works_in(process: Path, directory: Path) -> bool:
    try:
        return (process / "cwd").readlink() == directory
    except OSError:  # it is gone, or another user's
        return False


def _start(programs: Path, directory: Path) -> "subprocess.Popen[bytes]":
    settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            [
                *_as_its_user(),
                str(programs / "postgres"),
                *("-D", str(directory / "data"), "-k", str(directory)),
                *settings,
            ],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the tests, which then stop it themselves
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while subprocess.run([programs / "pg_isready", "-q", "-h", directory], check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise RuntimeError(f"PostgreSQL did not start: {(directory / 'log').read_text()}")
        time.sleep(0.05)
    return process


def _run(command: Sequence[str | Path], directory: Path) -> None:
    done = subprocess.run(
        [*_as_its_user(), *command], cwd=directory, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr}")
