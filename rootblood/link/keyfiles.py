"""Private key files: made once, readable by their owner alone, refused otherwise."""

import os
from pathlib import Path

import asyncssh

from rootblood.errors import ConfigurationError

_OTHERS = 0o077


def create_private_key(path: Path, comment: str) -> bool:
    """Make an ed25519 key at `path`, mode 0600, and its public half beside it; False when one is there.

    The file appears under its name whole or not at all, and two processes agree on one key.
    """
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.export_private_key("openssh"))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(unfinished, path)
    except FileExistsError:
        return False
    finally:
        unfinished.unlink()
    path.with_name(f"{path.name}.pub").write_bytes(key.export_public_key("openssh"))
    return True


def read_private_key(path: Path) -> asyncssh.SSHKey:
    """Read a key that `create_private_key` made.

    Raises:
        ConfigurationError: there is none, others may read it, or it is no private key.
    """
    try:
        mode = path.stat().st_mode
        if mode & _OTHERS:
            raise ConfigurationError(f"others may read {path}; run: chmod 600 {path}")
        return asyncssh.read_private_key(path)
    except FileNotFoundError as error:
        # Absolute, as it is the wrong working directory as often as a set-up that is still to be made.
        raise ConfigurationError(f"there is no key {path.absolute()}; run: rootblood setup") from error
    except (OSError, asyncssh.KeyImportError) as error:
        raise ConfigurationError(f"cannot read the key {path}: {error}") from error
