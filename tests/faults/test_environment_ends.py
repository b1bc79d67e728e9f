"""Environments that end, or suffer, under those who are in them: who reads why, where, and how soon."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rootblood.domain.environments import container_name
from tests.e2e.conftest import ALICE_PASSWORD, client_of, make_installation
from tests.e2e.http_browser import Browser, Tab
from tests.e2e.installation import Client, Installation, Server, ask, docker_api, wait_until
from tests.e2e.terminal import Terminal, terminal

AT_ONCE_S = 2
ENDED = 4504

MEMORY_MIB = 96
EAT = "python3 -c 'bytearray(400 << 20)'"

OOM_OF_ALL = (
    "for idle in $(pgrep -f '^/bin/sh .*/idle$'); do echo 1000 >/proc/$idle/oom_score_adj; done; " + EAT
)
"""The kernel kills the environment's first program, as that has the highest score."""


@dataclass(frozen=True)
class Ground:
    """A server, and alice's environment on it."""

    installation: Installation
    server: Server
    directory: Path

    @property
    def alice(self) -> Client:
        return client_of(self.installation, self.server, "alice")

    @property
    def rescue(self) -> Client:
        return replace(self.alice, name="alice+rescue")

    @property
    def container(self) -> str:
        return container_name(self.installation.userhash("alice"))


@dataclass(frozen=True)
class Attached:
    """Everybody who is in the environment."""

    screen: Terminal
    command: "subprocess.Popen[bytes]"
    tab: Tab
    browser: Browser

    def read(self, words: str) -> None:
        """All of them read why it ended, each in its way."""
        assert ENDED == self.tab.wait_closed()
        assert words == self.tab.close_reason
        self.screen.wait_for(f"rootblood: {words}; connect again")
        _, stderr = self.command.communicate(timeout=60)
        assert f"rootblood: {words}; connect again\n" == stderr.decode()
        assert 0 != self.command.returncode


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    directory = tmp_path_factory.mktemp("ends")
    memory = {"ROOTBLOOD_LIMITS__MEMORY_MIB": str(MEMORY_MIB), "ROOTBLOOD_LIMITS__TMP_MIB": "16"}
    with make_installation(directory, **memory) as installation, installation.serving() as server:
        yield Ground(installation, server, directory)


@contextmanager
def attached(ground: Ground) -> Iterator[Attached]:
    """A terminal and a command over SSH, and a terminal in a browser, all of them up."""
    browser = Browser()
    browser.log_in(ground.server.web_url, "alice", ALICE_PASSWORD)
    with (
        ground.alice.open("echo up; exec cat") as command,
        terminal(ground.directory, ground.alice.argv(options=["-tt"]), columns=120) as screen,
        browser.terminal(ground.server.web_url, "?session=new") as tab,
    ):
        assert command.stdout is not None
        assert b"up\n" == command.stdout.readline()
        screen.wait_for("alice@rootblood")
        tab.wait_for("alice@rootblood")
        yield Attached(screen, command, tab, browser)


def kill(ground: Ground) -> None:
    with docker_api() as api:
        api.kill(ground.container)


def stop(ground: Ground) -> None:
    with docker_api() as api:
        api.stop(ground.container)


def remove(ground: Ground) -> None:
    with docker_api() as api:
        api.remove_container(ground.container, force=True)


ENDS: dict[str, tuple[Callable[[Ground], object], str]] = {
    "docker kill": (kill, "your environment was killed"),
    "docker stop": (stop, "your environment was told to stop"),
    "docker rm -f": (remove, "your environment was removed, but not your home"),
    "env stop": (
        lambda ground: ground.installation.cli("env", "stop", "alice"),
        "your environment was stopped by an administrator",
    ),
    "rescue": (lambda ground: ground.rescue.output("stop"), "your environment was stopped, as you asked"),
    "out of memory": (lambda ground: ground.alice.run(OOM_OF_ALL), "your environment ran out of memory"),
    "kill -9 -1": (lambda ground: ground.alice.run("kill -9 -1"), "your environment was killed"),
}


@pytest.mark.parametrize("how", ENDS)
def test_everybody_in_it_reads_why_it_ended_and_the_next_login_heals(ground: Ground, how: str) -> None:
    end, words = ENDS[how]
    with attached(ground) as everybody:
        end(ground)
        everybody.read(words)
    assert "ok\n" == ground.alice.output("echo ok")


@pytest.mark.serial
def test_it_is_read_within_two_seconds(ground: Ground) -> None:
    with attached(ground) as everybody:
        kill(ground)
        killed_at = time.monotonic()
        everybody.read("your environment was killed")
        assert AT_ONCE_S > time.monotonic() - killed_at


def test_who_is_in_an_environment_that_lives_on_reads_of_a_kill_for_want_of_memory(ground: Ground) -> None:
    with attached(ground) as everybody:
        assert 0 != ground.alice.run(EAT).returncode
        words = "rootblood: out of memory: a program in your environment was killed"
        everybody.screen.wait_for(words)
        everybody.tab.wait_for(words)
        assert b"still here\n" == ask(everybody.command, b"still here\n")
        everybody.screen.enter("echo 'and' here")
        everybody.screen.wait_for("and here")


def test_who_is_in_a_paused_environment_reads_of_it_and_it_goes_on_with_the_next_terminal(
    ground: Ground,
) -> None:
    with attached(ground) as everybody:
        with docker_api() as api:
            api.pause(ground.container)
        words = "rootblood: your environment was paused; it goes on with your next login"
        everybody.screen.wait_for(words)
        everybody.tab.wait_for(words)
        with everybody.browser.terminal(ground.server.web_url, "?session=new") as tab:
            tab.wait_for("alice@rootblood")
        assert b"still here\n" == ask(everybody.command, b"still here\n")


def test_a_crash_loop_waits_for_its_owner_at_every_server(own_installation: Installation) -> None:
    loop = {"ROOTBLOOD_CRASH_LOOP__ENDS": "2", "ROOTBLOOD_CRASH_LOOP__FIRST_WAIT_S": "600"}
    with own_installation.serving(**loop) as one, own_installation.serving(**loop) as two:
        first, second = (client_of(own_installation, server, "alice") for server in (one, two))
        for client in (first, second):
            assert 0 != client.run("kill -9 -1").returncode
        for client, server in ((first, one), (second, two)):
            wait_until(lambda server=server: 2 == server.log.count("environment_ended"))  # type: ignore[misc]
            done = client.run("true")
            assert (69, b"") == (done.returncode, done.stdout)
            assert re.fullmatch(
                r"rootblood: your environment ended by itself 2 times, each time soon after its start; "
                r"a login starts it again in \d+ min \d+ s; to see why: ssh alice\+rescue@<this host>\n",
                done.stderr.decode(),
            ), done.stderr
        replace(first, name="alice+rescue").output("start")
        assert ["ok\n", "ok\n"] == [client.output("echo ok") for client in (first, second)]
