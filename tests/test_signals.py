"""SIGHUP, from an operator and from a terminal that is closed, to a process of its own."""

import os
import pty
import signal
import subprocess
import sys

PROGRAM = """
import asyncio
import fcntl
import os
import termios

from rootblood.signals import reload_on_signal
from rootblood.stopping import Stop


def say(word):
    os.write(told, word)


async def serve():
    stop = Stop()
    reload_on_signal(lambda: say(b"reload "), stop)
    say(b"ready ")
    await stop.told.wait()
    say(b"stop")


told = int(os.environ["TOLD"])
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
asyncio.run(serve())
"""


def test_a_hangup_reloads_and_that_of_a_closed_terminal_stops() -> None:
    reading, writing = os.pipe()
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=its_end,
        start_new_session=True,
        pass_fds=[writing],
        env={**os.environ, "TOLD": str(writing)},
    )
    os.close(writing)
    os.close(its_end)
    try:
        assert b"ready " == os.read(reading, 100)
        process.send_signal(signal.SIGHUP)
        assert b"reload " == os.read(reading, 100)
        os.close(terminal)
        assert b"stop" == os.read(reading, 100)
        assert 0 == process.wait(10)
    finally:
        os.close(reading)
        process.kill()
        process.wait()
