"""The sockets that this server listens on: opened here, or handed over by whoever started it.

A new server may accept before an old one stops, in two ways. The sockets are handed to both of them, by the
protocol of sd_listen_fds(3): they outlive either, and what is in their queue waits for whoever accepts next.
Or each opens its own on the same address, with SO_REUSEPORT. The kernel then spreads new connections over
them, and resets those that are in the queue of one, or on their way there, when it is closed. So the old one
has what is new go to the other socket first, and accepts what is left.
"""

import asyncio
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Mapping, MutableMapping, Sequence

import structlog

from rootblood.errors import ConfigurationError

_log = structlog.stdlib.get_logger(__name__)

_FIRST_FD = 3
"""SD_LISTEN_FDS_START."""

_ARRIVING_S = 1.0
"""How long a connection may take from its SYN to the queue: a round trip, and one more try."""

_SO_ATTACH_REUSEPORT_CBPF = 51
"""socket(7); Python has no name for it."""

_RETURN_CONSTANT = 0x06
"""BPF_RET | BPF_K of linux/filter.h."""

_YOUNGER = 1
"""Index of the socket that was opened second, among those of one address."""


class Listener:
    """One address to listen on.

    Args:
        host: address or name; a name may have several addresses.
        port: 0 lets the system choose.
        reuse_port: whether another server may listen on it, too.
        handed: sockets to listen on instead of the address; none opens those of the address.
    """

    def __init__(
        self, host: str, port: int, *, reuse_port: bool = False, handed: Sequence[socket.socket] = ()
    ) -> None:
        self._host = host
        self._port = port
        self._reuse_port = reuse_port
        self._handed = handed
        self._sockets: Sequence[socket.socket] = handed

    async def open(self) -> Sequence[socket.socket]:
        """The sockets, bound; whoever begins to serve lets them listen.

        Raises:
            OSError: the address cannot be listened on.
        """
        if not self._handed:
            found = await asyncio.get_running_loop().getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            opened: list[socket.socket] = []
            self._sockets = opened
            for family, _, _, _, address in dict.fromkeys(found):
                # Where the system chooses the port, it is to be the same for all.
                port = opened[0].getsockname()[1] if opened else self._port
                try:
                    opened.append(self._bound(family, (address[0], port, *address[2:])))
                except OSError as error:
                    if error.errno != errno.EAFNOSUPPORT:  # a kernel without IPv6
                        raise
            if not opened:
                raise OSError(errno.EAFNOSUPPORT, f"{self._host}: this machine has no such addresses")
        return self._sockets

    @property
    def address(self) -> str:
        """`HOST:PORT` of the open sockets, as it is written in a URL."""
        host, port = self._sockets[0].getsockname()[:2]
        if not self._handed:
            host = self._host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def retire(self) -> None:
        """Have new connections go to another server, if there is one, while those under way still arrive.

        When it returns, closing the sockets loses no connection. It takes a second where the address is
        shared, and no time elsewhere.
        """
        if self._handed:
            for each in self._handed:
                asyncio.get_running_loop().remove_reader(each)
        elif self._reuse_port:
            for each in self._sockets:
                _divert(each)
            await asyncio.sleep(_ARRIVING_S)
        # asyncio makes a transport of an accepted connection two turns later, while the server is open.
        for _ in range(3):
            await asyncio.sleep(0)

    def close(self) -> None:
        """Close the sockets, after what serves on them."""
        for each in self._sockets:
            each.close()

    def _bound(self, family: int, address: tuple[str | int, ...]) -> socket.socket:
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setblocking(False)  # noqa: FBT003 - its only name
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._reuse_port:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind(address)
        except OSError as error:
            made.close()
            raise OSError(error.errno, f"{self._host}:{self._port}: {str(error.strerror).lower()}") from error
        return made


def handed_sockets(environ: MutableMapping[str, str] = os.environ) -> Mapping[str, Sequence[socket.socket]]:
    """The sockets that whoever started this process hands to it, by name; see sd_listen_fds(3).

    What says so is taken out of `environ`, so that no child takes them for its own.

    Raises:
        ConfigurationError: one of them is not for listening on TCP.
    """
    told = {name: environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES")}
    if told["PID"] != str(os.getpid()):
        return {}
    names = told["FDNAMES"].split(":")
    handed: dict[str, list[socket.socket]] = {}
    for number in range(int(told["FDS"] or 0)):
        name = names[number] if number < len(names) else ""
        handed.setdefault(name, []).append(_taken(_FIRST_FD + number, name))
    return handed


def _taken(descriptor: int, name: str) -> socket.socket:
    try:
        taken = socket.socket(fileno=descriptor)
        listens = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ConfigurationError(f"the file descriptor handed over as {name!r} is no socket") from error
    if not listens or taken.family not in {socket.AF_INET, socket.AF_INET6}:
        taken.close()
        raise ConfigurationError(f"the socket handed over as {name!r} does not listen on TCP: ListenStream=")
    taken.setblocking(False)  # noqa: FBT003
    taken.set_inheritable(False)
    return taken


def _divert(sock: socket.socket) -> None:
    """Have new connections to an address that is shared go to the younger of its two sockets.

    The program is the address's, not the socket's: where there is one socket alone, or is again, the kernel
    finds no younger one and takes that. A kernel that takes no such program (Linux does from 4.5 on) leaves a
    chance that connections are reset.
    """
    code = struct.pack("HBBI", _RETURN_CONSTANT, 0, 0, _YOUNGER)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", 1, ctypes.addressof(held))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)
    except OSError as error:
        _log.warning("connections_not_diverted", cause=str(error))
