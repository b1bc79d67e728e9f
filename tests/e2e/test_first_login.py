"""The way in: a cold start, what is shown of it, and a home that is there after everything else is gone."""

import subprocess
from pathlib import Path

from tests.e2e.conftest import client_of
from tests.e2e.installation import CLIENT_TIMEOUT_S, Client, Installation, docker_api
from tests.e2e.terminal import terminal


def test_a_cold_start_on_a_pipe_gives_nothing_but_the_program_s_bytes(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        done = client_of(own_installation, server, "alice").run("echo hello; exit 3")

    assert (done.returncode, done.stdout, done.stderr) == (3, b"hello\n", b"")


def test_a_cold_start_on_a_terminal_shows_progress_and_removes_it(
    own_installation: Installation, tmp_path: Path
) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        raw = alice.run("true", options=["-tt"]).stdout
        own_installation.cli("env", "remove", "alice")
        with terminal(tmp_path, alice.argv()) as window:
            screen = window.wait_for("alice@rootblood")

    assert b"rootblood: creating your environment ..." in raw
    assert "rootblood: creating" not in screen


def test_the_home_outlives_its_container(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        alice = client_of(own_installation, server, "alice")
        before = alice.output("touch hello; pwd; id -u")
        own_installation.cli("env", "remove", "alice")
        assert own_installation.environments() == []

        assert alice.output("pwd; id -u; ls hello") == before + "hello\n"


def test_the_home_is_private_and_filled_from_the_skeleton(alice: Client) -> None:
    mode, owner, *files = alice.output("stat -c %a .; stat -c %U:%G .; ls -A").splitlines()

    assert (mode, owner) == ("700", "alice:alice")
    assert {".bashrc", ".profile"} <= set(files)


def test_shared_directory_is_there_at_the_first_login(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        bob = client_of(own_installation, server, "bob")

        assert bob.output("stat -c '%U:%G %a' /global/bob; echo hi > /global/bob/f; cat /global/bob/f") == (
            "bob:bob 3755\nhi\n"
        )


def test_an_account_added_while_serving_can_log_in_at_once(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        public = str(own_installation.directory / "bob_key.pub")
        own_installation.cli("user", "add", "carol", "--key-file", public)
        carol = client_of(own_installation, server, "bob")
        carol.name = "carol"

        assert carol.output("id -un; stat -c %U /global/carol") == "carol\ncarol\n"


def test_setup_can_be_run_again_and_again(bare_installation: Installation) -> None:
    key_file = bare_installation.directory / "keys" / "ssh_host_ed25519_key"

    first = bare_installation.cli("setup", env={"USER": "root", "SUDO_USER": ""}).stdout
    key = key_file.read_bytes()
    second = bare_installation.cli("setup").stdout

    assert "ssh -p 0 admin@127.0.0.1" in first
    assert second == ""
    assert key_file.read_bytes() == key
    assert [row["name"] for row in bare_installation.cli_json("user", "list")] == ["admin"]


def test_the_first_administrator_s_password_is_the_one_shown(bare_installation: Installation) -> None:
    shown = bare_installation.cli("setup", env={"USER": "root", "SUDO_USER": ""}).stdout
    password = next(line.split()[-1] for line in shown.splitlines() if "password  " in line)
    with bare_installation.serving() as server:
        admin = client_of(bare_installation, server, "admin")
        admin.key = None
        done = subprocess.run(
            ["sshpass", "-p", password, *admin.argv("id -un")],
            capture_output=True,
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )

    assert done.stdout == b"admin\n"


def test_serve_without_setup_says_what_to_do(bare_installation: Installation) -> None:
    done = bare_installation.cli("serve", check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert "run: rootblood setup" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_doctor_is_content_and_says_what_is_wrong(own_installation: Installation) -> None:
    healthy = own_installation.cli_json("doctor")
    (own_installation.directory / "keys" / "ssh_host_ed25519_key").chmod(0o640)
    ill = own_installation.cli(
        "doctor",
        check=False,
        env={
            "ROOTBLOOD_ENVIRONMENT__IMAGE": "chaospine:absent",
            "ROOTBLOOD_SSH__MOTD_FILE": "/nowhere/motd",
        },
    )

    assert [finding["check"] for finding in healthy if not finding["ok"]] == []
    assert ill.returncode == 1
    assert [line.partition(":")[0] for line in ill.stdout.splitlines() if line.startswith("FAIL")] == [
        "FAIL host key",
        "FAIL image",
        "FAIL environments",
        "FAIL texts",
    ]


def test_a_taken_port_is_one_line(own_installation: Installation) -> None:
    with own_installation.serving() as server:
        done = own_installation.cli("serve", check=False, env={"ROOTBLOOD_SSH__PORT": str(server.port)})

    assert done.returncode == 1
    told = (
        f"rootblood: cannot listen: 127.0.0.1:{server.port}: address already in use; another port: ssh.port,"
    )
    assert [told] == [line[: len(told)] for line in done.stderr.splitlines() if not line.startswith("{")]


def test_nothing_is_published(own_installation: Installation) -> None:
    with own_installation.serving() as server, docker_api() as api:
        client_of(own_installation, server, "alice").output("true")
        details = api.inspect_container(own_installation.environments()[0])

    assert details["NetworkSettings"]["Ports"] == {}
