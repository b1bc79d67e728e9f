"""Installations, servers and clients as in `tests/e2e`."""

from tests.e2e.conftest import (
    alice,
    bob,
    docker_engine,
    installation,
    own_alice,
    own_installation,
    own_server,
    server,
)

__all__ = [
    "alice",
    "bob",
    "docker_engine",
    "installation",
    "own_alice",
    "own_installation",
    "own_server",
    "server",
]
