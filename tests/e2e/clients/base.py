"""What the matrix asks of a client, and what a client needs to log in."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

TIMEOUT_S = 180
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
