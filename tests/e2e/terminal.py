"""A real terminal to look at: tmux, with an ssh client in it."""

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.installation import CLIENT_TIMEOUT_S, wait_until


@dataclass
class Terminal:
    """A tmux server of the test's own with one window."""

    socket: Path

    def tmux(self, *arguments: str) -> str:
        """Run a tmux command."""
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), "-f", "/dev/null", *arguments],
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            check=True,
        )
        return done.stdout

    def type(self, text: str) -> None:
        """Type `text` as it is, without Enter."""
        self.tmux("send-keys", "-l", "--", text)

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: Enter, C-c, Escape."""
        self.tmux("send-keys", *keys)

    def enter(self, line: str) -> None:
        """Type a line and press Enter."""
        self.type(line)
        self.press("Enter")

    @property
    def screen(self) -> str:
        """What the window shows, line by line."""
        return self.tmux("capture-pane", "-p")

    def wait_for(self, text: str, *, timeout_s: float = 60) -> str:
        """Wait until the screen shows `text`, and return the screen."""
        try:
            wait_until(lambda: text in self.screen, timeout_s=timeout_s)
        except AssertionError:
            raise AssertionError(f"no {text!r} on the screen:\n{self.screen}") from None
        return self.screen

    def resize(self, columns: int, rows: int) -> None:
        """Resize the window."""
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))


def until_size(columns: int, rows: int) -> str:
    """A command that waits for its terminal to have that size: it may be typed before the size is there."""
    return f"until stty size | grep -x '{rows} {columns}'; do sleep 0.1; done | sed 's/^/it has /'"


@contextmanager
def terminal(
    directory: Path, argv: Sequence[str | bytes], *, columns: int = 80, rows: int = 24
) -> Iterator[Terminal]:
    """A terminal of that size running `argv`, for the length of a block."""
    window = Terminal(directory / "tmux.sock")
    command = shlex.join(str(word) for word in argv)
    # The shell stays after the client's end, so that its last words and its status can be read.
    window.tmux(
        "new-session", "-d", "-x", str(columns), "-y", str(rows), f"{command}; echo status=$?; exec sleep 600"
    )
    try:
        yield window
    finally:
        window.tmux("kill-server")
