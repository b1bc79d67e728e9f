"""Docker's socket is taken away and brought back, with Docker itself alive behind it."""

import os
from pathlib import Path

from tests.e2e.conftest import client_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Installation
from tests.e2e.outcomes import assert_fails_in_one_line, assert_stays_up, container_of, says_ok
from tests.e2e.proxy import engine_proxy


def test_without_docker_the_server_starts_and_says_so(own_installation: Installation, tmp_path: Path) -> None:
    with own_installation.serving(ROOTBLOOD_ENGINE__URL=f"unix://{tmp_path}/absent.sock") as server:
        alice = client_of(own_installation, server, "alice")
        for _ in range(2):
            assert_fails_in_one_line(alice, os.EX_UNAVAILABLE, "container engine does not answer")
        assert_stays_up(server, "engine_unavailable", "absent.sock")


def test_sessions_go_on_without_docker(own_installation: Installation, tmp_path: Path) -> None:
    with (
        engine_proxy(tmp_path / "docker.sock") as proxy,
        own_installation.serving(ROOTBLOOD_ENGINE__URL=proxy.url) as server,
    ):
        alice = client_of(own_installation, server, "alice")
        with alice.open("echo up; exec cat") as session:
            assert session.stdin is not None
            assert session.stdout is not None
            assert session.stdout.readline() == b"up\n"
            proxy.cut()
            assert_fails_in_one_line(
                client_of(own_installation, server, "bob"), os.EX_UNAVAILABLE, "engine does not answer"
            )
            assert says_ok(alice)  # over the link that is open
            stdout, _ = session.communicate(b"still here\n", timeout=CLIENT_TIMEOUT_S)
            assert (0, b"still here\n") == (session.returncode, stdout)
        proxy.open()
        assert says_ok(client_of(own_installation, server, "bob"))


def test_when_docker_is_back_the_next_login_works(own_installation: Installation, tmp_path: Path) -> None:
    """With streams that go through Docker, which end with it."""
    with (
        engine_proxy(tmp_path / "docker.sock") as proxy,
        own_installation.serving(
            ROOTBLOOD_ENGINE__URL=proxy.url, ROOTBLOOD_ENGINE__DIRECT_STREAMS="false"
        ) as server,
    ):
        alice = client_of(own_installation, server, "alice")
        assert says_ok(alice)
        with alice.open("echo up; exec cat") as session:
            assert session.stdout is not None
            assert session.stdout.readline() == b"up\n"
            proxy.cut()
            _, stderr = session.communicate(timeout=CLIENT_TIMEOUT_S)
            assert os.EX_UNAVAILABLE == session.returncode
            assert 1 == len(stderr.splitlines())
        assert_fails_in_one_line(alice, os.EX_UNAVAILABLE, "container engine does not answer")
        assert_stays_up(server, "engine_unavailable")
        proxy.open()
        assert says_ok(alice)
    assert [container_of(own_installation)] == own_installation.environments()


def test_without_docker_env_commands_fail_in_one_line(own_installation: Installation, tmp_path: Path) -> None:
    away = {"ROOTBLOOD_ENGINE__URL": f"unix://{tmp_path}/absent.sock"}
    for arguments in (("env", "list"), ("env", "stop", "alice"), ("env", "remove", "alice")):
        done = own_installation.cli(*arguments, check=False, env=away)
        assert (1, "") == (done.returncode, done.stdout)
        assert "container engine does not answer" in done.stderr.splitlines()[-1]
