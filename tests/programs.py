"""Programs that run beside a test, and never for longer than it does.

One that a failed test leaves behind would fail the next test as well: its pipes are found open there.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def running(argv: Sequence[Any], **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A program for the length of a block: however that ends, it is killed, and its pipes are closed.

    Args:
        argv: its command line.
        options: as for `subprocess.Popen`; with no `text` among them.
    """
    process = subprocess.Popen(argv, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):  # of what was written and never sent
                    pipe.close()
