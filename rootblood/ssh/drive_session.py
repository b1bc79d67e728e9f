"""A session channel of the export drive: SFTP, the old protocol of scp, or a word on how to use either."""

import os
from typing import TYPE_CHECKING

import asyncssh
from asyncssh.packet import PacketDecodeError
from typing_extensions import override

from rootblood.errors import RootBloodError
from rootblood.link.waiting import first_of
from rootblood.ssh.bytestream import ByteStream
from rootblood.ssh.drive import USAGE, Drive
from rootblood.ssh.drive_scp import SCPSource, parse_command
from rootblood.ssh.drive_sftp import SFTPServer
from rootblood.ssh.environment import ClientEnvironment
from rootblood.ssh.failures import INTERNAL_MESSAGE, INTERNAL_STATUS, exit_status, explanation
from rootblood.ssh.requested import RequestedSession

if TYPE_CHECKING:
    from rootblood.ssh.connection import Connection

_SFTP = "sftp"


class DriveSession(RequestedSession):
    """One session channel, and the task that serves it; nothing in it runs with the client's variables."""

    def __init__(self, connection: "Connection", environment: ClientEnvironment) -> None:
        super().__init__(connection, environment)
        self._stream: ByteStream

    @property
    @override
    def activity(self) -> str:
        request = None if self._command is None else parse_command(self._command)
        what = "help" if request is None else " ".join(["scp", *request.patterns])
        return f"export drive: {self._subsystem or what}"

    @property
    @override
    def is_waited_for(self) -> bool:
        """Always: it ends by itself."""
        return True

    @override
    def subsystem_requested(self, subsystem: str) -> bool:
        self._subsystem = subsystem
        return subsystem == _SFTP

    @override
    def session_started(self) -> None:
        self._stream = ByteStream(self._channel, terminal=self._pty is not None)
        super().session_started()

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

    # The task.

    @override
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
        account = await self._connection.login.account()
        drive = Drive(
            self._connection.exports,
            self._connection.login.account,
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
        self._stream.show((usage.replace("\n", "\r\n") if self._pty is not None else usage).encode())
        return os.EX_USAGE
