"""A stand-in for the image's `import`: uploads are files `upload-<id>` in the home, and nothing is unpacked.

`unpack` tells its progress, waits while there is a file `hold`, and answers with what is in the file
`answer`, or with a good outcome. Each run is a line in the file `import-runs`.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def tell(**told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def receive(path: Path, offset: int) -> None:
    with path.open("ab") as upload:
        if upload.tell() != offset:
            tell(error=f"the next piece begins at {upload.tell()}")
            return
        while piece := os.read(sys.stdin.fileno(), 65536):
            upload.write(piece)
            upload.flush()
    tell(size=path.stat().st_size, error=None)


def unpack(path: Path, arguments: list[str]) -> None:
    tell(bytes=1, files=1)
    while Path("hold").exists():
        time.sleep(0.01)
    script = Path("answer")
    if script.exists():
        sys.stdout.write(script.read_text())
        return
    path.unlink()
    done = {"files": 2, "warnings": ["took a bit off \x1b[31m"], "more_warnings": 37, "error": None}
    if "--replace" in arguments:
        tell(**done, kept="home-before-today")
    else:
        tell(**done, into=arguments[arguments.index("--into") + 1] if "--into" in arguments else "import-now")


def main() -> None:
    command, *arguments = sys.argv[1:]
    with Path("import-runs").open("a") as runs:
        runs.write(" ".join(sys.argv[1:]) + "\n")
    path = Path(f"upload-{arguments[-1] if command == 'unpack' else arguments[0]}")
    if command == "receive":
        receive(path, int(arguments[1]))
    elif command == "size":
        tell(size=path.stat().st_size if path.exists() else 0, error=None)
    elif command == "discard":
        path.unlink(missing_ok=True)
        tell(error=None)
    elif command == "unpack":
        unpack(path, arguments)


if __name__ == "__main__":
    main()
