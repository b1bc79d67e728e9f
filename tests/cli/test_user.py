"""`rootblood user`, from the first account to the last tombstone."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rootblood.domain.exports import ArchiveFormat
from rootblood.services.archives import EXPORT_PROGRAM
from tests.cli.conftest import Outcome, Rootblood, start_environment
from tests.fakes import exporter
from tests.fakes.engine import FakeEngine
from tests.fakes.exporter import frame
from tests.fakes.tarballs import frames, unpacked
from tests.programs import running

pytestmark = pytest.mark.usefixtures("installation")

PASSWORD = b"correct horse battery staple\n"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "alice@laptop", "-f", str(tmp_path / "id")],
        check=True,
    )
    return tmp_path / "id.pub"


def listed(rootblood: Rootblood, *arguments: str) -> list[dict[str, object]]:
    outcome = rootblood("user", "list", "--json", *arguments)
    assert (0, "") == (outcome.status, outcome.err)
    found = json.loads(outcome.out)
    assert isinstance(found, list)
    return found


def test_the_life_of_an_account(engine: FakeEngine, rootblood: Rootblood, key_file: Path) -> None:
    outcome = rootblood("user", "add", "alice", "--key-file", str(key_file), "--admin")
    assert (
        Outcome(0, "added alice, UID 20000, an administrator\nlog in with: ssh -p 2222 alice@127.0.0.1\n", "")
        == outcome
    )
    assert [["alice"]] == engine.installs

    (alice,) = listed(rootblood)
    assert ("alice", 20000, "active", True, False, True) == tuple(
        alice[field] for field in ("name", "uid", "state", "admin", "has_password", "published")
    )
    assert "password_hash" not in alice

    outcome = rootblood("user", "lock", "alice")
    assert "what runs in the environment goes on until: rootblood env stop alice" in outcome.out
    assert ["locked"] == [account["state"] for account in listed(rootblood)]

    assert Outcome(0, "unlocked alice\n", "") == rootblood("user", "unlock", "alice")
    assert ["active"] == [account["state"] for account in listed(rootblood)]

    start_environment(engine, str(alice["userhash"]))
    outcome = rootblood("user", "delete", "alice", "--yes")
    assert 0 == outcome.status
    assert "the name and the UID stay reserved" in outcome.out
    assert {} == engine.host.containers
    assert not engine.host.home(str(alice["userhash"])).exists()

    assert [] == listed(rootblood)
    assert [("alice", "deleted")] == [
        (account["name"], account["state"]) for account in listed(rootblood, "--all")
    ]
    assert (
        "rootblood: the name alice belonged to a deleted account and is not given again\n"
        == rootblood("user", "add", "alice").err
    )


@pytest.mark.usefixtures("engine")
def test_an_account_nobody_can_log_in_to_says_how_to_change_that(rootblood: Rootblood) -> None:
    assert Outcome(
        0,
        "added alice, UID 20000\n"
        "nobody can log in to it yet; add a key with: rootblood key add alice FILE\n"
        "or a password with: rootblood user passwd alice\n",
        "",
    ) == rootblood("user", "add", "alice")


@pytest.mark.usefixtures("engine")
def test_a_list_for_people(rootblood: Rootblood) -> None:
    assert ["NAME  UID  STATE  ADMIN  PASSWORD  CREATED"] == rootblood("user", "list").out.splitlines()

    rootblood("user", "add", "alice", "--password-stdin", stdin=PASSWORD)

    assert [
        "alice",
        "20000",
        "active",
        "no",
        "yes",
    ] == rootblood("user", "list").out.splitlines()[1].split()[:5]


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("engine", "the container engine does not answer"),
        ("image", "the image of the environments is missing"),
    ],
)
def test_without_an_engine_an_account_is_added_all_the_same(
    engine: FakeEngine, rootblood: Rootblood, missing: str, reason: str
) -> None:
    engine.away = missing == "engine"
    engine.image_present = missing != "image"

    outcome = rootblood("user", "add", "alice")

    assert 0 == outcome.status
    assert [
        f"rootblood: {reason}; the name alice is published to the environments at its first login instead"
    ] == outcome.err.splitlines()
    assert [("alice", False)] == [(account["name"], account["published"]) for account in listed(rootblood)]


def test_a_deletion_the_engine_fails_is_finished_by_the_same_command(
    engine: FakeEngine, rootblood: Rootblood
) -> None:
    rootblood("user", "add", "alice")
    userhash = str(listed(rootblood)[0]["userhash"])
    start_environment(engine, userhash)
    engine.away = True

    outcome = rootblood("user", "delete", "alice", "--yes")

    assert (1, "") == (outcome.status, outcome.out)
    assert (
        "rootblood: the container engine does not answer; "
        "alice is locked but not deleted: give the same command again\n"
    ) == outcome.err
    assert ["locked"] == [account["state"] for account in listed(rootblood)]

    engine.away = False
    assert 0 == rootblood("user", "delete", "alice", "--yes").status
    assert ({}, []) == (engine.host.containers, listed(rootblood))
    assert not engine.host.home(userhash).exists()


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_password_from_stdin(rootblood: Rootblood, end: bytes) -> None:
    assert 0 == rootblood("user", "add", "alice", "--password-stdin", stdin=PASSWORD.strip() + end).status
    assert [True] == [account["has_password"] for account in listed(rootblood)]

    assert Outcome(0, "alice has no password any more, only keys\n", "") == rootblood(
        "user", "passwd", "alice", "--none"
    )
    assert [False] == [account["has_password"] for account in listed(rootblood)]

    assert Outcome(0, "alice has a new password\n", "") == rootblood(
        "user", "passwd", "alice", "--password-stdin", stdin=PASSWORD
    )
    assert [True] == [account["has_password"] for account in listed(rootblood)]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (b"", "takes one line"),
        (b"\n", "takes one line"),
        (b"first line\nsecond line\n", "takes one line"),
        (b"short\n", "at least 8 characters"),
        (b"x" * 2000, "at most 1024 bytes"),
        (b"not text \xff\xfe\n", "UTF-8 text"),
    ],
)
def test_a_password_that_cannot_be_one(rootblood: Rootblood, stdin: bytes, reason: str) -> None:
    outcome = rootblood("user", "add", "alice", "--password-stdin", stdin=stdin)

    assert (1, "", 1) == (outcome.status, outcome.out, len(outcome.err.splitlines()))
    assert reason in outcome.err
    assert [] == listed(rootblood)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", ["root", "../../etc", "Alice", "", "x\x1b[2J"])
def test_a_name_that_cannot_be_one(rootblood: Rootblood, name: str) -> None:
    outcome = rootblood("user", "add", "--", name)

    assert (1, "", 1) == (outcome.status, outcome.out, len(outcome.err.splitlines()))
    assert "\x1b" not in outcome.err


@pytest.mark.usefixtures("engine")
def test_key_files_several_and_from_stdin(rootblood: Rootblood, key_file: Path, tmp_path: Path) -> None:
    (tmp_path / "again.pub").write_text(f"# the same key\n{key_file.read_text()}")

    outcome = rootblood(
        *("user", "add", "alice"),
        *("--key-file", str(key_file)),
        *("--key-file", str(tmp_path / "again.pub")),
        *("--key-file", "-"),
        stdin=key_file.read_bytes(),
    )

    assert 0 == outcome.status
    assert 1 == len(json.loads(rootblood("key", "list", "alice", "--json").out))


@pytest.mark.usefixtures("engine")
def test_a_key_file_that_will_not_do_makes_no_account(
    rootblood: Rootblood, key_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "restricted.pub").write_text(f"no-pty {key_file.read_text()}")

    for file, reason in [
        ("none.pub", "cannot read none.pub: No such file or directory"),
        (str(tmp_path), "Is a directory"),
        ("restricted.pub", "restricted.pub: line 1: the option no-pty stands in front"),
        (str(key_file.with_suffix("")), "this is a PRIVATE key"),
        ("/dev/zero", "too large"),
    ]:
        outcome = rootblood("user", "add", "alice", "--key-file", file)
        assert (1, "", 1) == (outcome.status, outcome.out, len(outcome.err.splitlines()))
        assert reason in outcome.err
    assert [] == listed(rootblood)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "alice", "--password-stdin", "--key-file", "-"],
        ["passwd", "alice", "--password-stdin", "--none"],
        ["passwd", "alice"],
        ["delete", "alice"],
    ],
)
def test_what_cannot_be_asked_for_without_a_terminal_is_wrong_usage(
    rootblood: Rootblood, arguments: list[str]
) -> None:
    assert 2 == rootblood("user", *arguments).status


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.seen = ""

    def answer(self, prompt: str, text: str) -> None:
        """Wait for a prompt, then type."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        while not self.seen.rstrip().endswith(prompt):
            read = self._process.stdout.read1()  # type: ignore[attr-defined]
            assert read, self.seen
            self.seen += read.decode()
        self._process.stdin.write(f"{text}\n".encode())
        self._process.stdin.flush()

    def end(self) -> int:
        """Wait for the command's end; returns its status."""
        out, _ = self._process.communicate()
        self.seen += out.decode()
        return self._process.returncode


@contextmanager
def terminal(directory: Path, *arguments: str) -> Iterator[Terminal]:
    """A terminal that script(1) makes, with a command on it, for the length of a block."""
    command = " ".join([sys.executable, "-m", "rootblood", *arguments])
    with running(
        ["script", "-qec", command, "/dev/null"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=directory,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": ":".join(filter(None, sys.path)),
            "ROOTBLOOD_PASSWORDS__MEMORY_KIB": "64",
        },
    ) as process:
        yield Terminal(process)


@pytest.mark.usefixtures("engine")
def test_a_password_is_asked_for_twice_and_not_shown(rootblood: Rootblood, installation: Path) -> None:
    rootblood("user", "add", "alice")
    with terminal(installation, "user", "passwd", "alice") as window:
        window.answer("New password for alice:", "correct horse")
        window.answer("The same again:", "correct horse")

        assert 0 == window.end(), window.seen
    assert "alice has a new password" in window.seen
    assert "horse" not in window.seen
    assert [True] == [account["has_password"] for account in listed(rootblood)]


@pytest.mark.usefixtures("engine")
def test_two_passwords_that_differ_change_nothing(rootblood: Rootblood, installation: Path) -> None:
    rootblood("user", "add", "alice")
    with terminal(installation, "user", "passwd", "alice") as window:
        window.answer("New password for alice:", "correct horse")
        window.answer("The same again:", "correct hearse")

        assert 1 == window.end()
    assert "rootblood: the two passwords differ; nothing was changed" in window.seen
    assert [False] == [account["has_password"] for account in listed(rootblood)]


@pytest.mark.usefixtures("engine")
def test_a_deletion_says_what_goes_and_wants_the_name(rootblood: Rootblood, installation: Path) -> None:
    rootblood("user", "add", "alice")
    with terminal(installation, "user", "delete", "alice") as window:
        window.answer("Type the name of the account to delete it:", "y")

        assert 1 == window.end()
    told = "This deletes the environment of alice, the home with all files in it, and the keys."
    assert told in window.seen
    assert "rootblood: that is not alice; nothing was deleted" in window.seen
    assert ["active"] == [account["state"] for account in listed(rootblood)]


@pytest.mark.usefixtures("engine")
def test_activity_is_listed_newest_first_even_of_a_deleted_account(rootblood: Rootblood) -> None:
    rootblood("user", "add", "alice")
    rootblood("user", "passwd", "alice", "--password-stdin", stdin=PASSWORD)
    rootblood("user", "lock", "alice")

    events = json.loads(rootblood("user", "activity", "alice", "--json").out)
    assert ["locked", "password_changed", "created"] == [event["action"] for event in events]
    assert {("cli", None, None)} == {(event["door"], event["address"], event["actor"]) for event in events}

    rootblood("user", "delete", "alice", "--yes")
    shown = rootblood("user", "activity", "alice", "--limit", "1")
    assert (0, 2) == (shown.status, len(shown.out.splitlines()))
    assert " deleted " in shown.out
    missing = rootblood("user", "activity", "nobody")
    assert (1, "") == (missing.status, missing.out)
    assert "there is no account" in missing.err


@pytest.fixture
def home(engine: FakeEngine, rootblood: Rootblood, key_file: Path) -> Path:
    """Of alice; `frames` in it is what the next export gives."""
    engine._programs[EXPORT_PROGRAM] = [sys.executable, exporter.__file__]
    rootblood("user", "add", "alice", "--key-file", str(key_file))
    userhash = str(listed(rootblood)[0]["userhash"])
    start_environment(engine, userhash)
    return engine.host.home(userhash)


WARNINGS = "rootblood: warning: ./sock: socket ignored\nrootblood: warning: and 37 more\n"


@pytest.mark.parametrize("kind", ArchiveFormat)
def test_an_account_is_exported_into_a_file(rootblood: Rootblood, home: Path, kind: ArchiveFormat) -> None:
    (home / "frames").write_bytes(frames({"notes": b"mine"}, kind))
    file = Path(f"alice.{kind.value}")

    outcome = rootblood("user", "export", "alice", str(file))

    assert Outcome(0, "", WARNINGS) == outcome
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    files = unpacked(file)
    assert b"mine" == files["home/notes"]
    assert b"alice@laptop" in files["account/authorized_keys"]
    assert [file] == [*Path().glob("alice*")]
    events = json.loads(rootblood("user", "activity", "alice", "--json").out)
    assert ["export_made", "created"] == [event["action"] for event in events]


def test_an_account_is_exported_to_stdout(home: Path, installation: Path) -> None:
    """By a process of its own, whose stdout is one."""
    (home / "frames").write_bytes(frames({}, ArchiveFormat.ZSTD))
    script = f"""
import sys
from pathlib import Path
from rootblood import app
from rootblood.cli.main import main
from tests.fakes.engine import FakeEngine, FakeHost
engine = FakeEngine(
    FakeHost(Path({str(home.parent)!r})),
    programs={{{EXPORT_PROGRAM!r}: [sys.executable, {exporter.__file__!r}]}},
)
app.build_engine = lambda _settings, _server="": engine
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script, "user", "export", "alice", "-"],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
    )

    assert (0, WARNINGS) == (done.returncode, done.stderr.decode())
    (installation / "stdout.tar.zst").write_bytes(done.stdout)
    assert "account/account.json" in unpacked(installation / "stdout.tar.zst")


def test_an_export_that_fails_leaves_no_file(engine: FakeEngine, rootblood: Rootblood, home: Path) -> None:
    (home / "frames").write_bytes(
        frame(b"d", b"half of it") + frame(b"e", b'{"files": 1, "error": "./x: Cannot open", "warnings": []}')
    )

    outcome = rootblood("user", "export", "alice", "alice.tar.gz")
    assert (1, "") == (outcome.status, outcome.out)
    assert "./x: Cannot open" in outcome.err
    assert 1 == rootblood("user", "export", "nobody", "nobody.tar.gz").status
    engine.away = True
    assert 1 == rootblood("user", "export", "alice", "alice.tar.gz").status
    assert 1 == rootblood("user", "export", "alice", "nowhere/alice.tar.gz").status

    assert [] == [*Path().glob("*.tar*")]


def test_what_is_there_is_not_written_over(rootblood: Rootblood, home: Path) -> None:
    (home / "frames").write_bytes(frames({}, ArchiveFormat.GZIP))
    Path("alice.tar.gz").write_text("there")
    Path("half.tar.gz.part").write_text("there")
    Path("link.tar.gz").symlink_to("nowhere")

    for file, reason in [
        ("alice.tar.gz", "alice.tar.gz is there already; give another name"),
        ("link.tar.gz", "link.tar.gz is there already"),
        ("half.tar.gz", "half.tar.gz.part is there, of an export that runs or was killed; delete it"),
        ("alice.zip", "call it NAME.tar.gz or NAME.tar.zst"),
    ]:
        outcome = rootblood("user", "export", "alice", file)
        assert (1, 1) == (outcome.status, len(outcome.err.splitlines()))
        assert reason in outcome.err
    assert {"there"} == {Path(name).read_text() for name in ("alice.tar.gz", "half.tar.gz.part")}


@pytest.mark.usefixtures("engine")
def test_a_deletion_tells_what_it_keeps(rootblood: Rootblood) -> None:
    rootblood("user", "add", "alice")

    outcome = rootblood("user", "delete", "alice", "--yes")

    assert "/global/alice is kept with what is in it, as others may use it\n" in outcome.out
