"""paramiko."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
from typing_extensions import override

from tests.e2e.clients.base import TERMINAL, TIMEOUT_S, Done, Login, RealClient


class Paramiko(RealClient):
    """paramiko, as Ansible and Fabric use it."""

    name = "paramiko"
    copies = ("sftp",)

    @contextmanager
    def connected(self, login: Login) -> Iterator[paramiko.SSHClient]:
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
