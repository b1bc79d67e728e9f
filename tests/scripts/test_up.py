"""`make up`, from a clean clone: everything it needs the first time, nothing again the second."""

import os
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation

CHECKOUT = Path(__file__).parents[2]
READY = re.compile(r"ready ssh=127\.0\.0\.1:(\d+) web=http://127\.0\.0\.1:\d+\n")
STEP = re.compile(r"(venv|apt|docker|image|made): ")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clean clone of what is committed, with no virtual environment, keys or state."""
    subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(tmp_path / "clone")], check=True)
    return tmp_path / "clone"


@pytest.fixture
def installation(clone: Path) -> Iterator[Installation]:
    """Only to remove what `make up` made on the engine."""
    installation = Installation(clone, instance=f"test-{secrets.token_hex(4)}")
    yield installation
    installation.destroy()


@contextmanager
def up(installation: Installation) -> Iterator[tuple[list[str], int]]:
    """Run `make up` until it is ready; gives what it printed, and the port."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("ROOTBLOOD_")}
    process = subprocess.Popen(
        ["make", "up"],
        cwd=installation.directory,
        env={
            **env,
            "ROOTBLOOD_ENGINE__INSTANCE": installation.instance,
            "ROOTBLOOD_SSH__PORT": "0",
            "ROOTBLOOD_WEB__PORT": "0",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        printed = []
        for line in process.stdout:
            printed.append(line)
            if ready := READY.fullmatch(line):
                yield printed, int(ready[1])
                break
        else:
            raise AssertionError(f"no ready line: {printed}")
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.wait(CLIENT_TIMEOUT_S)
        process.stdout.close()


@pytest.mark.serial  # it may build the image
@pytest.mark.timeout(400)
def test_first_and_second_time(installation: Installation) -> None:
    with up(installation) as (printed, port):
        said = "".join(printed)
        login = re.search(r"log in with  ssh -p \d+ (\S+)@127\.0\.0\.1\n  password     (\S+)\n", said)
        assert login is not None, said
        admin = Client(installation.directory, login[1], port, key=None)
        done = subprocess.run(
            ["sshpass", "-p", login[2], *admin.argv("id -un; pwd")],
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )
        assert re.fullmatch(rf"{login[1]}\n/home/[0-9a-f]{{32}}\n", done.stdout), done.stderr
        assert {"venv", "made"} <= {step[1] for line in printed if (step := STEP.match(line))}

    with up(installation) as (printed, _):
        assert [line for line in printed if not READY.fullmatch(line)] == []
