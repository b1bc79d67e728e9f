"""Dropbear."""

import subprocess

from typing_extensions import override

from tests.e2e.clients.base import Login
from tests.e2e.clients.program import CommandClient


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
