"""What a client is shown that it did not ask for: the banner before authentication, a greeting after it.

Both texts are the operator's, from files that are read at the start and at SIGHUP. The greeting is printed
inside the environment, by the image's `greet`, so that it is the first thing on the terminal and the
account's own `~/.hushlogin` silences it: the door hands it over in two environment variables, for terminals
with a shell and for nothing else. Everything is made safe for a terminal here.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from rootblood.domain.environments import RestartReason
from rootblood.domain.text import escape_controls, escape_lines
from rootblood.errors import ConfigurationError
from rootblood.services.visits import News
from rootblood.settings import SSHSettings
from rootblood.ssh.environment import WITHOUT_BASHRC

MAX_TEXT_BYTES = 32_000
"""Of a text as it is shown: what every client must take in one packet (RFC 4253 section 6.1), and well below
what Linux lets a program have in one variable."""

SHELL_COMMAND = b'[ ! -x /usr/lib/rootblood/shell ] || exec /usr/lib/rootblood/shell; exec "$SHELL" -l'
"""Run in place of the account's shell on a terminal; an older image has no such program."""

_RESTARTED = "your environment was restarted since your last visit: "
_MADE_ANEW = "your environment was made anew since your last visit, {}; your home is as it was"

_RESTARTS = {
    RestartReason.OUT_OF_MEMORY: _RESTARTED + "it ran out of memory",
    RestartReason.ADMINISTRATOR: _RESTARTED + "it was stopped by an administrator",
    RestartReason.OWNER: _RESTARTED + "you asked for it",
    RestartReason.IDLE: "your environment was stopped while nobody used it, and started again",
    RestartReason.HOST: _RESTARTED + "the machine or Docker restarted",
    RestartReason.KILLED: _RESTARTED + "it was killed",
    RestartReason.STOPPED: _RESTARTED + "it was told to stop",
    RestartReason.ENDED: _RESTARTED + "it stopped by itself",
    RestartReason.CHANGED: _MADE_ANEW.format("after a change of the image or settings"),
    RestartReason.REMOVED: _MADE_ANEW.format("as its container was gone"),
}


@dataclass(frozen=True, slots=True)
class Texts:
    """The operator's texts, as they are sent."""

    banner: str | None = None
    """With the line endings of RFC 4252 section 5.4."""

    motd: str | None = None
    """None: the image has its own."""


def read_texts(settings: SSHSettings) -> Texts:
    """Read the files that the settings name.

    Raises:
        ConfigurationError: one cannot be read, or is too large.
    """
    banner = _read("ssh.banner_file", settings.banner_file)
    return Texts(
        banner=None if not banner else banner.replace("\n", "\r\n"),
        motd=_read("ssh.motd_file", settings.motd_file),
    )


def greeting_variables(motd: str | None, news: News) -> dict[bytes, bytes]:
    """The environment variables that the image's `greet` reads."""
    variables = dict(WITHOUT_BASHRC)  # an `exit` there would end the login; the shell itself reads it later
    if motd is not None:
        variables[b"ROOTBLOOD_MOTD"] = motd.encode()
    lines = []
    if news.last_login is not None:
        at = time.asctime(news.last_login.at.utctimetuple())  # in English, whatever the locale
        lines.append(f"Last login: {at} UTC from {escape_controls(news.last_login.address)}")
    if news.restart is not None:
        lines.append(f"rootblood: {_RESTARTS[news.restart]}")
    if lines:
        variables[b"ROOTBLOOD_NOTICE"] = "\n".join(lines).encode()
    return variables


def _read(setting: str, file: Path | None) -> str | None:
    """The text of a file, safe to show, its last line ended; None where none is named."""
    if file is None:
        return None
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{setting}: cannot read {file}: {error.strerror}") from error
    text = escape_lines(content.decode("utf-8", "backslashreplace"))
    if text and not text.endswith("\n"):
        text += "\n"
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise ConfigurationError(
            f"{setting}: {file} is too large: at most {MAX_TEXT_BYTES} bytes can be shown"
        )
    return text
