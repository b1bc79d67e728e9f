"""OpenSSH, of this machine and of Debian trixie."""

from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from rootblood.settings import EnvironmentSettings
from tests.e2e.clients.base import Login
from tests.e2e.clients.program import CommandClient


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
