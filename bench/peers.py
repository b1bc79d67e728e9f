"""Who is compared: RootBlood, a bare sshd, and an sshd that forces `docker exec` into the same container.

The two sshds log in to a throw-away user of this machine, whose shell is as plain as the account's own.
"""

import getpass
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import make_installation
from tests.e2e.installation import Client, Installation, Server, free_port, wait_until

USER = "rootblood-bench"

_SSHD_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile {directory}/{name}.pid
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
MaxStartups 200
Subsystem sftp /usr/lib/openssh/sftp-server
{extra}
"""

_DOCKER_EXEC = """#!/bin/sh
case $SSH_ORIGINAL_COMMAND in
/usr/lib/openssh/sftp-server) exec docker exec -i -w {home} {container} /usr/lib/openssh/sftp-server ;;
*) exec docker exec -i -w {home} {container} /bin/bash -c "$SSH_ORIGINAL_COMMAND" ;;
esac
"""


@dataclass
class Peers:
    """All three, up and warm."""

    installation: Installation
    server: Server
    rootblood: Client
    bare_sshd: Client
    docker_exec: Client
    container: str


@contextmanager
def peers() -> Iterator[Peers]:
    """Start all three, and leave nothing behind."""
    if getpass.getuser() != "root":
        raise SystemExit("bench: run it as root: it starts sshds and makes a user for them")
    with tempfile.TemporaryDirectory(prefix="rootblood-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with make_installation(directory) as installation:
            user = ["--no-create-home", "--home-dir", "/", "--shell", "/bin/bash", "--password", "*"]
            subprocess.run(["useradd", *user, "--groups", "docker", USER], check=True)
            try:
                with installation.serving() as server:
                    alice = Client(directory, "alice", server.port, directory / "alice_key")
                    alice.output("truncate -s 1000000000 big")
                    container = installation.containers()[0]
                    home = alice.output("printf %s $HOME")
                    with (
                        _sshd(directory, "bare", "") as bare,
                        _sshd(
                            directory, "exec", f"ForceCommand {_force_script(directory, container, home)}"
                        ) as forced,
                    ):
                        yield Peers(installation, server, alice, bare, forced, container)
            finally:
                subprocess.run(["userdel", USER], check=True)


def _force_script(directory: Path, container: str, home: str) -> Path:
    script = directory / "docker-exec"
    script.write_text(_DOCKER_EXEC.format(container=container, home=home))
    script.chmod(0o755)
    return script


@contextmanager
def _sshd(directory: Path, name: str, extra: str) -> Iterator[Client]:
    host_key = directory / "host_key"
    if not host_key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)], check=True)
        shutil.copy(directory / "alice_key.pub", directory / "authorized_keys")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    config = directory / f"{name}.conf"
    config.write_text(_SSHD_CONFIG.format(port=port, directory=directory, name=name, extra=extra))
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], stderr=log)
    client = Client(directory, USER, port, directory / "alice_key")
    try:
        wait_until(lambda: client.run("true").returncode == 0, what=f"the {name} sshd answering")
        yield client
    finally:
        process.terminate()
        process.wait()
