"""The key that restic and borg encrypt with: a file of one line, 0600."""

import os
import secrets
from pathlib import Path

from rootblood.errors import ConfigurationError

FILE_NAME = "backup_key"
"""In `keys_dir`, where the settings name no other."""

_OTHERS = 0o077


def create_backup_key(path: Path) -> None:
    """Make the key where it is missing. Raises `ConfigurationError` when it cannot be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise ConfigurationError(f"cannot make the key of backups {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{secrets.token_hex(32)}\n")
        file.flush()
        os.fsync(file.fileno())


def read_backup_key(path: Path) -> str:
    """Read the key.

    Raises:
        ConfigurationError: there is none, or others may read it.
    """
    try:
        mode = path.stat().st_mode
        key = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the backup is encrypted, and its key {path} cannot be read: put the key that it was made with "
            "there, or name it in backups.key_file"
        ) from error
    if mode & _OTHERS:
        raise ConfigurationError(f"others may read {path}; run: chmod 600 {path}")
    if not key:
        raise ConfigurationError(f"the key of backups {path} is empty")
    return key
