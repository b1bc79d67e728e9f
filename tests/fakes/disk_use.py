"""A stand-in for `du` in an environment: says what is in the file `du`, or a size.

While there is a file `hold` it waits. Each run is a line in the file `du-runs`.
"""

import sys
import time
from pathlib import Path


def main() -> None:
    with Path("du-runs").open("a") as runs:
        runs.write(" ".join(sys.argv[1:]) + "\n")
    while Path("hold").exists():
        time.sleep(0.01)
    script = Path("du")
    sys.stdout.write(script.read_text() if script.exists() else "12345678\t/home\n")


if __name__ == "__main__":
    main()
