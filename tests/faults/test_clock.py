"""The server's wall clock jumps a day: bans, penalties, sessions, leases and links end when they should.

The jump is libfaketime's, and the server's alone: its monotonic clock goes on as it was, and so does the rest
of the machine.
"""

import re
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.conftest import ALICE_PASSWORD, client_of
from tests.e2e.http_browser import Browser
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, Server, ask, wait_until
from tests.e2e.outcomes import assert_stays_up, says_ok

BANNED, PENALIZED = "127.0.0.7", "127.0.0.8"
QUICK = {
    "ROOTBLOOD_SSH__KEEPALIVE_INTERVAL_S": "2",
    "ROOTBLOOD_SSH__RECHECK_S": "1",
    "ROOTBLOOD_REAPER__INTERVAL_S": "1",
    "ROOTBLOOD_REAPER__IDLE_STOP_S": "3600",
    "ROOTBLOOD_LEASES__TTL_S": "30",
    "ROOTBLOOD_LEASES__HEARTBEAT_S": "1",
    "ROOTBLOOD_PENALTIES__FREE_FAILURES": "0",
    "ROOTBLOOD_PENALTIES__FIRST_S": "600",
    "ROOTBLOOD_PENALTIES__EXEMPT": '["127.0.0.1/32"]',
}
"""What happens every second or two has happened before a test is over."""


class WallClock:
    """What a server takes for the time of day."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump("+0d")

    @property
    def env(self) -> dict[str, str]:
        """Of the server's process."""
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert libraries, "there is no libfaketime: scripts/test-tools installs it"
        return {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, by: str) -> None:
        """Set it to that, as seen from the real one."""
        self._file.write_text(f"{by}\n")


def logged_at(server: Server) -> datetime:
    """What the server takes for the time, by the last line of its log."""
    stamps = re.findall(r'"timestamp": "([^"]+)"', server.log)
    return datetime.fromisoformat(stamps[-1])


def is_off(moment: datetime) -> bool:
    """Whether that is about a day from now."""
    return abs(abs(moment - datetime.now(UTC)) - timedelta(days=1)) < timedelta(minutes=5)


def lease_end(installation: Installation) -> datetime:
    """Until when the newest lease holds: each heartbeat moves it on."""
    with closing(sqlite3.connect(installation.directory / "state" / "rootblood.db")) as database:
        (end,) = database.execute("SELECT max(expires_at) FROM leases").fetchone()
    return datetime.fromisoformat(end).replace(tzinfo=UTC)


def reaper_turn(installation: Installation) -> datetime:
    """Until when the reaper's turn is this server's: each look moves it on."""
    with closing(sqlite3.connect(installation.directory / "state" / "rootblood.db")) as database:
        (until,) = database.execute("SELECT until FROM turns WHERE name = 'reaper'").fetchone()
    return datetime.fromisoformat(until).replace(tzinfo=UTC)


def by_password_from(address: str, client: Client, password: str) -> int:
    """Exit status of a login by password."""
    asked = replace(client, key=None)
    options = ["-b", address, "-o", "NumberOfPasswordPrompts=1", "-o", "PreferredAuthentications=password"]
    argv = ["sshpass", "-p", password, *asked.argv("true", options=options)]
    return subprocess.run(argv, capture_output=True, timeout=CLIENT_TIMEOUT_S, check=False).returncode


def is_banned(client: Client, address: str) -> bool:
    """Whether not even a banner comes."""
    refused = client.run("true", options=["-b", address])
    return (255, True) == (refused.returncode, b"kex_exchange_identification" in refused.stderr)


@pytest.mark.parametrize("by", ["+1d", "-1d"])
def test_a_jump_changes_nothing(own_installation: Installation, tmp_path: Path, by: str) -> None:
    clock = WallClock(tmp_path / "clock")
    browser = Browser()
    with own_installation.serving_program(**QUICK, **clock.env) as server:
        alice = client_of(own_installation, server, "alice")
        assert says_ok(alice)
        own_installation.cli("ban", "add", BANNED, "--for", "1h")
        wait_until(lambda: is_banned(alice, BANNED), what="the ban")
        statuses = [by_password_from(PENALIZED, alice, each) for each in ("wrong", ALICE_PASSWORD)]
        assert [255, 255] == statuses
        browser.log_in(server.web_url, "alice", ALICE_PASSWORD)
        link = alice.output("rb web").strip()
        with alice.open("cat") as session, browser.terminal(server.web_url) as tab:
            assert ask(session, b"before\n") == b"before\n"
            tab.enter("echo $((6 * 7)) before")
            tab.wait_for("42 before")

            clock.jump(by)
            wait_until(lambda: is_off(lease_end(own_installation)), what="a lease by the new time")
            wait_until(lambda: is_off(reaper_turn(own_installation)), what="a look by the new time")
            # Three keepalives without an answer end a connection.
            later = lease_end(own_installation) + timedelta(seconds=8)
            wait_until(lambda: lease_end(own_installation) > later, what="more of either")

            assert ask(session, b"after\n") == b"after\n"
            tab.enter("echo $((7 * 8)) after")
            tab.wait_for("56 after")
            assert says_ok(alice)
            assert is_off(logged_at(server))
            assert is_banned(alice, BANNED)
            assert by_password_from(PENALIZED, alice, ALICE_PASSWORD) == 255
            assert "<h1>alice</h1>" in browser.fetch(f"{server.web_url}/")[1]
            assert "<h1>alice</h1>" in Browser().press(link)[1]
        assert_stays_up(server)
