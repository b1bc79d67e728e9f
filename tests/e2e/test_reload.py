"""SIGHUP to a real server: what changed counts, what is open goes on, and a mistake changes nothing.

systemd's end of the notifications is a socket of the test's own.
"""

import json
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import client_of
from tests.e2e.installation import Installation, Server, ask, docker_api, wait_until
from tests.e2e.terminal import terminal

FIRST = """
[ssh]
motd_file = "motd"

[limits]
pids = 100
"""

SECOND = """
[ssh]
motd_file = "motd"
host = "127.0.0.2"
login_grace_s = 1

[ssh.forwarding]
local = false

[limits]
pids = 77
"""


def log_of(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]


def reload(server: Server, outcome: str) -> list[dict[str, Any]]:
    """Send SIGHUP, wait for that event, and return what was logged meanwhile."""
    before = len(log_of(server))
    server.process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: outcome in [line["event"] for line in log_of(server)[before:]],
        what=f"{outcome} in the log",
    )
    return log_of(server)[before:]


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[list[str]]:
    """What systemd would have been told by now, line by line."""
    lines: list[str] = []
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(str(tmp_path / "notify"))

        def read() -> None:
            while data := listener.recv(4096):  # nothing is what the end of this fixture sends
                lines.extend(data.decode().splitlines())

        reader = threading.Thread(target=read)
        reader.start()
        yield lines
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sender:
            sender.sendto(b"", listener.getsockname())
        reader.join()


def pids_limit(installation: Installation) -> int:
    with docker_api() as api:
        details = api.inspect_container(f"rb_{installation.userhash('alice')}")
        return int(details["HostConfig"]["PidsLimit"])


def is_closed_within(server: Server, seconds: int) -> bool:
    """Whether the SSH door closes a connection that does not authenticate."""
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=seconds)) as connection:
        try:
            while connection.recv(4096):
                pass
        except TimeoutError:
            return False
    return True


def shows(installation: Installation, server: Server, directory: Path, text: str) -> None:
    """Have a new terminal of alice's show that."""
    alice = client_of(installation, server, "alice")
    with terminal(directory, alice.argv(options=["-tt"])) as window:
        window.wait_for(text)
        window.enter("exit")  # or the next terminal would show this one's session
        window.wait_for("status=0")


def test_a_running_server_takes_other_settings(
    own_installation: Installation, notified: list[str], tmp_path: Path
) -> None:
    settings, motd = own_installation.directory / "rootblood.toml", own_installation.directory / "motd"
    settings.write_text(FIRST)
    motd.write_text("the first message\n")
    with own_installation.serving(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000") as server:
        wait_until(lambda: "READY=1" in notified)
        alice = client_of(own_installation, server, "alice")
        with alice.open("cat") as open_before:
            assert b"before\n" == ask(open_before, b"before\n")
            shows(own_installation, server, tmp_path, "the first message")

            settings.write_text(SECOND)
            motd.write_text("the second message\n")
            lines = reload(server, "reloaded")

            assert {
                ("ssh.login_grace_s", 30, 1),
                ("ssh.forwarding.local", True, False),
                ("limits.pids", 100, 77),
            } == {
                (line["setting"], line["old"], line["new"])
                for line in lines
                if line["event"] == "setting_changed"
            }
            assert [("ssh.host", "127.0.0.1", "127.0.0.2")] == [
                (line["setting"], line["runs"], line["read"])
                for line in lines
                if line["event"] == "setting_needs_restart"
            ]
            assert 1 == [line["event"] for line in lines].count("texts_changed")
            assert is_closed_within(server, 15)
            shows(own_installation, server, tmp_path, "the second message")
            assert b"after\n" == ask(open_before, b"after\n")
        wait_until(lambda: notified.count("READY=1") == 2)
        told = [line for line in notified if line in {"READY=1", "RELOADING=1"}]
        assert ["READY=1", "RELOADING=1", "READY=1"] == told
        assert "WATCHDOG=1" in notified

        assert 100 == pids_limit(own_installation)
        own_installation.cli("env", "stop", "alice")
        alice.output("true")
        assert 77 == pids_limit(own_installation)
        refused = alice.run(options=["-W", "127.0.0.1:22", "-o", "LogLevel=INFO"])
        assert b"administratively prohibited" in refused.stderr

        settings.write_text("[limits]\npids = 'many'\n")
        motd.write_text("the third message\n")
        (line,) = [line for line in reload(server, "reload_failed") if line["event"] == "reload_failed"]
        assert line["cause"].startswith("setting limits.pids: ")
        shows(own_installation, server, tmp_path, "the second message")
    wait_until(lambda: "STOPPING=1" in notified)


def make_certificate(directory: Path, name: str) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
         "-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")],
        check=True,
        capture_output=True,
    )  # fmt: skip
    (directory / "key.pem").chmod(0o600)


def test_a_running_server_takes_another_certificate(own_installation: Installation, tmp_path: Path) -> None:
    certificate = tmp_path / "cert.pem"
    make_certificate(tmp_path, "first")
    first = certificate.read_text()
    with own_installation.serving(
        ROOTBLOOD_WEB__TLS_CERT_FILE=str(certificate), ROOTBLOOD_WEB__TLS_KEY_FILE=str(tmp_path / "key.pem")
    ) as server:
        address = ("127.0.0.1", int(server.web_url.rpartition(":")[2]))
        assert first == ssl.get_server_certificate(address)

        make_certificate(tmp_path, "second")
        second = certificate.read_text()
        reload(server, "reloaded")
        assert second == ssl.get_server_certificate(address)

        certificate.write_text(first)  # which the key is not of
        reload(server, "reload_failed")
        assert second == ssl.get_server_certificate(address)
