"""`make service`, on a machine that systemd runs: what its units promise, kept."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from rootblood.settings import Settings
from tests.e2e.conftest import make_key
from tests.e2e.installation import Installation, wait_until
from tests.faults.test_handover import Loop, commands
from tests.scripts.machine import PLACE, ClientThere, Machine, booted
from tests.test_units import MAX_EXPOSURE

UNIT = "rootblood.service"
SOCKETS = ["rootblood-ssh.socket", "rootblood-web.socket"]
SETTINGS = "/etc/rootblood/rootblood.toml"
DROP_INS = f"/etc/systemd/system/{UNIT}.d"
WAIT_S = 120


@dataclass(frozen=True)
class Service:
    """RootBlood as a service of a machine, with the account alice."""

    machine: Machine
    alice: ClientThere
    said: str
    """What `make service` printed."""

    def show(self, name: str) -> str:
        """A property of the unit's."""
        return self.machine.output("systemctl", "show", f"--property={name}", "--value", UNIT)

    @property
    def journal(self) -> str:
        return self.machine.journal(UNIT)

    @contextmanager
    def settings(self, more: str) -> Iterator[None]:
        """Have more in the settings for the length of a block; who is to read them has to be told."""
        before = self.machine.run("cat", SETTINGS).stdout
        self.machine.run("tee", SETTINGS, stdin=f"{before}\n{more}")
        try:
            yield
        finally:
            self.machine.run("tee", SETTINGS, stdin=before)

    @contextmanager
    def drop_in(self, text: str) -> Iterator[None]:
        """Change the unit for the length of a block, as `systemctl edit` does."""
        path = f"{DROP_INS}/changed.conf"
        self.machine.run("tee", path, stdin=text)
        self.machine.run("systemctl", "daemon-reload")
        try:
            yield
        finally:
            self.machine.run("rm", path)
            self.machine.run("systemctl", "daemon-reload")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """All tests leave it running, and its settings as they were."""
    directory = tmp_path_factory.mktemp("service")
    installation = Installation(directory)
    env = {
        "ROOTBLOOD_ENGINE__INSTANCE": installation.instance,
        "ROOTBLOOD_ENGINE__SUBNET": installation.subnet,
        # The engine is on this machine, and would look for the sockets here.
        "ROOTBLOOD_ENGINE__DIRECT_STREAMS": "false",
    }
    image = os.environ.get("ROOTBLOOD_ENVIRONMENT__IMAGE")
    if image is not None:
        env["ROOTBLOOD_ENVIRONMENT__IMAGE"] = image
    try:
        (directory / "machine").mkdir()
        with booted(directory / "machine", env) as machine:
            machine.run("mkdir", DROP_INS)
            assignments = " ".join(f"{name}={value}" for name, value in env.items())
            machine.run("tee", f"{DROP_INS}/engine.conf", stdin=f"[Service]\nEnvironment={assignments}\n")
            said = machine.output("make", f"--directory={PLACE}", "service")
            key = make_key(directory / "key")
            public = key.with_suffix(".pub").read_text()
            machine.run("/usr/local/sbin/rootblood", "user", "add", "alice", "--key-file", "-", stdin=public)
            yield Service(machine, ClientThere(directory, "alice", 2222, key, machine), said)
    finally:
        installation.destroy()


def test_it_serves_as_a_user_of_its_own(service: Service) -> None:
    assert re.search(r"log in with  ssh -p 2222 admin@127\.0\.0\.1\n  password     \S+\n", service.said)
    assert "Active: active (running)" in service.said
    assert "alice\n" == service.alice.output("id -un")

    main = service.show("MainPID")
    assert "rootblood" == service.machine.output("stat", "--format=%U", f"/proc/{main}")
    assert "600 rootblood" == service.machine.output("stat", "--format=%a %U", SETTINGS)
    assert "enabled\n" * 3 == service.machine.run("systemctl", "is-enabled", UNIT, *SOCKETS).stdout
    service.machine.run("systemd-analyze", "security", f"--threshold={MAX_EXPOSURE * 10:.0f}", UNIT)


def test_a_reload_changes_settings_and_not_the_server(service: Service) -> None:
    before = service.show("MainPID")

    with service.settings("[limits]\npids = 77\n"):
        service.machine.run("systemctl", "reload", UNIT)
        wait_until(lambda: changed_to(service, 77), timeout_s=WAIT_S, what="the reload")
    service.machine.run("systemctl", "reload", UNIT)
    wait_until(lambda: changed_to(service, Settings().limits.pids), timeout_s=WAIT_S, what="the reload back")

    assert [before, "active"] == [service.show("MainPID"), service.show("ActiveState")]


def changed_to(service: Service, pids: int) -> bool:
    """Whether the limit came to be that, last of all."""
    lines = [json.loads(line) for line in service.journal.splitlines() if line.startswith("{")]
    values = [line["new"] for line in lines if line.get("setting") == "limits.pids"]
    return values[-1:] == [pids]


def test_an_update_refuses_nobody(service: Service) -> None:
    before = service.show("MainPID")
    loops = [commands(service.alice), pages(service.machine)]
    with loops[0].going(), loops[1].going():
        for loop in loops:
            loop.wait_for_more(1)
        service.machine.run("make", f"--directory={PLACE}", "service")
        for loop in loops:
            loop.wait_for_more(2)

    assert ([], []) == (loops[0].failures, loops[1].failures)
    assert [True, "active"] == [before != service.show("MainPID"), service.show("ActiveState")]


def pages(machine: Machine) -> Loop:
    """Asks the HTTP door for a page, again and again."""

    def attempt() -> str | None:
        done = machine.run("curl", "--silent", "--show-error", "http://127.0.0.1:8080/healthz", check=False)
        return None if (done.returncode, done.stdout) == (0, "ok\n") else repr(done)

    return Loop(attempt)


def test_a_server_that_is_stuck_is_started_anew(service: Service) -> None:
    with service.drop_in("[Service]\nWatchdogSec=5\n"):
        service.machine.run("systemctl", "restart", UNIT)
        stuck = service.show("MainPID")
        service.machine.run("kill", "-STOP", stuck)
        wait_until(lambda: is_stopped(service.machine, stuck), what="the stop")

        assert "after\n" == service.alice.output("echo after")
        assert stuck != service.show("MainPID")
        assert f"{UNIT}: Watchdog timeout" in service.journal


def is_stopped(machine: Machine, pid: str) -> bool:
    """Whether it is, or is gone already: the watchdog may be faster than this."""
    return machine.run("ps", "-o", "state=", pid, check=False).stdout.strip() in {"T", ""}


def test_wrong_settings_are_given_up_and_good_ones_bring_all_back(service: Service) -> None:
    # Fewer attempts than in earnest, and however long each of them takes here.
    limit = "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=1h\n"
    with service.drop_in(limit), service.settings("[limits]\npids = 'many'\n"):
        service.machine.run("systemctl", "reset-failed", UNIT)
        service.machine.run("systemctl", "restart", UNIT, check=False)
        wait_until(
            lambda: f"{UNIT}: Start request repeated too quickly." in service.journal,
            timeout_s=WAIT_S,
            what="the end of all attempts",
        )

        told = [line for line in service.journal.splitlines() if line.startswith("rootblood: ")]
        assert "failed" == service.show("ActiveState")
    mistake = "setting limits.pids: Input should be a valid integer, unable to parse string as an integer"
    assert [f"rootblood: {mistake}"] * 2 == told

    service.machine.run("systemctl", "reset-failed", UNIT)
    service.machine.run("systemctl", "start", UNIT)
    assert "active\n" * 3 == service.machine.run("systemctl", "is-active", UNIT, *SOCKETS).stdout
    assert "back\n" == service.alice.output("echo back")
