"""A session channel of the rescue console: a terminal with line editing, one command, or a script on stdin.

The console is the front door's own, so it is there when the environment is not. Its commands: see `console`;
how lines come about: `lines`; its `shell`, which alone is in the environment: `rescue_shell`.
"""

import asyncio
import codecs
from typing import TYPE_CHECKING

import asyncssh
from typing_extensions import override

from rootblood.domain.accounts import Account
from rootblood.ssh.console import DONE, FAILED, Console
from rootblood.ssh.environment import ClientEnvironment
from rootblood.ssh.failures import INTERNAL_MESSAGE
from rootblood.ssh.lines import MAX_LINE_CHARS, LineEditor, Lines
from rootblood.ssh.requested import RequestedSession
from rootblood.ssh.rescue_shell import RescueShell
from rootblood.ssh.resizing import Resizing, Size

if TYPE_CHECKING:
    from rootblood.ssh.connection import Connection


class RescueSession(RequestedSession):
    """One session channel, and the task that serves it."""

    def __init__(self, connection: "Connection", environment: ClientEnvironment) -> None:
        super().__init__(connection, environment)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._editor: LineEditor | None = None
        self._unfinished = ""
        self._lines = Lines()
        self._question: str | None = None
        """What the terminal shows in front of the line that is waited for."""

        self._shell: RescueShell | None = None
        """What has the terminal for now."""

        self._room = asyncio.Event()
        self._room.set()

    @property
    def is_terminal(self) -> bool:
        """Whether there is a person to ask."""
        return self._pty is not None

    @property
    @override
    def activity(self) -> str:
        return "the rescue console" if self._command is None else f"rescue: {_text(self._command)}"

    @property
    @override
    def is_waited_for(self) -> bool:
        """A script is; a person types on another time."""
        return self._pty is None or self._command is not None

    @override
    def subsystem_requested(self, subsystem: str) -> bool:
        self._subsystem = subsystem
        return True  # to be told in words that there is none

    @override
    def session_started(self) -> None:
        if self._pty is not None:
            self._editor = LineEditor(self, self._pty.size)
            self._resizing = Resizing(
                self._pty.size, self._resize, self._connection.settings.resize_interval_s
            )
        super().session_started()

    # What the client sends.

    @override
    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._shell is not None:
            self._shell.feed(data)
        elif self._editor is not None:
            self._editor.type(self._decoder.decode(data))
        else:
            *lines, rest = (self._unfinished + self._decoder.decode(data)).split("\n")
            for line in lines:
                self.line_received(line)
            self._unfinished = rest[: MAX_LINE_CHARS + 1]  # enough to be no command

    @override
    def eof_received(self) -> bool:
        if self._shell is not None and self._shell.is_there:
            self._shell.feed_eof()
        elif self._unfinished:
            self.line_received(self._unfinished)
        self.input_ended()
        return True  # what was asked for is still to be answered

    @override
    def pause_writing(self) -> None:
        self._room.clear()
        if self._shell is not None:
            self._shell.pause_reading()

    @override
    def resume_writing(self) -> None:
        self._room.set()
        if self._shell is not None:
            self._shell.resume_reading()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._room.set()
        self.input_ended()
        super().connection_lost(exc)

    # What the line editor makes of it.

    def send(self, text: str) -> None:
        """Send text to the client as it is."""
        if text and not self._channel.is_closing():
            self._channel.write(text.encode())

    def line_received(self, line: str) -> None:
        """Take a line, for when it is its turn."""
        self._lines.put(line.removesuffix("\r"))
        if self._lines.are_many:
            self._channel.pause_reading()

    def input_ended(self) -> None:
        """There are no more lines."""
        self._lines.end()

    def interrupted(self) -> None:
        """Ctrl-C: forget the line, and those typed ahead."""
        self._lines.take_all()
        if self._editor is not None:
            self._editor.clear()
            if self._question is not None:
                self.write(f"^C\n{self._question}")

    # What the console asks of its screen.

    def write(self, text: str) -> None:
        """Show text; lines end with a newline."""
        if self._editor is not None:
            self._editor.show(text)
        else:
            self.send(text)

    def complain(self, message: str) -> None:
        """Show one line that says what is wrong: on stderr where there is one."""
        if self._editor is not None:
            self._editor.show(f"rootblood: {message}\n")
        elif not self._channel.is_closing():
            self._channel.write_stderr(f"rootblood: {message}\n".encode())

    async def ask(self, question: str) -> str:
        """Show a question and return the line that answers it; empty when there is none any more."""
        return await self._take_line(question) or ""

    async def shell(self, account: Account) -> int:
        """Hand the terminal to a shell in the environment, and return its exit status."""
        self._shell = RescueShell(self._connection, self._channel, self._gone)
        for line in self._lines.take_all():  # typed ahead, for whatever has the terminal next
            self._shell.feed(f"{line}\r".encode())
        try:
            return await self._shell.run(account, lambda: self._pty, self._environment)
        finally:
            self._shell = None
            if self._pty is not None:
                self._resize(self._pty.size)  # the shell had it, not the editor
            if not self._gone.is_set():
                self._channel.resume_reading()

    def _resize(self, size: Size) -> None:
        """Let whoever has the terminal know its size."""
        if self._shell is not None and self._shell.is_there:
            self._shell.resize(size)
        elif self._editor is not None:
            self._editor.resize(size)

    # The task.

    @override
    async def run(self) -> None:
        """Serve it to its end."""
        try:
            status = await self._serve()
        except Exception:
            self._connection.log.exception("rescue_crashed")
            self.complain(INTERNAL_MESSAGE)
            status = FAILED
        if not self._channel.is_closing():
            self._channel.write_eof()
        self._channel.exit(status)

    async def _serve(self) -> int:
        if self._subsystem is not None:
            self.complain("there are no files here: this is the rescue console, and only a console")
            return FAILED
        console = Console(
            account=self._connection.login.account,
            environments=self._connection.environments,
            visitors=self._connection.siblings,
            screen=self,
            actor=self._connection.actor,
        )
        if self._command is not None:
            return await self._run_script(console, _text(self._command).splitlines())
        if self._editor is not None:
            return await self._converse(console)
        status = DONE
        while status == DONE and not console.left and not self._gone.is_set():
            line = await self._take_line()
            if line is None:
                break
            status = await self._run_script(console, [line])
        return status

    async def _run_script(self, console: Console, lines: list[str]) -> int:
        """Run lines until one fails, and return the status of the last that ran."""
        status = DONE
        for line in lines:
            await self._room.wait()
            status = await console.run(line)
            if status != DONE or console.left or self._gone.is_set():
                break
        return status

    async def _converse(self, console: Console) -> int:
        """Run what a person types; the status is 0, unless the account may no longer log in."""
        name = self._connection.account_name
        self.write(f"The rescue console of {name}: `help` lists what it can do.\n")
        status = DONE
        while not console.left and not self._gone.is_set():
            await self._room.wait()
            line = await self._take_line(f"{name} rescue> ")
            if line is None:
                self.write("\n")
                return DONE
            status = await console.run(line)
        return status

    async def _take_line(self, question: str = "") -> str | None:
        self.write(question)
        self._question = question
        try:
            return await self._lines.take()
        finally:
            self._question = None
            if not self._gone.is_set() and not self._lines.are_many:
                self._channel.resume_reading()


def _text(command: bytes) -> str:
    return command.decode(errors="replace")
