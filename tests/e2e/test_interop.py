"""The interop matrix: what every SSH client people use must find here. The clients are in `clients/`."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.clients import CLIENTS, missing
from tests.e2e.clients.base import Login, RealClient
from tests.e2e.clients.openssh import TrixieOpenSSH
from tests.e2e.conftest import ALICE_PASSWORD, login_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Installation, Server

MEGABYTE = 1_000_000

every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
every_copy = pytest.mark.parametrize(
    ("client", "way"),
    [pytest.param(client, way, id=f"{client.name}-{way}") for client in CLIENTS for way in client.copies],
)


@pytest.fixture(autouse=True)
def client_is_here(request: pytest.FixtureRequest) -> None:
    client = getattr(request.node, "callspec", None) and request.node.callspec.params.get("client")
    if client is not None and (programs := missing(client)):
        pytest.skip(f"{client.name} needs {', '.join(programs)}: scripts/test-tools installs them")


@pytest.fixture
def with_password(installation: Installation, server: Server, tmp_path: Path) -> Login:
    return login_of(installation, server, "alice", tmp_path, password=ALICE_PASSWORD)


@pytest.fixture
def with_key(installation: Installation, server: Server, tmp_path: Path) -> Login:
    return login_of(installation, server, "alice", tmp_path)


@every_client
def test_key(client: RealClient, with_key: Login) -> None:
    assert client.run(with_key, "whoami").stdout == b"alice\n"


@every_client
def test_password(client: RealClient, with_password: Login) -> None:
    assert client.run(with_password, "whoami").stdout == b"alice\n"


@every_client
def test_exec_with_exit_status_and_stderr_apart(client: RealClient, with_key: Login) -> None:
    done = client.run(with_key, "echo out; echo err >&2; exit 7")

    assert (done.status, done.stdout) == (7, b"out\n")
    assert b"err\n" in done.stderr  # some clients have a word of their own to say there
    assert b"out" not in done.stderr


@every_client
def test_input_its_end_and_output(client: RealClient, with_key: Login) -> None:
    data = os.urandom(MEGABYTE)

    done = client.run(with_key, "cat; echo after", data)

    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data + b"after\n").digest()


@every_client
def test_terminal_of_a_size(client: RealClient, with_key: Login) -> None:
    shown = client.on_terminal(
        with_key, "stty size; echo $TERM; test -t 0 && test -t 2 && echo both", 101, 33
    )

    assert b"33 101\r\n" in shown
    assert re.search(rb"^xterm[a-z0-9-]*\r$", shown, re.MULTILINE)  # PuTTY has its own mind about it
    assert b"both\r\n" in shown


@every_copy
def test_copy(client: RealClient, way: str, with_key: Login) -> None:
    data = os.urandom(3 * MEGABYTE)
    there, back = with_key.home / "there", with_key.home / "back"
    there.write_bytes(data)

    client.put(with_key, way, there, f"copied-by-{way}")
    there.unlink()
    client.get(with_key, way, f"copied-by-{way}", back)

    assert client.run(with_key, f"rm copied-by-{way}").status == 0
    assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("client", [TrixieOpenSSH()], ids=lambda client: client.name)
def test_a_client_with_post_quantum_key_exchange_gets_it(client: TrixieOpenSSH, with_key: Login) -> None:
    done = client.succeed(with_key, [*client.shell(with_key), "-v", with_key.target, "true"])

    assert b"kex: algorithm: mlkem768x25519-sha256" in done.stderr


def test_ssh_audit_finds_nothing(server: Server) -> None:
    done = subprocess.run(
        # How many connections a source may open is a limit's test, not the audit's.
        [
            sys.executable,
            "-m",
            "ssh_audit",
            "--json",
            "--skip-rate-test",
            "--timeout",
            "60",
            "-p",
            str(server.port),
            "127.0.0.1",
        ],
        capture_output=True,
        timeout=CLIENT_TIMEOUT_S,
        check=False,
    )
    report = json.loads(done.stdout)

    said = {
        (kind, entry["algorithm"], level, text)
        for kind in ("kex", "key", "enc", "mac")
        for entry in report[kind]
        for level in ("fail", "warn")
        for text in entry.get("notes", {}).get(level, [])
    }
    without_pq = "does not provide protection against post-quantum attacks"
    assert said == {
        ("kex", "curve25519-sha256", "warn", without_pq),
        ("kex", "curve25519-sha256@libssh.org", "warn", without_pq),
    }
    assert report["cves"] == []
    assert report["recommendations"] == {}
    assert "kex-strict-s-v00@openssh.com" in {entry["algorithm"] for entry in report["kex"]}
    assert report["banner"]["raw"] == "SSH-2.0-RootBlood"
