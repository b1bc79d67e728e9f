"""What signals tell this server."""

import asyncio
import math
import os
import signal
from collections.abc import Callable

from rootblood.stopping import Stop

_INTERRUPT_DRAIN_S = 5.0
"""Whoever presses Ctrl-C sits there and waits."""


def stop_on_signals(stop: Stop, drain_s: Callable[[], float]) -> None:
    """Let the first SIGTERM or SIGINT stop the server, and a second one end the process at once.

    Args:
        stop: is told.
        drain_s: tells at that moment how long what is under way may go on after a SIGTERM; it is less after
            Ctrl-C.
    """
    loop = asyncio.get_running_loop()
    most_s = {signal.SIGTERM: math.inf, signal.SIGINT: _INTERRUPT_DRAIN_S}

    def begin_to_stop(number: signal.Signals) -> None:
        for each in most_s:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)  # for SIGINT, asyncio leaves Python's own, which only cancels
        stop.tell(min(drain_s(), most_s[number]))

    for number in most_s:
        loop.add_signal_handler(number, begin_to_stop, number)


def reload_on_signal(ask: Callable[[], None]) -> None:
    """Call `ask` at each SIGHUP; but that of a terminal which is closed stops the server, as Ctrl-C does.

    Started by nohup(1), it outlives its terminal.
    """
    loop = asyncio.get_running_loop()
    ends_with_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN

    def hang_up() -> None:
        if ends_with_terminal and not _has_terminal():
            loop.remove_signal_handler(signal.SIGHUP)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the shell tells of it and so does the kernel
            signal.raise_signal(signal.SIGINT)
        else:
            ask()

    loop.add_signal_handler(signal.SIGHUP, hang_up)


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still there; see tty(4)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
