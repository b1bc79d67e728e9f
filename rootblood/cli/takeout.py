"""Where `rootblood user export` writes: a file that is whole or not there, or stdout."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from rootblood.cli.input import STDIN
from rootblood.domain.exports import ArchiveFormat
from rootblood.errors import ConflictError, InvalidInputError

STDOUT = STDIN
"""One dash is both."""

_MODE = 0o600
_PART = ".part"

Write = Callable[[bytes], None]


def format_for(target: str) -> ArchiveFormat:
    """How an archive of that name is compressed.

    Raises:
        InvalidInputError: the name does not say.
    """
    if target == STDOUT:
        return ArchiveFormat.ZSTD
    for kind in ArchiveFormat:
        if target.endswith(f".{kind.value}"):
            return kind
    names = " or ".join(f"NAME.{kind.value}" for kind in ArchiveFormat)
    raise InvalidInputError(f"{target} does not say how it is to be compressed: call it {names}")


@contextmanager
def open_target(target: str) -> Iterator[Write]:
    """Give what writes to a file, which has its name only once the block has ended well, or to stdout.

    Raises:
        ConflictError: there is something of that name.
        InvalidInputError: it cannot be written.
    """
    try:
        if target == STDOUT:
            yield _stdout()
        else:
            with _new_file(Path(target)) as write:
                yield write
    except OSError as error:
        name = "stdout" if target == STDOUT else target
        raise InvalidInputError(f"cannot write {name}: {error.strerror}") from error


def _stdout() -> Write:
    if sys.stdout.isatty():
        raise typer.BadParameter("an archive is no text for a terminal; give the name of a file")
    return lambda data: _write(sys.stdout.fileno(), data)


@contextmanager
def _new_file(path: Path) -> Iterator[Write]:
    if os.path.lexists(path):
        raise ConflictError(f"{path} is there already; give another name")
    part = path.with_name(path.name + _PART)
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    except FileExistsError as error:
        raise ConflictError(f"{part} is there, of an export that runs or was killed; delete it") from error
    try:
        yield lambda data: _write(descriptor, data)
        os.fsync(descriptor)
        part.rename(path)
    except BaseException:
        part.unlink()
        raise
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
