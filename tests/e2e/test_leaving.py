"""Leaving: all that is about an account in one archive, and then nothing of it anywhere."""

import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rootblood.stores.sql.models import AccountRow, Base
from tests.e2e.conftest import ALICE_PASSWORD, client_of, make_installation
from tests.e2e.http_browser import Browser
from tests.e2e.installation import Client, Installation, Server, docker_api, wait_until
from tests.e2e.terminal import terminal
from tests.fakes.tarballs import unpacked
from tests.programs import running

HOME = r"""
mkdir -p deep/er bin; echo content >deep/er/file; ln deep/er/file hard; ln -s /etc/shadow shadow
head -c 3000000 /dev/urandom >large; chmod 640 large; mkfifo fifo
echo >"$(printf 'new\nline')"; echo 'echo fake' >bin/tar; chmod 755 bin/tar
"""
LISTING = "find . -mindepth 1 -printf '%P %y %m %l %n\\n' | LC_ALL=C sort"
DIGESTS = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"


@pytest.fixture
def house(own_installation: Installation) -> Installation:
    return own_installation


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Where nobody leaves for good."""
    with make_installation(tmp_path_factory.mktemp("lasting")) as made:
        yield made


def tables_about_accounts() -> Iterator[tuple[str, str]]:
    """Table and column of all that refers to an account."""
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_keys:
            if key.column is AccountRow.__table__.c.uid:
                yield table.name, key.parent.name


def rows_about(house: Installation, uid: int) -> dict[str, int]:
    found = {}
    with closing(sqlite3.connect(house.directory / "state" / "rootblood.db")) as database:
        for table, column in tables_about_accounts():
            query = f"SELECT count(*) FROM {table} WHERE {column} = ?"  # noqa: S608 - names of our own
            found[table] = database.execute(query, (uid,)).fetchone()[0]
    return {table: count for table, count in found.items() if count}


def what_is_left(house: Installation, userhash: str, uid: int) -> set[str]:
    """Whatever there still is of an account on the machine, but for its tombstone."""
    left = {f"row in {table}" for table in rows_about(house, uid)}
    with docker_api() as api:
        for row in api.containers(all=True):
            left |= {f"container {name}" for name in row["Names"] if userhash in name}
        for volume in api.volumes()["Volumes"] or []:
            left |= {f"volume {volume['Name']}"} if userhash in volume["Name"] else set()
    state = house.directory / "state"
    return left | {str(path.relative_to(state)) for path in state.rglob(f"*{userhash}*")}


def account_of(house: Installation, name: str) -> tuple[str, int]:
    (row,) = [row for row in house.cli_json("user", "list") if row["name"] == name]
    return str(row["userhash"]), int(row["uid"])


def names(house: Installation) -> set[str]:
    return {row["name"] for row in house.cli_json("user", "list")}


def leave_traces(house: Installation, server: Server, client: Client) -> None:
    """Do whatever leaves something somewhere."""
    client.output("echo mine >notes; rb web")
    client.output("rb key add", stdin=(house.directory / "bob_key.pub").read_bytes())
    client.run("rb export --spool tar.gz")
    if client.name == "alice":
        Browser().log_in(server.web_url, "alice", ALICE_PASSWORD)

    _, uid = account_of(house, client.name)

    def is_written() -> bool:
        activity = house.cli("user", "activity", client.name, "--json").stdout
        return "visits" in rows_about(house, uid) and "logged_in" in activity

    # Both doors write in the background, visits and activity each for themselves.
    wait_until(is_written, timeout_s=60)


def deleted(house: Installation, name: str, userhash: str, uid: int) -> None:
    """See that nothing of it is left, and that the name is."""
    assert {"row in audit_events", f"locks/{userhash}"} == what_is_left(house, userhash, uid)
    assert {"audit_events": 1} == rows_about(house, uid)
    (event,) = house.cli_json("user", "activity", name)
    assert "deleted" == event["action"]
    again = house.cli("user", "add", name, check=False)
    assert (1, True) == (again.returncode, "is not given again" in again.stderr)


def test_an_account_is_exported_whole(lasting: Installation, tmp_path: Path) -> None:
    files = [tmp_path / f"alice.{kind}" for kind in ("tar.gz", "tar.zst")]
    with lasting.serving() as server:
        alice = client_of(lasting, server, "alice")
        alice.output(HOME)
        inside = alice.output(DIGESTS), alice.output(LISTING)
        for file in files:
            lasting.cli("user", "export", "alice", str(file))  # beside the server
            assert 0o600 == stat.S_IMODE(file.stat().st_mode)
        assert "still here\n" == alice.output("echo still here")
    for file in files:
        content = unpacked(file)
        assert b"content\n" == content["home/deep/er/file"]
        assert b"has_password" in content["account/account.json"]
        assert b"$argon2" not in b"".join(content.values())
        assert b'"logged_in"' in content["account/activity.json"]

        out = tmp_path / f"out-of-{file.name}"
        out.mkdir()
        subprocess.run(["tar", "-xpf", file, "-C", out, "home"], check=True, timeout=180)
        for command, expected in zip((DIGESTS, LISTING), inside, strict=True):
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=out / "home", capture_output=True, text=True, check=True, timeout=180,
            )  # fmt: skip
            assert expected == done.stdout


def test_without_a_server_too_and_the_environment_is_left_as_it_was(
    lasting: Installation, tmp_path: Path
) -> None:
    with lasting.serving() as server:
        client_of(lasting, server, "alice").output("echo mine >notes")
    lasting.cli("env", "stop", "alice")

    done = subprocess.run(
        [sys.executable, "-m", "rootblood", "user", "export", "alice", "-"],
        env=lasting.env,
        cwd=lasting.directory,
        capture_output=True,
        check=True,
        timeout=180,
    )
    (tmp_path / "alice.tar.zst").write_bytes(done.stdout)
    assert b"mine\n" == unpacked(tmp_path / "alice.tar.zst")["home/notes"]
    (row,) = lasting.cli_json("env", "list")
    assert "stopped" == row["state"]

    # Of one that has never logged in, there is the account.
    lasting.cli("user", "export", "bob", str(tmp_path / "bob.tar.gz"))
    assert b'"bob"' in unpacked(tmp_path / "bob.tar.gz")["account/account.json"]


def test_an_export_that_is_killed_leaves_no_file_of_that_name(lasting: Installation, tmp_path: Path) -> None:
    with lasting.serving() as server:
        client_of(lasting, server, "alice").output("head -c 200000000 /dev/urandom >large")
    file = tmp_path / "alice.tar.gz"
    part = tmp_path / "alice.tar.gz.part"
    # Whatever the tests themselves were started by: what a script has in the background ignores SIGINT.
    argv = ["env", "--default-signal=INT", sys.executable, "-m", "rootblood", "user", "export", "alice", file]
    for number in (signal.SIGKILL, signal.SIGINT):
        with running(argv, env=lasting.env, cwd=lasting.directory, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda: part.exists() and part.stat().st_size > 0)
            process.send_signal(number)
            assert process.wait(90) != 0
        assert not file.exists()
        assert (number == signal.SIGKILL) == part.exists()
        part.unlink(missing_ok=True)


@pytest.mark.parametrize("served", [True, False])
def test_of_a_deleted_account_nothing_is_left(house: Installation, *, served: bool) -> None:
    server = house.start()
    try:
        alice, bob = client_of(house, server, "alice"), client_of(house, server, "bob")
        userhash, uid = account_of(house, "alice")
        leave_traces(house, server, alice)
        leave_traces(house, server, bob)
        assert {"keys", "visits", "login_sessions", "login_links", "audit_events"} <= rows_about(
            house, uid
        ).keys()
        with alice.open("sleep 1000") as held:
            wait_until(lambda: "sleep 1000" in alice.output("ps ax"), timeout_s=60)
            if not served:
                server.stop(signal.SIGKILL)
            done = house.cli("user", "delete", "alice", "--yes")
            assert "/global/alice is kept" in done.stdout
            assert held.wait(90) != 0
        if served:
            assert 255 == alice.run("true").returncode
            assert "mine\n" == bob.output("cat notes")
    finally:
        server.stop()
        assert server.process.stdout is not None
        server.process.stdout.close()
    deleted(house, "alice", userhash, uid)
    assert {"keys", "visits", "audit_events"} <= rows_about(house, account_of(house, "bob")[1]).keys()


def test_what_is_shared_goes_where_it_is_asked_for(house: Installation) -> None:
    with house.serving() as server:
        alice, bob = client_of(house, server, "alice"), client_of(house, server, "bob")
        for client in (alice, bob):
            client.output(f"cd /global/{client.name}; mkdir -p a/b; echo shared >a/b/c; echo . >.hidden")
        house.cli("user", "delete", "alice", "--yes", "--purge-global")
        assert "" == bob.output("ls -A /global/alice")
        assert "shared\n" == bob.output("cat /global/bob/a/b/c")
        carol = house.cli("user", "add", "carol", "--key-file", str(house.directory / "alice_key.pub"))
        assert 0 == carol.returncode
        house.cli("user", "delete", "bob", "--yes")
        newcomer = replace(alice, name="carol")
        assert "shared\n" == newcomer.output("cat /global/bob/a/b/c")


def test_a_deletion_that_is_killed_is_finished_by_the_same_command(house: Installation) -> None:
    with house.serving() as server:
        leave_traces(house, server, client_of(house, server, "alice"))
    userhash, uid = account_of(house, "alice")
    state = house.directory / "state"

    def gone(what: str) -> bool:
        return not [name for name in what_is_left(house, userhash, uid) if name.startswith(what)]

    for what in ("row in login_sessions", "container", "volume", "exports"):
        argv = [sys.executable, "-m", "rootblood", "user", "delete", "alice", "--yes"]
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with running(argv, env=house.env, cwd=house.directory, **streams) as process:
            while not gone(what) and process.poll() is None:
                pass
    done = house.cli("user", "delete", "alice", "--yes", check=False)
    assert done.returncode == 0 or "there is no account 'alice'" in done.stderr
    assert what_is_left(house, userhash, uid) <= {"row in audit_events", f"locks/{userhash}"}
    assert (state / "exports").is_dir()


def test_who_leaves_by_rb_is_told_and_then_gone(house: Installation, tmp_path: Path) -> None:
    with house.serving() as server:
        alice, bob = client_of(house, server, "alice"), client_of(house, server, "bob")
        userhash, uid = account_of(house, "alice")
        leave_traces(house, server, alice)

        for lines, said in (
            ("alic\nx\n", b"rb: that is not alice"),
            ("alice\nx\n", b"rb: that is not your cur"),
        ):
            refused = alice.run("rb account delete --stdin", stdin=lines.encode())
            assert (1, said) == (refused.returncode, refused.stderr[: len(said)])
        assert (1, b"rb: there is no terminal") == (
            (asked := alice.run("rb account delete")).returncode,
            asked.stderr[:24],
        )

        with terminal(tmp_path, alice.argv(), columns=150) as window:
            window.wait_for("alice@rootblood")
            window.enter("clear; rb account delete")
            window.wait_for("Type the name of the account to delete it:")
            window.enter("bob")
            window.wait_for("that is not alice; nothing was deleted")
            window.enter("clear; echo round 2; rb account delete")
            window.wait_for("round 2\nThis deletes the account alice:")
            window.wait_for("Type the name of the account to delete it:")
            window.enter("alice")
            window.wait_for("Password:")
            window.enter(ALICE_PASSWORD)
            screen = window.wait_for("status=255")
        assert "alice is being deleted now: environment, home, keys, tarballs, activity." in screen
        assert ALICE_PASSWORD not in screen
        wait_until(lambda: "alice" not in names(house), timeout_s=60)
        assert 255 == alice.run("true").returncode
        assert "bob\n" == bob.output("id -un")
    deleted(house, "alice", userhash, uid)


def test_a_pipe_is_answered_before_the_end(house: Installation) -> None:
    with house.serving() as server:
        bob = client_of(house, server, "bob")  # who has no password
        userhash, uid = account_of(house, "bob")
        done = bob.run("rb account delete --stdin; sleep 1000", stdin=b"bob\n\n")
        assert done.stdout.startswith(b"bob is being deleted now: ")
        assert done.returncode != 0
        wait_until(lambda: "bob" not in names(house), timeout_s=60)
    deleted(house, "bob", userhash, uid)


def test_the_last_administrator_stays(tmp_path: Path) -> None:
    with make_installation(tmp_path) as house:
        public = str(house.directory / "alice_key.pub")
        for row in house.cli_json("user", "list"):
            if row["admin"]:  # whom setup has made
                house.cli("user", "lock", row["name"])
        house.cli("user", "add", "root-of-all", "--admin", "--key-file", public)
        with house.serving() as server:
            admin = replace(client_of(house, server, "alice"), name="root-of-all")
            done = admin.run("rb account delete --stdin", stdin=b"root-of-all\n\n")
            assert (1, b"rb: you are the last administrator;") == (done.returncode, done.stderr[:35])
            assert "root-of-all\n" == admin.output("id -un")
