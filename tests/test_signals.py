"""SIGHUP, from an operator and from a terminal that is closed, to a process of its own."""

import os
import pty
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio
import fcntl
import os
import signal
import termios

from rootblood.signals import reload_on_signal, stop_on_signals
from rootblood.stopping import Stop


def say(word):
    os.write(told, word)


async def serve():
    stop = Stop()
    stop_on_signals(stop, lambda: 60)
    reload_on_signal(lambda: say(b"reload "))
    say(b"ready ")
    await stop.told.wait()
    signal.raise_signal(signal.SIGHUP)
    for _ in range(5):
        await asyncio.sleep(0)
    say(b"stop at once " if stop.remaining_s <= 5 else b"stop in time ")


told = int(os.environ["TOLD"])
fcntl.ioctl(int(os.environ["TERMINAL"]), termios.TIOCSCTTY, 0)
asyncio.run(serve())
"""


@pytest.mark.parametrize(
    ("started_by", "last_word"),
    [
        (["env", "--default-signal=HUP"], b"stop at once "),  # whatever the tests themselves were started by
        (["nohup"], b"reload "),
    ],
)
def test_a_hangup_reloads_and_that_of_a_closed_terminal_stops(
    started_by: list[str], last_word: bytes
) -> None:
    reading, writing = os.pipe()
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        [*started_by, sys.executable, "-c", PROGRAM],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=[writing, its_end],
        env={**os.environ, "TOLD": str(writing), "TERMINAL": str(its_end)},
    )
    os.close(writing)
    os.close(its_end)
    try:
        assert b"ready " == os.read(reading, 100)
        process.send_signal(signal.SIGHUP)
        assert b"reload " == os.read(reading, 100)
        os.close(terminal)
        assert last_word == os.read(reading, len(last_word))
    finally:
        os.close(reading)
        process.kill()
        process.wait()
