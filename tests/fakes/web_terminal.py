"""A stand-in for the image's `web-terminal`: starts the fake ttyd on a socket of its working directory.

Each start is a line in the file `starts`.
"""

import socket
import subprocess
import sys
import time
from pathlib import Path

SOCKET = Path("ttyd.sock")


def accepts() -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(SOCKET))
        except OSError:
            return False
        return True


def main() -> None:
    SOCKET.unlink(missing_ok=True)
    with Path("starts").open("a") as starts:
        starts.write("started\n")
    subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "ttyd.py"), str(SOCKET)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 10
    while not accepts() and time.monotonic() < deadline:
        time.sleep(0.01)


if __name__ == "__main__":
    main()
