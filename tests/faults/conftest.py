"""The fixtures of the end-to-end tests."""

from tests.e2e.conftest import docker_engine, own_installation

__all__ = ["docker_engine", "own_installation"]
