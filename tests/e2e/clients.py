"""The SSH clients people have, behind one face, so that the interop matrix asks each the same.

A new client is one class: how it logs in, runs a command, gets a terminal, and which ways it has to copy a
file. Programs that take `[options] user@host [command]` say only how their command lines look.
"""

import asyncio
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import asyncssh
import paramiko
from typing_extensions import override

from rootblood.settings import EnvironmentSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TIMEOUT_S = 60
TERMINAL = "xterm-256color"


@dataclass(frozen=True)
class Login:
    """Who logs in where, and with what.

    Attributes:
        home: the client's home directory: configuration, keys, and the files it copies.
        key: an OpenSSH private key in `home`; None logs in with the password.
        host_key: the server's public key, algorithm and base64.
    """

    name: str
    port: int
    home: Path
    host_key: str
    password: str
    key: Path | None

    @property
    def target(self) -> str:
        return f"{self.name}@127.0.0.1"

    def file(self, name: str, text: str, mode: int = 0o600) -> str:
        """A file in the client's home, for what a client reads from one; its path."""
        path = self.home / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    @property
    def known_hosts(self) -> str:
        """OpenSSH's file, which others read as well."""
        return self.file("known_hosts", f"[127.0.0.1]:{self.port} {self.host_key}\n")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    stdout: bytes
    stderr: bytes


class RealClient(ABC):
    """What the matrix asks of a client; each call is a connection of its own."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Programs it takes."""
    copies: ClassVar[tuple[str, ...]] = ()
    """The ways it has to copy a file."""

    @abstractmethod
    def run(self, login: Login, command: str, stdin: bytes = b"") -> Done:
        """Run a command, `stdin` and then the end of input fed to it."""

    @abstractmethod
    def on_terminal(self, login: Login, command: str, columns: int, rows: int) -> bytes:
        """Run a command on a terminal of that size and return what the terminal got."""

    @abstractmethod
    def put(self, login: Login, way: str, local: Path, remote: str) -> None:
        """Copy a file there."""

    @abstractmethod
    def get(self, login: Login, way: str, remote: str, local: Path) -> None:
        """Copy a file back."""


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


class OpenSSH(CommandClient):
    """OpenSSH as this machine has it."""

    name = "openssh-host"
    needs: ClassVar[tuple[str, ...]] = ("ssh", "scp", "sftp")
    copies = ("scp", "scp-O", "sftp")

    def options(self, login: Login) -> list[str]:
        chosen = {
            "UserKnownHostsFile": login.known_hosts,
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "IdentityFile": str(login.key or "none"),
            "PreferredAuthentications": "publickey" if login.key else "password",
        }
        return ["-F", "none", *(word for name, value in chosen.items() for word in ("-o", f"{name}={value}"))]

    @override
    def environment(self, login: Login) -> dict[str, str]:
        answer = f"#!/bin/sh\necho '{login.password}'\n"
        return {
            **super().environment(login),
            "SSH_ASKPASS": login.file("askpass", answer, 0o700),
            "SSH_ASKPASS_REQUIRE": "force",
        }

    @override
    def shell(self, login: Login, *, terminal: bool = False) -> list[str]:
        return ["ssh", *self.options(login), "-p", str(login.port), "-t" if terminal else "-T"]

    @override
    def copier(self, login: Login, way: str) -> list[str]:
        program = {"scp": ["scp", "-s"], "scp-O": ["scp", "-O"], "sftp": ["sftp", "-b", "-"]}[way]
        return [*program, *self.options(login), "-P", str(login.port)]

    @override
    def put(self, login: Login, way: str, local: Path, remote: str) -> None:
        if way != "sftp":
            super().put(login, way, local, remote)
        else:
            self.succeed(login, [*self.copier(login, way), login.target], f"put {local} {remote}".encode())

    @override
    def get(self, login: Login, way: str, remote: str, local: Path) -> None:
        if way != "sftp":
            super().get(login, way, remote, local)
        else:
            self.succeed(login, [*self.copier(login, way), login.target], f"get {remote} {local}".encode())


class TrixieOpenSSH(OpenSSH):
    """OpenSSH of Debian trixie, out of the environments' image."""

    name = "openssh-trixie"
    needs = ("docker",)

    @override
    def launcher(self, login: Login, *, terminal: bool) -> list[str]:
        run = ["docker", "run", "--rm", "--interactive", "--network", "host", "--user", "0"]
        mount = ["--volume", f"{login.home}:{login.home}", "--workdir", str(login.home)]
        return [*run, *(["--tty"] if terminal else []), *mount, EnvironmentSettings().image]


class PuTTY(CommandClient):
    """PuTTY's plink and pscp."""

    name = "putty"
    needs = ("plink", "pscp", "puttygen")
    copies = ("pscp-scp", "pscp-sftp")

    def options(self, login: Login) -> list[str]:
        return [
            "-batch",
            "-noagent",
            "-hostkey",
            fingerprint(login),
            "-P",
            str(login.port),
            *self.proof(login),
        ]

    def proof(self, login: Login) -> list[str]:
        if login.key is None:
            return ["-pwfile", login.file("password", f"{login.password}\n")]
        converted = login.key.with_suffix(".ppk")
        if not converted.exists():
            subprocess.run(["puttygen", login.key, "-O", "private", "-o", converted], check=True)
        return ["-i", str(converted)]

    @override
    def shell(self, login: Login, *, terminal: bool = False) -> list[str]:
        return ["plink", "-ssh", *self.options(login), "-t" if terminal else "-T"]

    @override
    def copier(self, login: Login, way: str) -> list[str]:
        return ["pscp", "-q", way.removeprefix("pscp"), *self.options(login)]


class Dropbear(CommandClient):
    """Dropbear's dbclient, and the copiers that others lend it."""

    name = "dropbear"
    needs = ("dbclient", "dropbearconvert", "scp", "rsync")
    copies = ("scp-over-dbclient", "rsync-over-dbclient")

    @override
    def environment(self, login: Login) -> dict[str, str]:
        (login.home / ".ssh").mkdir(exist_ok=True)
        login.file(".ssh/known_hosts", f"127.0.0.1 {login.host_key}\n")
        return {**super().environment(login), "DROPBEAR_PASSWORD": login.password}

    @override
    def shell(self, login: Login, *, terminal: bool = False) -> list[str]:
        argv = ["dbclient", "-p", str(login.port), "-t" if terminal else "-T"]
        if login.key is None:
            return argv
        converted = login.key.with_suffix(".dropbear")
        if not converted.exists():
            subprocess.run(
                ["dropbearconvert", "openssh", "dropbear", login.key, converted],
                capture_output=True,
                check=True,
            )
        return [*argv, "-i", str(converted)]

    @override
    def copier(self, login: Login, way: str) -> list[str]:
        words = " ".join(self.shell(login))
        if way == "rsync-over-dbclient":
            return ["rsync", "-e", words]
        # scp adds options of OpenSSH's own, which dbclient names and leaves aside.
        return ["scp", "-S", login.file("dbclient-of-scp", f'#!/bin/sh\nexec {words} "$@"\n', 0o700)]


class Paramiko(RealClient):
    """paramiko, as Ansible and Fabric use it."""

    name = "paramiko"
    copies = ("sftp",)

    @contextmanager
    def connected(self, login: Login) -> "Iterator[paramiko.SSHClient]":
        with paramiko.SSHClient() as client:
            client.load_host_keys(login.known_hosts)
            client.set_missing_host_key_policy(paramiko.RejectPolicy())
            client.connect(
                "127.0.0.1",
                login.port,
                login.name,
                password=None if login.key else login.password,
                key_filename=str(login.key) if login.key else None,
                allow_agent=False,
                look_for_keys=False,
                timeout=TIMEOUT_S,
            )
            yield client

    @override
    def run(self, login: Login, command: str, stdin: bytes = b"") -> Done:
        with self.connected(login) as client:
            to_command, stdout, stderr = client.exec_command(command, timeout=TIMEOUT_S)
            to_command.write(stdin)
            to_command.channel.shutdown_write()
            out, err = stdout.read(), stderr.read()
            return Done(stdout.channel.recv_exit_status(), out, err)

    @override
    def on_terminal(self, login: Login, command: str, columns: int, rows: int) -> bytes:
        with self.connected(login) as client:
            transport = client.get_transport()
            assert transport is not None
            channel = transport.open_session()
            channel.settimeout(TIMEOUT_S)
            channel.get_pty(TERMINAL, columns, rows)
            channel.exec_command(command)
            return channel.makefile("rb").read()

    @override
    def put(self, login: Login, way: str, local: Path, remote: str) -> None:
        with self.connected(login) as client, client.open_sftp() as sftp:
            sftp.put(str(local), remote)

    @override
    def get(self, login: Login, way: str, remote: str, local: Path) -> None:
        with self.connected(login) as client, client.open_sftp() as sftp:
            sftp.get(remote, str(local))


class AsyncSSH(RealClient):
    """asyncssh as a client."""

    name = "asyncssh"
    copies = ("sftp", "scp")

    @asynccontextmanager
    async def connected(self, login: Login) -> "AsyncIterator[asyncssh.SSHClientConnection]":
        async with (
            asyncio.timeout(TIMEOUT_S),
            asyncssh.connect(
                "127.0.0.1",
                login.port,
                username=login.name,
                password=None if login.key else login.password,
                client_keys=[str(login.key)] if login.key else None,
                known_hosts=login.known_hosts,
                agent_path=None,
                config=None,
            ) as connection,
        ):
            yield connection

    @override
    def run(self, login: Login, command: str, stdin: bytes = b"") -> Done:
        async def work() -> Done:
            async with self.connected(login) as connection:
                done = await connection.run(command, input=stdin, encoding=None)
                assert isinstance(done.stdout, bytes)
                assert isinstance(done.stderr, bytes)
                return Done(-1 if done.exit_status is None else done.exit_status, done.stdout, done.stderr)

        return asyncio.run(work())

    @override
    def on_terminal(self, login: Login, command: str, columns: int, rows: int) -> bytes:
        async def work() -> bytes:
            async with self.connected(login) as connection:
                done = await connection.run(
                    command, encoding=None, term_type=TERMINAL, term_size=(columns, rows)
                )
                assert isinstance(done.stdout, bytes)
                return done.stdout

        return asyncio.run(work())

    @override
    def put(self, login: Login, way: str, local: Path, remote: str) -> None:
        async def work() -> None:
            async with self.connected(login) as connection:
                if way == "scp":
                    await asyncssh.scp(str(local), (connection, remote))
                else:
                    async with connection.start_sftp_client() as sftp:
                        await sftp.put(str(local), remote)

        asyncio.run(work())

    @override
    def get(self, login: Login, way: str, remote: str, local: Path) -> None:
        async def work() -> None:
            async with self.connected(login) as connection:
                if way == "scp":
                    await asyncssh.scp((connection, remote), str(local))
                else:
                    async with connection.start_sftp_client() as sftp:
                        await sftp.get(remote, str(local))

        asyncio.run(work())


CLIENTS: tuple[RealClient, ...] = (
    OpenSSH(),
    TrixieOpenSSH(),
    PuTTY(),
    Dropbear(),
    Paramiko(),
    AsyncSSH(),
)


def missing(client: RealClient) -> list[str]:
    """Programs the client takes and this machine does not have."""
    return [program for program in client.needs if shutil.which(program) is None]


def fingerprint(login: Login) -> str:
    """The server's key as `SHA256:...`."""
    return asyncssh.import_public_key(login.host_key).get_fingerprint()


def on_own_terminal(argv: Sequence[str]) -> bytes:
    """Run a program on a terminal of its own and return what it wrote there."""
    ours, theirs = os.openpty()
    output = bytearray()
    with os.fdopen(ours, "rb", buffering=0) as master:
        process = subprocess.Popen(
            ["timeout", str(TIMEOUT_S), *argv],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        with process, suppress(OSError):  # Linux ends a terminal nobody holds any more with EIO
            while data := master.read(65536):
                output += data
    return bytes(output)
