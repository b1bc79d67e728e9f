"""When a connection leaves as the server stops, and what may still begin on it."""

import asyncio
from dataclasses import dataclass, field

import asyncssh
import pytest

from rootblood.ssh import departure
from rootblood.ssh.departure import Departure


@dataclass(eq=False)
class Session:
    is_waited_for: bool
    told: list[str] = field(default_factory=list)

    def warn(self, drain_s: float) -> None:
        self.told.append(f"{drain_s:.0f} s")

    def leave(self) -> None:
        self.told.append("left")


class Leaving:
    """A connection with some sessions, of which each has had its channel."""

    def __init__(self, *sessions: Session) -> None:
        self.sessions = set(sessions)
        self.disconnected = 0
        self.has_left = asyncio.Event()
        self.departure = Departure(self.sessions, self._disconnect)
        for _ in sessions:
            self.departure.require_channel()

    def _disconnect(self) -> None:
        self.disconnected += 1
        self.has_left.set()

    def ended(self, session: Session) -> None:
        self.sessions.discard(session)
        self.departure.session_ended()


async def test_one_without_sessions_leaves_at_once() -> None:
    leaving = Leaving(done := Session(is_waited_for=True))
    leaving.ended(done)
    assert 0 == leaving.disconnected

    leaving.departure.begin(60)

    assert 1 == leaving.disconnected


async def test_a_shell_is_closed_before_the_connection() -> None:
    leaving = Leaving(shell := Session(is_waited_for=False))
    leaving.departure.begin(60)
    assert (["left"], 0) == (shell.told[:1], leaving.disconnected)

    leaving.ended(shell)

    assert 1 == leaving.disconnected


async def test_a_client_that_does_not_hear_is_left_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "_HEARING_S", 0)
    leaving = Leaving(Session(is_waited_for=False))
    leaving.departure.begin(60)

    async with asyncio.timeout(60):
        await leaving.has_left.wait()


async def test_the_last_session_that_is_waited_for_takes_the_connection_along() -> None:
    upload, command, shell = (
        Session(is_waited_for=True),
        Session(is_waited_for=True),
        Session(is_waited_for=False),
    )
    leaving = Leaving(upload, command, shell)

    leaving.departure.begin(60)

    assert (["60 s"], ["60 s"], ["left"]) == (upload.told, command.told, shell.told)
    for session in (shell, command):
        leaving.ended(session)
        assert 0 == leaving.disconnected
    leaving.ended(upload)
    assert 1 == leaving.disconnected


async def test_no_channel_is_opened_beside_those_that_are_waited_for() -> None:
    leaving = Leaving(Session(is_waited_for=True))
    leaving.departure.begin(60)

    with pytest.raises(asyncssh.ChannelOpenError, match="connect again in a moment"):
        leaving.departure.require_channel()


async def test_who_has_only_just_come_is_served_what_it_came_for() -> None:
    leaving = Leaving()
    leaving.departure.begin(60)
    assert 0 == leaving.disconnected

    leaving.departure.require_channel()
    leaving.sessions.add(session := Session(is_waited_for=True))
    leaving.ended(session)

    assert 1 == leaving.disconnected


async def test_who_asks_for_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "_FIRST_CHANNEL_S", 0)
    leaving = Leaving()
    leaving.departure.begin(60)

    async with asyncio.timeout(60):
        await leaving.has_left.wait()


async def test_when_the_time_is_up_everything_is_closed() -> None:
    leaving = Leaving(upload := Session(is_waited_for=True))
    leaving.departure.begin(60)
    leaving.departure.finish()
    leaving.ended(upload)

    assert (["60 s", "left"], 1) == (upload.told[:2], leaving.disconnected)
