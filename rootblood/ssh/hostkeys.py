"""The SSH door's host key: ed25519, 0600, made once by `rootblood setup`."""

from pathlib import Path

import asyncssh

from rootblood.link.keyfiles import create_private_key, read_private_key

_HOST_KEY = "ssh_host_ed25519_key"


def create_host_key(directory: Path) -> bool:
    """Make the host key; False when it is there already."""
    return create_private_key(directory / _HOST_KEY, comment="rootblood")


def read_host_key(directory: Path) -> asyncssh.SSHKey:
    """Read the host key. Raises `ConfigurationError` when it is missing or others may read it.

    A server never makes one by itself: after a lost key every client would be told of an attack.
    """
    return read_private_key(directory / _HOST_KEY)


def host_key_fingerprint(directory: Path) -> str:
    """SHA256 fingerprint, as a client shows it at the first connection."""
    return read_host_key(directory).get_fingerprint()
