"""SFTP on the export drive: version 3 of the protocol (draft-ietf-secsh-filexfer-02), as far as it reads.

asyncssh has a server of its own, whose every default is an operation on this machine's file system. So what
is taken from there are the formats alone, and each request that is not on the list below is refused.

Requests are answered one after the other, in the order they came, and none is looked at before the client has
taken the answers to those before: clients that ask for much ahead get it in order, and nothing piles up.
"""

import asyncio
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import asyncssh
from asyncssh import constants as codes
from asyncssh.packet import Byte, PacketDecodeError, SSHPacket, String, UInt32, UInt64

from rootblood.domain.accounts import Account
from rootblood.errors import ConflictError, NotFoundError, RootBloodError
from rootblood.ssh.bytestream import ByteStream
from rootblood.ssh.drive import Drive, Entry
from rootblood.ssh.drive_files import OpenFile
from rootblood.ssh.failures import explanation

_VERSION = 3
_MAX_PACKET_BYTES = 256 * 1024
"""The largest that OpenSSH's own server takes and sends."""

_MAX_READ_BYTES = _MAX_PACKET_BYTES - 1024
_MAX_HANDLES = 32
_ROOT = "/"
_READ_ONLY = "the export drive is read-only"
_WRITING = codes.FXF_WRITE | codes.FXF_APPEND | codes.FXF_CREAT | codes.FXF_TRUNC | codes.FXF_EXCL
_LIMITS = b"limits@openssh.com"
_REFUSED = frozenset(
    {
        codes.FXP_WRITE,
        codes.FXP_SETSTAT,
        codes.FXP_FSETSTAT,
        codes.FXP_REMOVE,
        codes.FXP_MKDIR,
        codes.FXP_RMDIR,
        codes.FXP_RENAME,
        codes.FXP_SYMLINK,
        codes.FXP_LINK,
    }
)
_MAX_TOLD = 20
"""Lines on stderr, which some clients never read."""

Answer = tuple[int, bytes]
"""The type of a reply, and what follows the request's number in it."""


class SFTPServer:
    """Serves one client.

    Args:
        drive: what there is.
        account: who asks.
        stream: the client's channel.
    """

    def __init__(self, drive: Drive, account: Account, stream: ByteStream) -> None:
        self._drive = drive
        self._account = account
        self._stream = stream
        self._files: dict[bytes, tuple[Entry, OpenFile]] = {}
        self._directories: dict[bytes, bool] = {}
        """By handle: whether all has been listed."""

        self._next_handle = 0
        self._told: set[str] = set()
        self._answers: dict[int, Callable[[SSHPacket], Awaitable[Answer]]] = {
            codes.FXP_OPEN: self._open,
            codes.FXP_CLOSE: self._close,
            codes.FXP_READ: self._read,
            codes.FXP_LSTAT: self._stat,
            codes.FXP_STAT: self._stat,
            codes.FXP_FSTAT: self._fstat,
            codes.FXP_OPENDIR: self._opendir,
            codes.FXP_READDIR: self._readdir,
            codes.FXP_REALPATH: self._realpath,
            codes.FXP_EXTENDED: self._extended,
        }

    async def serve(self) -> None:
        """Answer until the client has no more to ask.

        Raises:
            PacketDecodeError: it does not speak SFTP.
        """
        try:
            while (packet := await self._receive()) is not None:
                kind, number = packet.get_byte(), packet.get_uint32()
                if kind == codes.FXP_INIT:  # its number is the client's version
                    limits = String(_LIMITS) + String(b"1")
                    await self._send(codes.FXP_VERSION, UInt32(_VERSION) + limits)
                    continue
                reply, content = await self._answer(kind, packet)
                await self._send(reply, UInt32(number) + content)
        finally:
            for _, file in self._files.values():
                with suppress(ConflictError):  # nobody is left to be told
                    await file.close()

    async def _receive(self) -> SSHPacket | None:
        try:
            length = int.from_bytes(await self._stream.reader.readexactly(4), "big")
            if length > _MAX_PACKET_BYTES:
                raise PacketDecodeError("Packet too large")
            return SSHPacket(await self._stream.reader.readexactly(length))
        except asyncio.IncompleteReadError:
            return None

    async def _send(self, kind: int, content: bytes) -> None:
        await self._stream.send(UInt32(1 + len(content)) + Byte(kind) + content)

    async def _answer(self, kind: int, packet: SSHPacket) -> Answer:
        try:
            if kind in _REFUSED:
                raise self._refusal()
            if kind not in self._answers:
                raise asyncssh.SFTPOpUnsupported("the export drive does not know this request")
            return await self._answers[kind](packet)
        except PacketDecodeError as error:
            return _status(asyncssh.SFTPBadMessage(str(error)))
        except asyncssh.SFTPError as error:
            return _status(error)
        except NotFoundError as error:
            return _status(asyncssh.SFTPNoSuchFile(str(error)))
        except RootBloodError as error:
            message = explanation(error, self._account.name)
            self._tell(message)  # OpenSSH's clients show no message of the protocol
            return _status(asyncssh.SFTPFailure(message))

    # The requests. Each raises RootBloodError, SFTPError or PacketDecodeError.

    async def _open(self, packet: SSHPacket) -> Answer:
        path, flags = packet.get_string(), packet.get_uint32()
        if flags & _WRITING:
            raise self._refusal()
        entry = await self._find(path)
        if entry is None:
            raise asyncssh.SFTPFailure("that is a directory")
        self._check_handles()
        return self._handle(entry, await self._drive.open(entry))

    async def _close(self, packet: SSHPacket) -> Answer:
        handle = packet.get_string()
        if handle in self._files:
            _, file = self._files.pop(handle)
            await file.close()
        elif self._directories.pop(handle, None) is None:
            raise _no_such_handle()
        return codes.FXP_STATUS, UInt32(codes.FX_OK) + String("") + String("")

    async def _read(self, packet: SSHPacket) -> Answer:
        handle, offset, size = packet.get_string(), packet.get_uint64(), packet.get_uint32()
        if handle not in self._files:
            raise _no_such_handle()
        _, file = self._files[handle]
        data = await file.read(offset, min(size, _MAX_READ_BYTES))
        if not data:
            raise asyncssh.SFTPEOFError
        return codes.FXP_DATA, String(data)

    async def _stat(self, packet: SSHPacket) -> Answer:
        return codes.FXP_ATTRS, self._attributes(await self._find(packet.get_string())).encode(_VERSION)

    async def _fstat(self, packet: SSHPacket) -> Answer:
        handle = packet.get_string()
        if handle not in self._files:
            raise _no_such_handle()
        entry, _ = self._files[handle]
        return codes.FXP_ATTRS, self._attributes(entry).encode(_VERSION)

    async def _opendir(self, packet: SSHPacket) -> Answer:
        if await self._find(packet.get_string()) is not None:
            raise asyncssh.SFTPFailure("that is not a directory")
        self._check_handles()
        handle = self._new_handle()
        self._directories[handle] = False
        return codes.FXP_HANDLE, String(handle)

    async def _readdir(self, packet: SSHPacket) -> Answer:
        handle = packet.get_string()
        listed = self._directories.get(handle)
        if listed is None:
            raise _no_such_handle()
        if listed:
            raise asyncssh.SFTPEOFError
        self._directories[handle] = True
        names = [self._name(entry) for entry in await self._drive.entries()]
        return codes.FXP_NAME, _names(names)

    async def _realpath(self, packet: SSHPacket) -> Answer:
        entry = await self._find(packet.get_string())
        path = _ROOT if entry is None else _ROOT + entry.name
        return codes.FXP_NAME, _names([asyncssh.SFTPName(path, path)])

    async def _extended(self, packet: SSHPacket) -> Answer:
        if packet.get_string() != _LIMITS:
            raise asyncssh.SFTPOpUnsupported("the export drive does not know this request")
        limits = (_MAX_PACKET_BYTES, _MAX_READ_BYTES, 0, _MAX_HANDLES)
        return codes.FXP_EXTENDED_REPLY, b"".join(UInt64(limit) for limit in limits)

    # What they share.

    async def _find(self, path: bytes) -> Entry | None:
        """The file that a path names; None for the one directory. Raises as `Drive.find`."""
        name = path.decode(errors="replace").removeprefix(_ROOT).removeprefix("./")
        return None if name in {"", "."} else await self._drive.find(name)

    def _check_handles(self) -> None:
        if len(self._files) + len(self._directories) >= _MAX_HANDLES:
            raise asyncssh.SFTPFailure("too many open files; close one")

    def _new_handle(self) -> bytes:
        self._next_handle += 1
        return UInt64(self._next_handle)

    def _handle(self, entry: Entry, file: OpenFile) -> Answer:
        handle = self._new_handle()
        self._files[handle] = entry, file
        return codes.FXP_HANDLE, String(handle)

    def _attributes(self, entry: Entry | None) -> asyncssh.SFTPAttrs:
        at = int(time.time() if entry is None else entry.modified_at.timestamp())
        mode = stat.S_IFDIR | 0o500 if entry is None else stat.S_IFREG | 0o400
        return asyncssh.SFTPAttrs(
            size=0 if entry is None else entry.size_bytes,
            uid=self._account.uid,
            gid=self._account.uid,
            permissions=mode,
            atime=at,
            mtime=at,
        )

    def _name(self, entry: Entry) -> asyncssh.SFTPName:
        """As `ls -l` shows it."""
        size = "?" if entry.size_bytes is None else str(entry.size_bytes)
        at = entry.modified_at.strftime("%b %e %H:%M")
        owner = f"{self._account.name:8} {self._account.name:8}"
        longname = f"-r--------    1 {owner} {size:>12} {at} {entry.name}"
        return asyncssh.SFTPName(entry.name, longname, attrs=self._attributes(entry))

    def _refusal(self) -> asyncssh.SFTPError:
        self._tell(_READ_ONLY)
        return asyncssh.SFTPPermissionDenied(_READ_ONLY)

    def _tell(self, message: str) -> None:
        if message not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(message)
            self._stream.tell(message)


def _no_such_handle() -> asyncssh.SFTPError:
    return asyncssh.SFTPFailure("there is no such open file")


def _status(error: asyncssh.SFTPError) -> Answer:
    return codes.FXP_STATUS, error.encode(_VERSION)


def _names(names: Sequence[asyncssh.SFTPName]) -> bytes:
    return UInt32(len(names)) + b"".join(name.encode(_VERSION) for name in names)
