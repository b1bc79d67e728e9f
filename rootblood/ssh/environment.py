"""The variables of a session: those a client may bring into its environment, and one of our own."""

import re

WITHOUT_BASHRC = {b"SHLVL": b"1"}
"""Debian's bash, run by sshd for a command, reads ~/.bashrc unless it takes itself for a nested shell."""

_COMMAND_ENV = {**WITHOUT_BASHRC, b"BASH_ENV": b"/usr/lib/rootblood/command-env.sh"}
"""The image's file takes what ~/.bashrc exports, and nothing else that it does."""

_LEGACY_SCP = re.compile(rb"scp(?: -[A-Za-z]+)*? -[tf] ")
_ALLOWED = re.compile(rb"LANG|LC_[A-Z_]{1,32}|COLORTERM|TERM_PROGRAM")
_TERM = re.compile(r"[A-Za-z0-9._+-]{1,64}")
_FALLBACK_TERM = "xterm-256color"


class ClientEnvironment:
    """Collects the variables of one session channel.

    Args:
        max_count: how many.
        max_bytes: names and values together.
    """

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self.variables: dict[bytes, bytes] = {}

    def offer(self, name: bytes, value: bytes) -> bool:
        """Take a variable if it is allowed and there is room; False where it is refused."""
        if _ALLOWED.fullmatch(name) is None or b"\0" in value:
            return False
        others = {known: kept for known, kept in self.variables.items() if known != name}
        used = sum(len(known) + len(kept) for known, kept in others.items())
        if len(others) >= self._max_count or used + len(name) + len(value) > self._max_bytes:
            return False
        self.variables[name] = value
        return True


def accepted_term(term: str) -> str:
    """The client's terminal type, or a common one where it is not a plain name."""
    return term if _TERM.fullmatch(term) else _FALLBACK_TERM


def command_variables(command: bytes) -> dict[bytes, bytes]:
    """What a client's command is run with beside the client's own variables.

    Users of Debian expect a command to have the PATH of their ~/.bashrc. The protocol that `scp -O` speaks to
    the `scp` it has started is better off without it, and without another `scp` that is found there.
    """
    return dict(WITHOUT_BASHRC if _LEGACY_SCP.match(command) else _COMMAND_ENV)
