"""The part of a backup that is not a volume: database, keys and settings, in one small tar archive.

All of it blocks.
"""

import io
import os
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rootblood.domain.backups import POSTGRESQL_COPY, SQLITE_COPY
from rootblood.errors import InvalidInputError
from rootblood.stores.backups.directory import create_private, translated
from rootblood.stores.backups.keys import FILE_NAME as BACKUP_KEY

_DATABASES = {SQLITE_COPY, POSTGRESQL_COPY}
_SETTINGS = "rootblood.toml"
_KEY = re.compile(r"keys/([A-Za-z0-9_][A-Za-z0-9_.-]{0,99})")
_MAX_FILE_BYTES = 1024 * 1024
"""Of a key, and of the settings."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What an archive held."""

    database: Path | None
    keys: Mapping[str, bytes]
    """Files of `keys_dir`, by name."""

    settings: bytes | None


def pack(archive: Path, *, database: Path | None, keys_dir: Path, settings: Path) -> None:
    """Write the archive, 0600.

    Args:
        archive: to be made.
        database: a copy of it, named as it is to be in there; None leaves it out.
        keys_dir: whose files are put in, but not the key of the backup itself.
        settings: the settings file, where there is one.
    """
    with translated():
        keys = [path for path in sorted(keys_dir.iterdir()) if _is_key(path)]
        with create_private(archive) as file, tarfile.open(fileobj=file, mode="w") as tar:
            if database is not None:
                tar.add(database, database.name)
            for path in keys:
                tar.add(path, f"keys/{path.name}")
            if settings.is_file():
                tar.add(settings.resolve(), _SETTINGS)


def unpack(archive: Path, directory: Path) -> Unpacked:
    """Read the archive; the database in it becomes a file in `directory`.

    Raises:
        InvalidInputError: it is damaged.
    """
    database: Path | None = None
    keys: dict[str, bytes] = {}
    settings: bytes | None = None
    try:
        with translated(), tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is None:
                    raise InvalidInputError("the backup's installation.tar holds what it should not")
                if member.name in _DATABASES:
                    database = directory / member.name
                    with create_private(database) as copy:
                        while data := file.read(io.DEFAULT_BUFFER_SIZE):
                            copy.write(data)
                elif member.name == _SETTINGS:
                    settings = file.read(_MAX_FILE_BYTES)
                elif key := _KEY.fullmatch(member.name):
                    keys[key[1]] = file.read(_MAX_FILE_BYTES)
    except tarfile.TarError as error:
        raise InvalidInputError("the backup's installation.tar is damaged") from error
    return Unpacked(database, keys, settings)


def put_keys(keys: Mapping[str, bytes], directory: Path) -> None:
    """Write the files of `keys_dir`, each whole or not at all, for their owner alone."""
    with translated():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in keys.items():
            unfinished = directory / f".{name}.restoring"
            unfinished.unlink(missing_ok=True)
            with create_private(unfinished) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(directory / name)


def _is_key(path: Path) -> bool:
    known = _KEY.fullmatch(f"keys/{path.name}") is not None and path.name != BACKUP_KEY
    return known and path.suffix != ".md" and path.is_file()
