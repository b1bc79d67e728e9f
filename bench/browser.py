"""The browser's terminal beside a ttyd that is reached directly: how soon it echoes, how much it shows.

Both ttyds are the image's and run in the same environment, as the account, with the same command; the other
one listens on the container's own address, which this machine reaches without a proxy or a published port.
So the difference is RootBlood's path: the door, the link and its sshd, which share the environment's CPU.
"""

import shlex
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from bench.page import Page
from bench.peers import Peers
from rootblood.services.terminals import TTYD_SOCKET
from tests.e2e.installation import wait_until
from tests.e2e.test_web_login import Curl

ECHO_ROUNDS = 2000
OUTPUT_ROUNDS = 7
OUTPUT_BYTES = 50_000_000

_TTYD_PORT = 7681
_TTYD = ("/usr/bin/ttyd", "-W", "-a", "-P", "300", "-T", "xterm-256color")
"""As the image's `web-terminal` starts it."""

_SHELL = "/usr/lib/rootblood/shell"

_KEY = b"+"
"""tmux has no reason to write it by itself."""

_PAUSE_S = 0.005
"""Between two keys: long enough that everybody has gone to sleep."""

_KEYS_A_LINE = 60


@dataclass(frozen=True)
class Spread:
    """Of many times; seconds."""

    median: float
    p99: float


def key_echo(peers: Peers) -> tuple[Spread, Spread]:
    """From a key to its echo, in a tmux session in which `cat` runs: RootBlood, ttyd direct."""
    with (
        _ttyd(peers, ["-p", str(_TTYD_PORT)], [_SHELL]),
        closing(_rootblood(peers, "?session=new")) as ours,
        closing(_direct(peers, "?arg=session&arg=new")) as theirs,
    ):
        times: dict[Page, list[float]] = {ours: [], theirs: []}
        for page in times:
            page.type(b"echo re''ady; exec cat >/dev/null\r")
            page.read_until(b"ready\r\n")
        for number in range(ECHO_ROUNDS):
            for page, spent in times.items():
                if number % _KEYS_A_LINE == 0:
                    page.type(b"\r")
                time.sleep(_PAUSE_S)
                start = time.perf_counter()
                page.type(_KEY)
                page.read_until(_KEY)
                spent.append(time.perf_counter() - start)
        return _spread(times[ours]), _spread(times[theirs])


def output(peers: Peers) -> tuple[float, float]:
    """50 MB of text through a terminal without tmux, each byte counted: RootBlood, ttyd direct; seconds.

    Without, because tmux draws for a slow reader only what is on the screen in the end: of 50 MB it sent
    some 1 MB, and a path that carries little would look as fast as one that carries all. So the ttyd on the
    door's socket is one that the account has started itself, to run `cat` and no shell. It waits for its
    reader, and no byte is left out.
    """
    text, expected = _text(peers)
    command = ["/bin/bash", "-c", f"stty -echo; echo ready; read -r; cat {text}; read -r"]

    def show(page: Page) -> float:
        with closing(page):
            page.read_until(b"ready\r\n")
            start = time.perf_counter()
            page.type(b"\r")
            count = 0
            while count < expected:
                count += len(page.read())
            if count != expected:
                raise AssertionError(f"{count} bytes came, not {expected}")
            return time.perf_counter() - start

    ours, theirs = [], []
    with _ttyd(peers, ["-p", str(_TTYD_PORT)], command), _ttyd(peers, ["-i", TTYD_SOCKET], command):
        for _ in range(OUTPUT_ROUNDS):
            ours.append(show(_rootblood(peers, "")))
            theirs.append(show(_direct(peers, "")))
    return statistics.median(ours), statistics.median(theirs)


def _spread(times: list[float]) -> Spread:
    hundredths = statistics.quantiles(times, n=100)
    return Spread(hundredths[49], hundredths[98])


def _text(peers: Peers) -> tuple[str, int]:
    """A file of lines, and how many bytes a terminal makes of it: there a line's end has two."""
    lines = peers.rootblood.output(f"base64 /dev/urandom | head -c {OUTPUT_BYTES} >text; wc -l <text")
    return "~/text", OUTPUT_BYTES + int(lines)


def _rootblood(peers: Peers, query: str) -> Page:
    """A page that is logged in."""
    url = peers.server.web_url
    with tempfile.TemporaryDirectory(prefix="rb-") as directory:
        jar = Path(directory, "cookies")
        if Curl(url, jar).log_in() != HTTPStatus.SEE_OTHER:
            raise AssertionError("no login")
        name, value = jar.read_text().split()[-2:]  # the last fields of the last line
    return Page(f"{url}/terminal/ws{query}", {"Origin": url, "Cookie": f"{name}={value}"})


def _direct(peers: Peers, query: str) -> Page:
    # The container may have been made anew meanwhile, with another address.
    networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    asked = ["docker", "inspect", "--format", networks, peers.container]
    address = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return Page(f"http://{address}:{_TTYD_PORT}/ws{query}", {})


@contextmanager
def _ttyd(peers: Peers, where: list[str], command: list[str]) -> Iterator[None]:
    """A ttyd in the environment, run by the account, until it accepts and for the length of a block."""
    alice = peers.rootblood
    asked = f"--unix-socket {where[1]}" if where[0] == "-i" else ""
    probe = f"curl --silent --max-time 1 --output /dev/null {asked} http://localhost:{_TTYD_PORT}/token"
    ready = f"mkdir -p -m 700 {Path(TTYD_SOCKET).parent}"  # the door's own ttyd may not have run yet
    with alice.open(f"{ready}; exec {shlex.join([*_TTYD, *where, *command])}"):
        wait_until(lambda: alice.run(probe).returncode == 0, what="ttyd accepting")
        yield
    wait_until(lambda: alice.run(probe).returncode != 0, what="ttyd having ended")
