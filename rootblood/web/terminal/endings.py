"""How a terminal in a browser ends: the codes that its page goes by, and what it shows."""

from dataclasses import dataclass

from aiohttp import WSCloseCode


@dataclass(frozen=True, slots=True)
class Ending:
    """What the page is told at the end; it connects anew by itself after some of the codes."""

    code: int
    reason: str


OVER = Ending(WSCloseCode.OK, "the session has ended")
BROKEN_OFF = Ending(WSCloseCode.SERVICE_RESTART, "the way into your environment broke off")
RESTARTING = Ending(WSCloseCode.SERVICE_RESTART, "the server is being restarted")
NOT_THE_PROTOCOL = Ending(WSCloseCode.POLICY_VIOLATION, "that was no message of a terminal")
NOT_FROM_THERE = Ending(WSCloseCode.POLICY_VIOLATION, "this network may not come in; ask your administrator")
LOGGED_OUT = Ending(4401, "you are logged out")
FAILED_CODE = 4503
"""There is no terminal, and the reason says why: a message of `RootBloodError`."""

TOO_MANY = Ending(FAILED_CODE, "you have too many terminals open: close some")

ENDED_CODE = 4504
"""The environment has ended, and the reason says why. The page does not connect anew by itself: that would
undo what somebody may have meant, and nobody would have read why."""

CRASHED = Ending(WSCloseCode.INTERNAL_ERROR, "internal error; your administrator finds it in the log")
