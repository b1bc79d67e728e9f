"""SIGTERM: what tmux keeps is told and closed, what would be lost is waited for, and the rest is cut off."""

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import ALICE_PASSWORD, client_of, make_installation
from tests.e2e.http_browser import Browser
from tests.e2e.installation import Client, Installation, Server, wait_until
from tests.e2e.terminal import terminal
from tests.e2e.test_export_drive import content
from tests.e2e.test_imports import uploader
from tests.e2e.test_web_export import downloader

DATA = os.urandom(8_000_000)
SLOWLY_KBIT_S = 8_000
"""So that it takes eight seconds; and for curl:"""

SLOWLY = "1M"

SOON_S = 45.0
"""A drain that waits for nothing takes a second or two; the window is longer than this."""

UPLOAD = "ab" * 16
TOLD = "the server is being restarted"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose servers do not outlive their test."""
    with make_installation(tmp_path_factory.mktemp("sigterm"), ROOTBLOOD_SERVER__DRAIN_S="60") as made:
        yield made


@contextmanager
def serving(house: Installation, **extra_env: str) -> Iterator[tuple[Server, Client]]:
    """A server that the test stops, and alice."""
    server = house.start_program(**extra_env)
    try:
        yield server, client_of(house, server, "alice")
    finally:
        server.process.kill()
        server.process.wait()
        assert server.process.stdout is not None
        server.process.stdout.close()


def tell(server: Server) -> float:
    """Send SIGTERM, wait until the server knows, and return when that was."""
    server.process.terminate()
    began_at = time.monotonic()
    wait_until(lambda: '"stopping"' in server.log)
    return began_at


def goes_on(server: Server) -> bool:
    return server.process.poll() is None


@contextmanager
def paused(*processes: "subprocess.Popen[bytes]") -> Iterator[None]:
    """What these do is under way, and comes to no end, for the length of a block."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def test_a_terminal_is_told_and_finds_its_session_again(house: Installation, tmp_path: Path) -> None:
    with serving(house) as (server, alice), terminal(tmp_path, alice.argv()) as window:
        window.wait_for("alice@rootblood")
        window.enter("marker=mine; clear; seq 3")
        window.wait_for("2\n3\n")  # which is not in the line that was typed

        began_at = tell(server)

        screen = window.wait_for("status=255")
        assert f"rootblood: {TOLD}; connect again in a moment" in screen
        assert "0" == window.tmux("display-message", "-p", "#{alternate_on}").strip()
        assert "1" == window.tmux("display-message", "-p", "#{cursor_flag}").strip()
        assert 0 == server.process.wait(SOON_S)
        assert time.monotonic() - began_at < SOON_S
    with serving(house) as (_, alice), terminal(tmp_path, alice.argv()) as window:
        window.wait_for("alice@rootblood")
        window.enter("echo this is $marker")
        window.wait_for("this is mine")


def test_a_browsers_terminal_is_told(house: Installation) -> None:
    with serving(house) as (server, _):
        browser = Browser()
        browser.log_in(server.web_url, "alice", ALICE_PASSWORD)
        with browser.terminal(server.web_url) as tab:
            tab.wait_for(r"alice@rootblood")

            tell(server)

            assert (1012, TOLD) == (tab.wait_closed(), tab.close_reason)
        assert 0 == server.process.wait(SOON_S)


def test_an_idle_connection_is_closed_at_once_and_told(house: Installation, tmp_path: Path) -> None:
    with serving(house) as (server, alice):
        master = subprocess.Popen(
            alice.argv(options=["-M", "-N", "-S", str(tmp_path / "control")]), stderr=subprocess.PIPE
        )
        wait_until((tmp_path / "control").exists)
        assert "up\n" == alice.output("echo up", options=["-S", str(tmp_path / "control")])

        tell(server)

        _, said = master.communicate(timeout=SOON_S)
        assert (255, True) == (master.returncode, TOLD.encode() in said), said
        assert 0 == server.process.wait(SOON_S)


def test_an_upload_by_sftp_is_waited_for(house: Installation, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    with serving(house) as (server, alice):
        batch = f"put {tmp_path / 'data'} uploaded"
        sftp = subprocess.Popen(
            [
                "sftp",
                "-q",
                "-l",
                str(SLOWLY_KBIT_S),
                "-b",
                "-",
                *alice.options,
                "-P",
                str(alice.port),
                alice.target,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with alice.open("until [ -s uploaded ]; do sleep 0.05; done; echo begun") as watching:
            assert sftp.stdin is not None
            assert watching.stdout is not None
            sftp.stdin.write(batch.encode())
            sftp.stdin.close()
            sftp.stdin = None
            assert b"begun\n" == watching.stdout.readline()
        with paused(sftp):
            assert int(alice.output("stat -c %s uploaded")) < len(DATA)

            tell(server)

            assert 255 == alice.run("true").returncode  # nobody listens any more
            assert goes_on(server)
        said, _ = sftp.communicate(timeout=60)
        assert 0 == sftp.returncode, said
        assert 0 == server.process.wait(SOON_S)
    with serving(house) as (_, alice):
        assert hashlib.sha256(DATA).hexdigest() == alice.output("sha256sum uploaded; rm uploaded").split()[0]


def test_a_command_ends_and_no_new_one_begins_beside_it(house: Installation, tmp_path: Path) -> None:
    control = str(tmp_path / "control")
    options = ["-M", "-S", control, "-o", "LogLevel=INFO"]  # at which it says why it opens no channel
    with serving(house) as (server, alice), alice.open("echo up; cat", options=options) as cat:
        assert cat.stdout is not None
        assert b"up\n" == cat.stdout.readline()

        tell(server)

        beside = alice.run("true", options=["-S", control, "-o", "ControlMaster=no"])
        assert 255 == beside.returncode
        assert goes_on(server)
        out, said = cat.communicate(b"goes on\n", timeout=SOON_S)
        assert (0, b"goes on\n", True) == (cat.returncode, out, TOLD.encode() in said), said
        assert 0 == server.process.wait(SOON_S)


def test_a_command_at_a_terminal_is_warned_and_waited_for(house: Installation, tmp_path: Path) -> None:
    with serving(house) as (server, alice):
        argv = alice.argv("read line; echo got $line", options=["-tt"])
        with terminal(tmp_path, argv) as window:
            wait_until(lambda: "login" in server.log)
            wait_until(lambda: "read line" in alice.output("ps -eo args"))

            tell(server)

            warning = rf"rootblood: {TOLD}; what runs here is cut off in (60|5\d) s"
            wait_until(lambda: re.search(warning, window.screen) is not None, what="a warning")
            window.enter("it")
            window.wait_for("got it")
            window.wait_for("status=0")
        assert 0 == server.process.wait(SOON_S)


def test_what_takes_longer_than_the_window_is_cut_off(house: Installation) -> None:
    with serving(house, ROOTBLOOD_SERVER__DRAIN_S="1") as (server, alice), alice.open("echo up; cat") as cat:
        assert cat.stdout is not None
        assert b"up\n" == cat.stdout.readline()

        began_at = tell(server)

        assert 255 == cat.wait(SOON_S)
        assert cat.stderr is not None
        assert f"rootblood: {TOLD}; connect again in a moment\n".encode() == cat.stderr.read()
        assert 0 == server.process.wait(SOON_S)
        assert 1 <= time.monotonic() - began_at < SOON_S


def test_a_second_signal_ends_the_server_at_once(house: Installation) -> None:
    with serving(house) as (server, alice), alice.open("echo up; cat") as cat:
        assert cat.stdout is not None
        assert b"up\n" == cat.stdout.readline()
        tell(server)

        server.process.send_signal(signal.SIGINT)

        assert -signal.SIGINT == server.process.wait(SOON_S)


def test_tarballs_are_waited_for_at_both_doors_and_in_the_spool(house: Installation, tmp_path: Path) -> None:
    """One by the drive, one over HTTP, one that nobody waits for, and an upload."""
    with serving(house, ROOTBLOOD_EXPORTS__MAX_OF_ACCOUNT="3") as (server, alice):
        programs = downloader(server, tmp_path)
        uploads = uploader(server, tmp_path)
        alice.output("cat >data", stdin=DATA)
        (tmp_path / "sent").write_bytes(DATA)
        exports = "alice+export@127.0.0.1:home.tar.gz"
        scp = ["scp", "-q", "-l", str(SLOWLY_KBIT_S), *alice.options, "-P", str(alice.port), exports]
        downloads = [
            subprocess.Popen([*scp, str(tmp_path / "drive.tar.gz")]),
            programs.begin("/export/home.tar.zst", "-o", "http.tar.zst", "--limit-rate", SLOWLY),
        ]
        made = tmp_path / "drive.tar.gz", tmp_path / "http.tar.zst"
        wait_until(lambda: all(path.exists() and path.stat().st_size > 0 for path in made))
        with paused(*downloads):
            upload = subprocess.Popen(
                uploads.argv(
                    f"{UPLOAD}/data", "-T", str(tmp_path / "sent"), "-X", "PATCH", "-H", "Upload-Offset: 0",
                    "--limit-rate", SLOWLY,
                ),
                stdout=subprocess.PIPE,
            )  # fmt: skip
            wait_until(lambda: "/usr/lib/rootblood/import" in alice.output("ps -eo args"))
            spooled = programs.api("POST", "/exports", {"format": "tar.gz"})

            tell(server)

        said = [process.communicate(timeout=60)[0] for process in (upload, *downloads)]
        assert [0, 0, 0] == [process.returncode for process in (upload, *downloads)]
        assert b"\n204" == said[0]
        assert 0 == server.process.wait(SOON_S)
    assert DATA == content(tmp_path / "drive.tar.gz")["data"]
    assert DATA == content(tmp_path / "http.tar.zst")["data"]
    record = next((house.directory / "state" / "exports").glob(f"*/{spooled['id']}.json"))
    assert "ready" == json.loads(record.read_text())["state"]
    with serving(house) as (server, alice):
        assert len(DATA) == uploader(server, tmp_path).offset(UPLOAD)
        alice.output("rm data")
