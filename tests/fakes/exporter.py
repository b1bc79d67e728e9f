"""A stand-in for the image's `export`: writes what is in the file `frames`, or a good small archive.

While there is a file `hold` it waits there for its reader to leave. Each run is a line in the file `runs`.
"""

import sys
from pathlib import Path


def frame(kind: bytes, content: bytes) -> bytes:
    """As the real one frames."""
    return kind + len(content).to_bytes(4, "big") + content


GOOD_END = frame(
    b"e", b'{"files": 3, "error": null, "warnings": ["./sock: socket ignored"], "more_warnings": 37}'
)


def main() -> None:
    with Path("runs").open("a") as runs:
        runs.write(" ".join(sys.argv[1:]) + "\n")
    script = Path("frames")
    good = frame(b"d", b"tar") + frame(b"p", b'{"files": 2}') + frame(b"d", b"ball") + GOOD_END
    sys.stdout.buffer.write(script.read_bytes() if script.exists() else good)
    sys.stdout.buffer.flush()
    if Path("hold").exists():
        sys.stdin.buffer.read()
        Path("left").touch()


if __name__ == "__main__":
    main()
