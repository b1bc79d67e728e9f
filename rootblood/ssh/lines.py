"""Lines that a client gives: piped, or typed on a terminal and edited there, and taken one at a time."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol, cast

import asyncssh
from asyncssh.editor import SSHLineEditor

from rootblood.ssh.resizing import Size

MAX_LINE_CHARS = 1024
_MAX_WAITING_LINES = 64
_HISTORY_LINES = 100
_MIN_COLUMNS = 20

_EDITOR_TERM = "xterm"
"""For every terminal: all there are move the cursor as this one does. asyncssh's other way, for those that it
does not know (tmux-256color, for one), fails with an IndexError on lines that do not fit the screen."""


class Lines:
    """Lines that wait to be taken, until there are no more."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._ended = False
        self._arrived = asyncio.Event()

    def put(self, line: str) -> None:
        """Have one more wait."""
        self._waiting.append(line)
        self._arrived.set()

    def end(self) -> None:
        """There are no more behind those that wait."""
        self._ended = True
        self._arrived.set()

    def take_all(self) -> Sequence[str]:
        """Those that wait now, none where there is none."""
        taken = [*self._waiting]
        self._waiting.clear()
        return taken

    @property
    def are_many(self) -> bool:
        """Whether whoever gives them should wait."""
        return len(self._waiting) >= _MAX_WAITING_LINES

    async def take(self) -> str | None:
        """The next line; None after the last."""
        while not self._waiting:
            if self._ended:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()


class Typist(Protocol):
    """Who has the terminal."""

    def send(self, text: str) -> None:
        """Send text to the terminal as it is."""

    def line_received(self, line: str) -> None:
        """Take a line that was typed."""

    def input_ended(self) -> None:
        """Know that nothing more is typed: Ctrl-D."""

    def interrupted(self) -> None:
        """Know of Ctrl-C."""


class LineEditor:
    """asyncssh's line editor, for a channel that carries bytes: it is made for those that carry text.

    Args:
        typist: gets the lines.
        size: the terminal's.
    """

    def __init__(self, typist: Typist, size: Size) -> None:
        terminal = _Terminal(typist)
        self._editor = SSHLineEditor(
            cast("asyncssh.SSHServerChannel[str]", terminal),
            cast("asyncssh.SSHServerSession[str]", terminal),
            line_echo=True,
            history_size=_HISTORY_LINES,
            max_line_length=MAX_LINE_CHARS,
            term_type=_EDITOR_TERM,
            width=_columns(size),
        )

    def type(self, text: str) -> None:
        """Take what was typed, keys that edit among it."""
        self._editor.process_input(text, None)

    def show(self, text: str) -> None:
        """Show text above the line that is edited; lines end with a newline."""
        self._editor.process_output(text)

    def clear(self) -> None:
        """Empty the line that is edited."""
        self._editor.set_input("", 0)

    def resize(self, size: Size) -> None:
        """Draw for a terminal of that size."""
        self._editor.set_width(_columns(size))


class _Terminal:
    """What asyncssh's line editor takes for its channel and for its session."""

    def __init__(self, typist: Typist) -> None:
        self._typist = typist

    def write(self, text: str) -> None:
        self._typist.send(text)

    def data_received(self, line: str, _datatype: None) -> None:
        self._typist.line_received(line.rstrip("\n"))

    def soft_eof_received(self) -> None:
        self._typist.input_ended()

    def break_received(self, _milliseconds: int) -> bool:
        self._typist.interrupted()
        return True


def _columns(size: Size) -> int:
    """The terminal's width for the line editor, which needs some; 0 where the client does not know it."""
    return max(size[0], _MIN_COLUMNS) if size[0] else 0
