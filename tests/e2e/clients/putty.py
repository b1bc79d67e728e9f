"""PuTTY."""

import subprocess

import asyncssh
from typing_extensions import override

from tests.e2e.clients.base import Login
from tests.e2e.clients.program import CommandClient


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


def fingerprint(login: Login) -> str:
    """The server's key as `SHA256:...`."""
    return asyncssh.import_public_key(login.host_key).get_fingerprint()
