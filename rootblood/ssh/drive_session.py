"""A session channel of the export drive: SFTP, the old protocol of scp, or a word on how to use either."""

import asyncio
import os
from typing import TYPE_CHECKING

import asyncssh
from asyncssh.packet import PacketDecodeError
from typing_extensions import override

from rootblood.errors import RootBloodError
from rootblood.link.waiting import first_of
from rootblood.ssh.bytestream import ByteStream
from rootblood.ssh.channel import command_bytes
from rootblood.ssh.departure import take_leave
from rootblood.ssh.drive import USAGE, Drive
from rootblood.ssh.drive_scp import SCPSource, parse_command
from rootblood.ssh.drive_sftp import SFTPServer
from rootblood.ssh.environment import ClientEnvironment
from rootblood.ssh.failures import INTERNAL_MESSAGE, INTERNAL_STATUS, exit_status, explanation

if TYPE_CHECKING:
    from rootblood.ssh.connection import Connection

_SFTP = "sftp"


class DriveSession(asyncssh.SSHServerSession[bytes]):
    """One session channel, and the task that serves it."""

    def __init__(self, connection: "Connection", environment: ClientEnvironment) -> None:
        del environment  # nothing here runs with it
        self._connection = connection
        self._channel: asyncssh.SSHServerChannel[bytes]
        self._stream: ByteStream
        self._terminal = False
        self._command: bytes | None = None
        self._subsystem: str | None = None
        self._gone = asyncio.Event()

    @property
    def activity(self) -> str:
        """What it runs: the client's own text, where that is a command."""
        request = None if self._command is None else parse_command(self._command)
        what = "help" if request is None else " ".join(["scp", *request.patterns])
        return f"export drive: {self._subsystem or what}"

    @property
    def is_waited_for(self) -> bool:
        """Whether it is waited for when the server stops: always, it ends by itself."""
        return True

    def warn(self, drain_s: float) -> None:
        """Nothing: there is no person at a terminal to tell how long it is waited for."""

    def leave(self) -> None:
        """Tell the client that the server stops, and end the session."""
        take_leave(self._channel, terminal=self._terminal)

    # What the client asks for, before the session starts.

    @override
    def connection_made(self, chan: "asyncssh.SSHServerChannel[bytes]") -> None:
        self._channel = chan

    @override
    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: "asyncssh.misc.TermModes"
    ) -> bool:
        self._terminal = True
        return True

    @override
    def shell_requested(self) -> bool:
        return True

    @override
    def exec_requested(self, command: str) -> bool:
        self._command = command_bytes(command)
        return True

    @override
    def subsystem_requested(self, subsystem: str) -> bool:
        self._subsystem = subsystem
        return subsystem == _SFTP

    @override
    def session_started(self) -> None:
        self._stream = ByteStream(self._channel, terminal=self._terminal)
        self._connection.session_started(self)

    # What the client sends.

    @override
    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._stream.reader.feed_data(data)

    @override
    def eof_received(self) -> bool:
        self._stream.end_reading()
        return True  # what was asked for is still to be answered

    @override
    def pause_writing(self) -> None:
        self._stream.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._stream.resume_writing()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        self._connection.session_closed(self)

    # The task.

    async def run(self) -> None:
        """Serve it to its end."""
        await first_of(self._serve(), self._gone.wait())

    async def _serve(self) -> None:
        try:
            status = await self._serve_request()
        except BrokenPipeError:
            self._connection.log.info("drive_client_left")
            self._channel.abort()  # what it was sent last has no way to go
            return
        except PacketDecodeError as error:
            self._connection.log.warning("drive_request_malformed", cause=str(error))
            self._stream.tell("that is no SFTP")
            status = os.EX_PROTOCOL
        except RootBloodError as error:
            self._connection.log.warning("drive_failed", cause=str(error))
            self._stream.tell(explanation(error, self._connection.account_name))
            status = exit_status(error)
        except Exception:
            self._connection.log.exception("drive_crashed")
            self._stream.tell(INTERNAL_MESSAGE)
            status = INTERNAL_STATUS
        if not self._channel.is_closing():
            self._channel.write_eof()
        self._channel.exit(status)

    async def _serve_request(self) -> int:
        """Serve what was asked for, and return the exit status.

        Raises:
            RootBloodError: it cannot be served.
            PacketDecodeError: it is not the protocol it should be.
        """
        account = await self._connection.account()
        drive = Drive(
            self._connection.exports,
            self._connection.account,
            self._connection.start,
            self._stream.tell,
            self._connection.actor,
        )
        if self._subsystem is not None:
            await SFTPServer(drive, account, self._stream).serve()
            return os.EX_OK
        request = None if self._command is None else parse_command(self._command)
        if request is not None:
            return await SCPSource(drive, account.name, self._stream).serve(request)
        usage = USAGE.format(name=account.name)
        self._stream.show((usage.replace("\n", "\r\n") if self._terminal else usage).encode())
        return os.EX_USAGE
