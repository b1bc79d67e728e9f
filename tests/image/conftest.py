"""The image by hand: `docker run` with the flags an environment has, on volumes of each test's own."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

IMAGE = os.environ.get("ROOTBLOOD_ENVIRONMENT__IMAGE", "chaospine:1.0.0")
TIMEOUT_S = 180
"""Of what hangs."""

HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none")


def docker(
    *arguments: str, stdin: str = "", timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s
    )


def docker_ok(*arguments: str, stdin: str = "") -> str:
    result = docker(*arguments, stdin=stdin)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@dataclass(frozen=True)
class Account:
    """What install-system is told about an account."""

    name: str = "alice"
    uid: int = 20001
    home: str = field(default_factory=lambda: f"/home/{secrets.token_hex(16)}")

    def document(self, **changes: object) -> dict[str, object]:
        """What install-system reads, some of it changed."""
        ids: dict[str, object] = {"uid": self.uid, "gid": self.uid}
        return {"name": self.name, **ids, "home": self.home, "shell": "/bin/bash"} | changes


@dataclass(frozen=True)
class Volumes:
    """The system volume, the shared volume and one home volume."""

    prefix: str

    @property
    def system(self) -> str:
        return f"{self.prefix}_system"

    @property
    def shared(self) -> str:
        return f"{self.prefix}_global"

    @property
    def home(self) -> str:
        return f"{self.prefix}_home"

    def install(self, document: object) -> subprocess.CompletedProcess[str]:
        """Run install-system as the server does, on a document or on any text."""
        text = document if isinstance(document, str) else json.dumps(document)
        return self.as_root("/usr/lib/rootblood/install-system", stdin=text)

    def install_ok(self, document: object) -> bool:
        """Install, and return whether anything changed."""
        result = self.install(document)
        assert (result.returncode, result.stderr) == (0, "")
        changed = json.loads(result.stdout)["changed"]
        assert isinstance(changed, bool)
        return changed

    def as_root(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a one-off helper with both common volumes writable."""
        return docker(
            *("run", "--rm", "--interactive", "--user", "0:0", *HARDENED),
            *("--cap-add", "CHOWN", "--cap-add", "DAC_OVERRIDE", "--cap-add", "FOWNER"),
            *("--volume", f"{self.system}:/etc/rootblood", "--volume", f"{self.shared}:/global"),
            *(IMAGE, *argv),
            stdin=stdin,
        )

    def look(self, script: str) -> str:
        """What a shell script says that reads the common volumes as root."""
        result = self.as_root("sh", "-c", script)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout


@dataclass(frozen=True)
class Environment:
    """A running container, as an account has it, and the keys of its link."""

    account: Account
    container: str
    keys: Path

    def exec(
        self, *argv: str, options: tuple[str, ...] = (), stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return docker("exec", "--interactive", *options, self.container, *argv, stdin=stdin)

    def client(self, program: str) -> list[str]:
        """An OpenSSH client's command line, up to its own arguments, through one exec."""
        options = {
            "ProxyCommand": f"docker exec -i {self.container} /usr/lib/rootblood/enter",
            "IdentityFile": str(self.keys / "account"),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.keys / "known_hosts"),
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "SendEnv": "LANG",
        }
        return [program, "-F", "none", *(f"-o{name}={value}" for name, value in options.items())]

    def ssh(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [*self.client("ssh"), f"{self.account.name}@environment", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=TIMEOUT_S)


def make_keys(directory: Path) -> dict[str, str]:
    """Keys of a link in a directory; returns the files that install-system takes."""
    for name in ("host", "account"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(directory / name)]
        subprocess.run(command, check=True, timeout=TIMEOUT_S)
    (directory / "known_hosts").write_text(f"environment {(directory / 'host.pub').read_text()}")
    return {
        "ssh_host_ed25519_key": (directory / "host").read_text(),
        "authorized_keys": (directory / "account.pub").read_text(),
    }


@contextmanager
def make_volumes() -> Iterator[Volumes]:
    """Three empty volumes, gone afterwards whatever happens, an interrupt in the middle included."""
    volumes = Volumes(f"rbtest_image_{secrets.token_hex(4)}")
    names = (volumes.system, volumes.shared, volumes.home)
    try:
        for name in names:
            docker_ok("volume", "create", name)
        yield volumes
    finally:
        docker_ok("volume", "rm", "--force", *names)


@contextmanager
def make_environment(keys: Path) -> Iterator[Environment]:
    """A running environment, and its keys in a directory."""
    account = Account()
    with make_volumes() as volumes:
        volumes.install_ok({"files": make_keys(keys), "accounts": [account.document()]})
        container = f"{volumes.prefix}_environment"
        try:
            docker_ok(
                *("run", "--detach", "--name", container, *HARDENED, "--init", "--pids-limit", "256"),
                *("--user", f"{account.uid}:{account.uid}", "--tmpfs", "/tmp"),
                *("--tmpfs", f"/run:uid={account.uid},gid={account.uid}"),
                *("--env", f"HOME={account.home}", "--env", f"USER={account.name}"),
                *("--volume", f"{volumes.home}:/home", "--volume", f"{volumes.shared}:/global"),
                *("--volume", f"{volumes.system}:/etc/rootblood:ro", IMAGE),
            )
            yield Environment(account, container, keys)
        finally:
            docker("rm", "--force", "--volumes", container)


@pytest.fixture(scope="session", autouse=True)
def image() -> None:
    if docker("image", "inspect", IMAGE).returncode != 0:
        pytest.fail(f"{IMAGE} is not there: make image", pytrace=False)


@pytest.fixture
def volumes() -> Iterator[Volumes]:
    with make_volumes() as made:
        yield made


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """One environment for all tests that do not spoil it."""
    with make_environment(tmp_path_factory.mktemp("keys")) as made:
        yield made
