"""One installation with one server for all tests that do not need their own."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncssh
import pytest

from tests.e2e.clients.base import Login
from tests.e2e.installation import Client, Installation, Server, bare, docker_api, wait_until
from tests.programs import running

ALICE_PASSWORD = "correct horse battery staple"


def make_key(path: Path) -> Path:
    """An ed25519 key made by ssh-keygen."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@contextmanager
def make_installation(directory: Path, **extra_env: str) -> Iterator[Installation]:
    """An installation that is set up, with the accounts alice (key and password) and bob (key).

    What it has on the engine is removed even where setting it up failed or was interrupted: it has a network,
    and Docker has addresses for about thirty.
    """
    with bare(directory, **extra_env) as installation:
        keys = {name: f"{make_key(directory / f'{name}_key')}.pub" for name in ("alice", "bob")}
        installation.cli("setup")
        installation.cli(
            *("user", "add", "alice", "--key-file", keys["alice"], "--password-stdin"), stdin=ALICE_PASSWORD
        )
        installation.cli("user", "add", "bob", "--key-file", keys["bob"])
        yield installation


@pytest.fixture(scope="session", autouse=True)
def docker_engine() -> None:
    """These tests are about a real engine: without one they fail, they are not skipped."""
    with docker_api() as api:
        api.ping()


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Shared by tests that leave it as they found it."""
    with make_installation(tmp_path_factory.mktemp("installation")) as made:
        yield made


@pytest.fixture(scope="session")
def server(installation: Installation) -> Iterator[Server]:
    """The shared installation's server."""
    with installation.serving() as server:
        yield server


@pytest.fixture
def bare_installation(tmp_path: Path) -> Iterator[Installation]:
    """One that is not set up."""
    with bare(tmp_path) as made:
        yield made


@pytest.fixture
def own_installation(tmp_path: Path) -> Iterator[Installation]:
    """An installation for one test, which may break it."""
    with make_installation(tmp_path) as made:
        yield made


@pytest.fixture
def own_server(own_installation: Installation) -> Iterator[Server]:
    """Its server."""
    with own_installation.serving() as server:
        yield server


def client_of(installation: Installation, server: Server, name: str) -> Client:
    """A client of the account `name`, with its key."""
    return Client(installation.directory, name, server.port, installation.directory / f"{name}_key")


def login_of(
    installation: Installation, server: Server, name: str, home: Path, *, password: str | None = None
) -> Login:
    """What the clients of `clients/` need to log in as `name`: with the password, or else with its key."""
    host_key = (installation.directory / "keys" / "ssh_host_ed25519_key.pub").read_text()
    key = None if password else Path(shutil.copy(installation.directory / f"{name}_key", home / "key"))
    return Login(
        name=name,
        port=server.port,
        home=home,
        host_key=" ".join(host_key.split()[:2]),
        password=password or "not this one",
        key=key,
    )


async def connect(client: Client, kex_algs: Sequence[str] = ()) -> asyncssh.SSHClientConnection:
    """The same client by asyncssh, where a test drives a connection from within."""
    return await asyncssh.connect(
        "127.0.0.1",
        client.port,
        username=client.name,
        client_keys=[str(client.key)],
        known_hosts=None,
        agent_path=None,
        config=None,
        kex_algs=kex_algs,
    )


@pytest.fixture
def alice(installation: Installation, server: Server) -> Client:
    return client_of(installation, server, "alice")


@pytest.fixture
def bob(installation: Installation, server: Server) -> Client:
    return client_of(installation, server, "bob")


@pytest.fixture
def newcomer(installation: Installation, server: Server, tmp_path: Path) -> Iterator[Client]:
    """A new account on the shared server, with alice's key and password, for a test that changes it."""
    name = f"new-{secrets.token_hex(4)}"
    key = installation.directory / "alice_key"
    installation.cli(
        "user", "add", name, "--key-file", f"{key}.pub", "--password-stdin", stdin=ALICE_PASSWORD
    )
    yield Client(tmp_path, name, server.port, key)
    installation.cli("user", "delete", name, "--yes", check=False)  # unless the test did


@pytest.fixture
def own_alice(own_installation: Installation, own_server: Server) -> Client:
    return client_of(own_installation, own_server, "alice")


@pytest.fixture
def agent(installation: Installation, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An ssh-agent with alice's key."""
    path = tmp_path / "agent"
    env = {**os.environ, "SSH_AUTH_SOCK": str(path)}
    add = ["ssh-add", "-q", str(installation.directory / "alice_key")]
    with running(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL):
        # Its socket is there a moment before it listens.
        wait_until(lambda: subprocess.run(add, env=env, stderr=subprocess.PIPE, check=False).returncode == 0)
        yield env
