"""`rb export` and `rb import`: homes out of an environment and into it, by whoever is in it."""

import hashlib
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rootblood.domain.environments import container_name
from tests.e2e.conftest import client_of, make_installation
from tests.e2e.holding import gzip_held
from tests.e2e.installation import Client, Installation, Server, wait_until
from tests.e2e.terminal import terminal
from tests.fakes.tarballs import unpacked

FILES = {"notes": b"mine\n", "deep/er/file": b"\0" * 5000}
MAX_FIRST_BYTE_S = 0.3


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with make_installation(tmp_path_factory.mktemp("tarballs")) as made:
        yield made


@pytest.fixture(scope="module")
def door(house: Installation) -> Iterator[Server]:
    with house.serving() as server:
        yield server


@pytest.fixture
def alice(house: Installation, door: Server) -> Client:
    """With nothing in her home but `FILES`."""
    alice = client_of(house, door, "alice")
    alice.output(
        "find . -mindepth 1 -delete; mkdir -p deep/er; echo mine >notes; head -c 5000 /dev/zero >deep/er/file"
    )
    return alice


def of_home(archive: Path) -> dict[str, bytes]:
    return {name.removeprefix("home/"): data for name, data in unpacked(archive).items()}


def exported(client: Client, path: Path, *words: str) -> bytes:
    """What `rb export` writes to stdout, and to that path."""
    done = client.run(" ".join(["rb", "export", *words]))
    assert (done.returncode, done.stderr) == (0, b"")
    path.write_bytes(done.stdout)
    return done.stdout


@pytest.mark.parametrize(("words", "ending"), [([], "zst"), (["tar.zst"], "zst"), (["tar.gz"], "gz")])
def test_a_home_goes_out_by_a_pipe(alice: Client, tmp_path: Path, words: list[str], ending: str) -> None:
    archive = tmp_path / f"home.tar.{ending}"
    exported(alice, archive, *words)
    assert FILES == of_home(archive)


@pytest.mark.serial
def test_the_first_byte_comes_at_once(alice: Client, house: Installation) -> None:
    """In as much time as the target says, or what Docker takes three times for nothing at all."""
    container = container_name(house.userhash("alice"))
    took, execs = [], []
    with alice.open("sleep 60"):
        for _ in range(5):
            begun = time.monotonic()
            with alice.open("rb export") as export:
                assert export.stdout is not None
                assert export.stdout.read(1)
                took.append(time.monotonic() - begun)
            begun = time.monotonic()
            subprocess.run(["docker", "exec", container, "true"], check=True, timeout=60)
            execs.append(time.monotonic() - begun)
    assert min(took) <= max(MAX_FIRST_BYTE_S, 3 * min(execs)), (took, execs)


def test_a_home_that_cannot_be_read_is_no_archive(alice: Client, tmp_path: Path) -> None:
    alice.output("mkdir locked; chmod 0 locked")
    done = alice.run("rb export tar.gz")
    alice.output("chmod 700 locked")
    assert 1 == done.returncode
    assert b"export: the archive is not whole: " in done.stderr
    (tmp_path / "broken.gz").write_bytes(done.stdout)
    assert subprocess.run(
        ["gzip", "-tq", tmp_path / "broken.gz"], check=False, capture_output=True
    ).returncode


def test_a_terminal_is_no_place_for_it(alice: Client) -> None:
    done = alice.run("rb export", options=["-tt"])
    assert 1 == done.returncode
    assert b"that is no text for a terminal" in done.stdout


def test_and_back_again(alice: Client, tmp_path: Path) -> None:
    archive = exported(alice, tmp_path / "home.tar.zst")
    assert "Unpacked into ~/back.\n" == alice.output("rb import - --into back", stdin=archive)
    assert "" == alice.output("diff -r notes back/notes && diff -r deep back/deep")

    alice.output("cat >./-rf.tar.zst", stdin=archive)
    said = alice.output("rb import -rf.tar.zst")
    assert re.fullmatch(r"Unpacked into ~/import-\S+\.\n", said)

    taken = alice.run("rb import - --into back", stdin=archive)
    assert (1, b"import: nothing was changed: ") == (taken.returncode, taken.stderr[:29])


def test_a_home_is_replaced_only_by_who_says_so(alice: Client, tmp_path: Path) -> None:
    archive = exported(alice, tmp_path / "home.tar.gz", "tar.gz")
    alice.output("cat >../../tmp/home.tar.gz; echo newer >notes", stdin=archive)

    for command, reason in (
        ("rb import /tmp/home.tar.gz --replace", b"rb: there is no terminal to ask on"),
        ("rb import - --replace", b"rb: the archive comes where the answer would"),
    ):
        refused = alice.run(command)
        assert (1, reason) == (refused.returncode, refused.stderr[: len(reason)])
    assert "newer\n" == alice.output("cat notes")

    done = alice.output("rb import /tmp/home.tar.gz --replace --yes")
    old = re.search(r"the old one is in ~/(home-before-\S+)\. Log in again\.\n", done)
    assert old is not None, done
    assert "mine\n" == alice.output("cat notes")
    assert "newer\n" == alice.output(f"cat {old[1]}/notes")


def test_on_a_terminal_it_is_asked(alice: Client, tmp_path: Path) -> None:
    archive = exported(alice, tmp_path / "home.tar.gz", "tar.gz")
    alice.output("cat >/tmp/home.tar.gz; echo newer >notes", stdin=archive)
    with terminal(tmp_path, alice.argv(), columns=150) as window:
        window.wait_for("alice@rootblood")
        window.enter("rb import /tmp/home.tar.gz --replace; echo status $?")
        window.wait_for("Type yes to replace your home:")
        window.enter("y")
        window.wait_for("nothing was changed")
        window.wait_for("\nstatus 1")
        window.enter("clear; echo round 2; rb import /tmp/home.tar.gz --replace")
        # Nothing of the round before may be taken for this one's.
        window.wait_for("round 2\nWhat is in")
        window.wait_for("Type yes to replace your home:")
        window.enter("yes")
        window.wait_for("This is your home now")
        window.enter("exit")
    assert "mine\n" == alice.output("cat notes")


@pytest.mark.parametrize(
    "words",
    [
        "export zip",
        "export --spool zip",
        "export --delete",
        "export tar.gz tar.zst",
        "exports --all",
        "import",
        "import x --into",
        "import x --else",
        "import x --replace --no",
        "import x --into y --replace",
        "account",
        "account else",
        "account export zip",
        "account delete now",
    ],
)
def test_misuse(alice: Client, words: str) -> None:
    done = alice.run(f"rb {words}")
    assert (2, b"usage: rb web", b"") == (done.returncode, done.stderr[:13], done.stdout)


@pytest.fixture
def drive(alice: Client) -> Client:
    return replace(alice, name="alice+export")


def fetched(drive: Client, name: str, directory: Path) -> Path:
    drive.sftp(f"get {name} {directory}/{name}")
    return directory / name


@pytest.mark.parametrize("words", ["export --spool", "export --spool tar.gz"])
def test_one_is_kept_on_the_server(alice: Client, drive: Client, tmp_path: Path, words: str) -> None:
    done = alice.run(f"rb {words}")
    assert 0 == done.returncode, done.stderr
    said = done.stdout.decode()
    name, digest = said.splitlines()[0], re.search(r"^  sha256   ([0-9a-f]{64})$", said, re.MULTILINE)
    assert digest is not None, said
    assert f"  scp alice+export@<this host>:{name} ." in said
    archive = fetched(drive, name, tmp_path)
    assert digest[1] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert FILES == of_home(archive)

    row = re.search(rf"^{name}  ([0-9a-f]{{8}})  ready ", alice.output("rb exports"), re.MULTILINE)
    assert row is not None
    assert f"deleted {name}\n" == alice.output(f"rb export --delete {row[1]}")
    assert name not in alice.output("rb exports")
    assert name not in drive.sftp("ls")


def test_an_account_is_kept_with_all_that_is_about_it(alice: Client, drive: Client, tmp_path: Path) -> None:
    done = alice.run("rb account export tar.gz")
    assert 0 == done.returncode, done.stderr
    files = unpacked(fetched(drive, done.stdout.decode().splitlines()[0], tmp_path))
    assert FILES == {name.removeprefix("home/"): files[name] for name in files if name.startswith("home/")}
    assert b'"name": "alice"' in files["account/account.json"]
    assert b'"logged_in"' in files["account/activity.json"]
    assert b"$argon2" not in b"".join(files.values())
    alice.output(f"rb export --delete {done.stdout.decode().splitlines()[0]}")


def test_progress_is_one_line_on_a_terminal_and_lines_elsewhere(alice: Client, tmp_path: Path) -> None:
    alice.output("head -c 60000000 /dev/urandom >large")
    with gzip_held(alice) as go_on, alice.open("rb export --spool tar.gz") as begun:
        assert begun.stderr is not None
        lines = [begun.stderr.readline()]
        go_on()
        lines += begun.stderr.readlines()
        assert 0 == begun.wait(60), lines
    assert all(re.fullmatch(rb"\d+\.\d MiB, \d+ files, \d+\.\d MiB/s\n", line) for line in lines), lines

    with gzip_held(alice) as go_on, terminal(tmp_path, alice.argv(), columns=150) as window:
        window.wait_for("alice@rootblood")
        window.enter("clear; rb export --spool tar.gz; echo status $?")
        window.wait_for(" MiB/s")
        go_on()
        screen = window.wait_for("\nstatus 0")
        assert " MiB/s" not in screen
        assert "scp alice+export@<this host>:home-" in screen
        window.enter("exit")


def test_who_leaves_it_to_itself_finds_it_later(alice: Client) -> None:
    alice.output("head -c 60000000 /dev/urandom >large")
    with gzip_held(alice) as go_on:
        with alice.open("rb export --spool tar.gz") as begun:
            assert begun.stderr is not None
            assert b" MiB/s\n" in begun.stderr.readline()  # so it is on its way
        go_on()
    wait_until(lambda: "  running  " not in alice.output("rb exports"), timeout_s=60)
    assert alice.output("rb exports").splitlines()[1].split()[2] == "ready"
