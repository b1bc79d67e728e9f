"""What the command line reads: key files, and passwords from a terminal or from stdin."""

import getpass
import sys
from pathlib import Path

import typer

from rootblood.domain.keys import PublicKey, parse_public_keys
from rootblood.errors import InvalidInputError

STDIN = "-"

_MAX_KEY_FILE_BYTES = 1024 * 1024
_MAX_PASSWORD_INPUT_BYTES = 64 * 1024


def read_keys(source: str) -> list[PublicKey]:
    """The public keys of a file; `-` is stdin.

    Raises:
        InvalidInputError: it cannot be read, or holds something else than public keys.
    """
    try:
        if source == STDIN:
            content = sys.stdin.buffer.read(_MAX_KEY_FILE_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                content = file.read(_MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(f"cannot read {source}: {error.strerror}") from error
    if len(content) > _MAX_KEY_FILE_BYTES:
        raise InvalidInputError(f"{source} is too large for a file of public keys")
    try:
        # A comment need not be UTF-8; the key itself is ASCII.
        return parse_public_keys(content.decode("utf-8", "replace"))
    except InvalidInputError as error:
        raise InvalidInputError(f"{'stdin' if source == STDIN else source}: {error}") from error


def read_password() -> str:
    """A password from stdin: its only line, with or without a newline at its end.

    Raises:
        InvalidInputError: there is none, or more than one line.
    """
    content = sys.stdin.buffer.read(_MAX_PASSWORD_INPUT_BYTES)
    password = content.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
    if not password or "\n" in password:
        raise InvalidInputError("--password-stdin takes one line: the password")
    return password


def ask_new_password(name: str) -> str:
    """Ask for a new password on the terminal, twice.

    Raises:
        InvalidInputError: the two differ.
        typer.BadParameter: there is no terminal to ask on.
    """
    require_terminal("without a terminal give --password-stdin or --none")
    password = getpass.getpass(f"New password for {name}: ")
    if getpass.getpass("The same again: ") != password:
        raise InvalidInputError("the two passwords differ; nothing was changed")
    return password


def require_terminal(otherwise: str) -> None:
    """Raise wrong usage, saying `otherwise`, where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise typer.BadParameter(otherwise)
