"""The database is locked, gone or has no room: nobody comes in unchecked, who is in stays, no row is lost."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import ALICE_PASSWORD, client_of, make_installation
from tests.e2e.http_browser import Browser
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, Server, ask, wait_until
from tests.e2e.outcomes import assert_fails_in_one_line, assert_stays_up, says_ok
from tests.faults.disks import fill, make_room, small_disk
from tests.postgresql import running_cluster

SOON = {"ROOTBLOOD_DATABASE__BUSY_TIMEOUT_S": "1"}
NO_ANSWER = "the database does not answer; try again in a moment, or ask your administrator"
DISK_MIB = 16


def database_of(installation: Installation) -> Path:
    return installation.directory / "state" / "rootblood.db"


@contextmanager
def held(database: Path) -> Iterator[None]:
    """Another process writes, and takes its time, for the length of a block."""
    with closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield
        holder.execute("ROLLBACK")


@contextmanager
def in_session(client: Client) -> Iterator["subprocess.Popen[bytes]"]:
    """A session that is open throughout a block, and works at its beginning and at its end."""
    with client.open("cat") as session:
        assert ask(session, b"before\n") == b"before\n"
        yield session
        assert ask(session, b"after\n") == b"after\n"


def assert_no_browser_comes_in(server: Server) -> None:
    status, page = Browser().press(f"{server.web_url}/login", name="alice", password=ALICE_PASSWORD)
    assert (503, True) == (status, "try again in a moment, or ask your administrator" in page), page


def test_locked(own_installation: Installation) -> None:
    database = database_of(own_installation)
    with own_installation.serving(**SOON) as server:
        alice = client_of(own_installation, server, "alice")
        assert says_ok(alice)
        with in_session(alice) as session:
            with held(database):
                assert_fails_in_one_line(alice, os.EX_UNAVAILABLE, "the database ")
                assert_no_browser_comes_in(server)
                assert ask(session, b"meanwhile\n") == b"meanwhile\n"
            assert says_ok(alice)
        assert_stays_up(server, "lease_not_held")
    with closing(sqlite3.connect(database)) as looker:
        assert [("wal",)] == looker.execute("PRAGMA journal_mode").fetchall()
        assert [("ok",)] == looker.execute("PRAGMA integrity_check").fetchall()


def test_a_short_lock_is_waited_for(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        assert says_ok(alice)
        before = server.log.count('"event": "login"')
        with held(database_of(own_installation)):
            login = subprocess.Popen(alice.argv("echo ok"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            wait_until(lambda: server.log.count('"event": "login"') > before, what="a login that waits")
            assert login.poll() is None
        assert b"ok\n" == login.communicate(timeout=CLIENT_TIMEOUT_S)[0]


def test_killed_and_started_again(tmp_path: Path) -> None:
    with (
        running_cluster() as cluster,
        make_installation(
            tmp_path, ROOTBLOOD_DATABASE__URL=cluster.url(cluster.create()), **SOON
        ) as installation,
        installation.serving() as server,
    ):
        alice = client_of(installation, server, "alice")
        assert says_ok(alice)
        with in_session(alice) as session:
            cluster.kill()
            try:
                for _ in range(2):  # over a connection that broke, and over none
                    done = alice.run("echo never")
                    assert (255, b"") == (done.returncode, done.stdout)
                    assert NO_ANSWER in done.stderr.decode()
                assert_no_browser_comes_in(server)
                assert ask(session, b"meanwhile\n") == b"meanwhile\n"
            finally:
                cluster.start()
            wait_until(lambda: says_ok(alice), what="a login")
        assert_stays_up(server, "login_refused")


@pytest.mark.parametrize("on_it", ["state", "."], ids=["the database", "the log, too"])
def test_a_full_disk(tmp_path: Path, on_it: str) -> None:
    directory = tmp_path / "house"
    disk = directory / on_it
    with (
        small_disk(disk, DISK_MIB),
        make_installation(directory, **SOON) as installation,
    ):
        with installation.serving() as server:
            alice = client_of(installation, server, "alice")
            assert says_ok(alice)
            with in_session(alice) as session:
                fill(disk)
                # What was written before leaves room in SQLite's log.
                with closing(sqlite3.connect(database_of(installation))) as other:
                    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                fill(disk)

                assert_fails_in_one_line(alice, os.EX_UNAVAILABLE, NO_ANSWER)
                assert_no_browser_comes_in(server)
                refused = installation.cli("user", "add", "carol", check=False)
                assert (1, "", 1) == (refused.returncode, refused.stdout, len(refused.stderr.splitlines()))
                assert ask(session, b"meanwhile\n") == b"meanwhile\n"

                make_room(disk)
                wait_until(lambda: says_ok(alice), what="a login")
            assert server.process.poll() is None
            assert "Traceback" not in server.log
            installation.cli("user", "add", "carol")
            assert 0 == server.stop(signal.SIGTERM)
        with closing(sqlite3.connect(database_of(installation))) as looker:
            assert [("ok",)] == looker.execute("PRAGMA integrity_check").fetchall()
