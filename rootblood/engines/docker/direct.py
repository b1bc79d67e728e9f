"""A socket straight into a container, past Docker's own copying of streams.

What a container exec writes passes a FIFO, the shim, dockerd and an HTTP connection before it is here, and
each of them copies it. Where Docker runs on this machine, the exec connects to a UNIX socket that this server
listens on instead, and its stdin and stdout are that connection.

Each account has a directory of its own for such sockets, mounted read-only into its container and no other.
This side never follows a path that a container could have written: it listens, under a name made for this one
stream, and takes one connection. Whoever connects is inside that account's environment, which is all that is
known of the far end of an exec as well.

Where the socket cannot be reached (a container made without the directory, a Docker that sees other files),
the same exec goes on over its own stdin and stdout; it says so with one byte before anything else.
"""

import asyncio
import os
import secrets
import select
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from typing_extensions import override

from rootblood.engines.docker.frames import DelegatingProtocol, DemultiplexingProtocol, attach

SOCKET_DIRECTORY = "/usr/lib/rootblood/sockets"
"""Where a container has its account's sockets; Docker makes the mount point."""

# Perl is in every Debian (Essential: yes) and starts in two milliseconds; at the exec it closes LINK, not the
# copies. 1 and 1 are AF_UNIX and SOCK_STREAM, and the address is a struct sockaddr_un.
_CONNECT = """
my ($path, @program) = @ARGV;
if (socket(LINK, 1, 1, 0) && connect(LINK, pack('Sa*x', 1, $path))) {
    open(STDIN, '<&', LINK) && open(STDOUT, '>&', LINK) or exit 126;
} else {
    syswrite(STDOUT, '-');
}
exec { $program[0] } @program;
exit 127;
"""
_INDIRECT = b"-"
_READ_BYTES = 64 * 1024


def connecting(name: str, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` over the socket `name` of its container, or else over its own stdio."""
    return ["/usr/bin/perl", "-e", _CONNECT, f"{SOCKET_DIRECTORY}/{name}", *argv]


class Listener:
    """A listening socket for one connection, until it is closed. Make it with `SocketDirectories.listen`."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._directory = directory
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)  # noqa: FBT003 - its only name
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            # A socket's path has at most 107 bytes; the directory's own may be longer.
            self._socket.bind(f"/proc/self/fd/{descriptor}/{name}")
            (directory / name).chmod(0o666)  # the account's UID is not this server's
            self._socket.listen(1)
        except OSError:
            self.close()
            raise
        finally:
            os.close(descriptor)

    def accept(self, execution: "Execution", timeout_s: float) -> socket.socket | None:
        """Wait for the connection; None when the program says, or by its end shows, that none will come.

        Raises:
            TimeoutError: neither happened in time.
        """
        ready = select.poll()
        ready.register(self._socket, select.POLLIN)
        ready.register(execution.socket, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while True:
            # First of all: a program may connect, do its work and end before this thread has its turn.
            with suppress(BlockingIOError):
                connected, _ = self._socket.accept()
                connected.setblocking(False)  # noqa: FBT003
                return connected
            if execution.spoke:
                return None
            if not ready.poll(max(0, deadline - time.monotonic()) * 1000):
                raise TimeoutError("the program neither connected nor answered")
            execution.read()

    def close(self) -> None:
        """Listen no more."""
        with suppress(FileNotFoundError):
            (self._directory / self.name).unlink()
        self._socket.close()


class SocketDirectories:
    """The accounts' directories, under one that nobody but this server may enter. All of it blocks.

    Args:
        root: an absolute path, made where it is missing. What a killed server left in it is harmless.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, userhash: str) -> Path:
        """The account's directory, made where it is missing."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = self.root / userhash
        directory.mkdir(exist_ok=True)
        directory.chmod(0o711)  # to be passed through by the account's UID, not to be listed
        return directory

    def forget(self, userhash: str) -> None:
        """Delete the account's directory; nothing happens where there is none."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.root / userhash)

    def listen(self, userhash: str) -> Listener:
        """Listen for one connection from the account's container."""
        return Listener(self.of(userhash), secrets.token_hex(16))


class Execution:
    """An exec's own connection, as long as it is not known whether it is the stream.

    Args:
        sock: as `take_socket` gives it, non-blocking.
        already_read: what was read from it before.
        on_stderr: gets the program's stderr, piece by piece.
    """

    def __init__(self, sock: socket.socket, already_read: bytes, on_stderr: Callable[[bytes], None]) -> None:
        self.socket = sock
        self.spoke = False
        """Whether the program has written to its own stdout, or ended."""

        self._said = _Said()
        self._frames = DemultiplexingProtocol(self._said, on_stderr)
        self._take(already_read)

    def read(self) -> None:
        """Take what there is, which may be nothing."""
        with suppress(BlockingIOError):
            data = self.socket.recv(_READ_BYTES)
            self._take(data)
            self.spoke |= not data

    def _take(self, data: bytes) -> None:
        self._frames.data_received(data)
        self.spoke |= bool(self._said.data)

    async def connect(self, inner: asyncio.Protocol, connected: socket.socket | None) -> asyncio.Transport:
        """Connect `inner` to the program: over `connected`, or over this very connection."""
        if connected is None:
            self._frames.inner = inner
            own = await attach(self._frames, self.socket)
            if self._said.data[len(_INDIRECT) :]:
                inner.data_received(self._said.data[len(_INDIRECT) :])
            return own
        own = await attach(self._frames, self.socket)
        direct, _ = await asyncio.get_running_loop().create_unix_connection(
            lambda: _Direct(inner, own), sock=connected
        )
        return direct


class _Said(asyncio.Protocol):
    """What a program wrote to its own stdout."""

    def __init__(self) -> None:
        self.data = b""

    @override
    def data_received(self, data: bytes) -> None:
        self.data += data


class _Direct(DelegatingProtocol):
    """The stream over the socket. The exec's own connection, which carries its stderr, ends with it."""

    def __init__(self, inner: asyncio.Protocol, execution: asyncio.Transport) -> None:
        super().__init__(inner)
        self._execution = execution

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._execution.close()
        super().connection_lost(exc)
