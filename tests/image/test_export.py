"""`export`: a whole tarball of whatever is in a home, or none that could pass for whole."""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.conftest import TIMEOUT_S, Environment, make_environment
from tests.programs import running

EXPORT = "/usr/lib/rootblood/export"
HOSTILE = r"""
import os, socket
os.makedirs("deep/er"); open("deep/er/file", "w").write("content")
os.link("deep/er/file", "hard")
os.symlink("/etc/shadow", "shadow"); os.symlink("../../..", "up"); os.symlink("nowhere", "dangling")
os.mkfifo("fifo")
s = socket.socket(socket.AF_UNIX); s.bind("socket")
open("new\nline", "w").write("1"); open(b"not-utf8-\xff", "w").write("2"); open("-rf", "w").write("3")
open("home", "w").write("4"); open("space and 'quotes\"", "w").write("5"); open("$(touch x)", "w").write("6")
os.truncate(os.open("sparse", os.O_CREAT | os.O_WRONLY), 2**40)
os.makedirs("bin"); open("bin/tar", "w").write("#!/bin/sh\necho fake\n"); os.chmod("bin/tar", 0o755)
open("setuid", "w").write("7"); os.chmod("setuid", 0o4755)
name = "n" * 255; open(name, "w").write("8")
os.makedirs("/".join(["d" * 200] * 10))
"""


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """One of the test's own, with an empty home."""
    with make_environment(tmp_path) as made:
        assert made.exec("mkdir", "-m", "700", made.account.home).returncode == 0
        yield made


def in_home(environment: Environment, *argv: str) -> None:
    done = environment.exec(*argv, options=("--workdir", environment.account.home))
    assert (done.returncode, done.stderr) == (0, "")


def export(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["docker", "exec", "--interactive", environment.container, EXPORT, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
    )


def framed(environment: Environment, kind: str) -> list[tuple[bytes, bytes]]:
    """The frames of an export whose reader stays to its end."""
    command = ["docker", "exec", "--interactive", environment.container, EXPORT, "--frames", kind]
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as done:
        assert done.stdout is not None
        output = done.stdout.read()
        assert done.wait(TIMEOUT_S) == 0
    found, at = [], 0
    while at < len(output):
        length = int.from_bytes(output[at + 1 : at + 5], "big")
        found.append((output[at : at + 1], output[at + 5 : at + 5 + length]))
        at += 5 + length
    return found


def decompressed(kind: str, archive: bytes) -> bytes:
    program = {"tar.gz": "gzip", "tar.zst": "zstd"}[kind]
    return subprocess.run(
        [program, "--decompress", "--stdout"],
        input=archive,
        capture_output=True,
        check=True,
        timeout=TIMEOUT_S,
    ).stdout


def test_a_hostile_home(environment: Environment) -> None:
    in_home(environment, "python3", "-c", HOSTILE)
    done = export(environment, "tar.gz")
    assert (done.returncode, done.stderr) == (0, b"export: ./socket: socket ignored\n")
    with tarfile.open(fileobj=io.BytesIO(done.stdout), errors="surrogateescape") as tar:
        members = {member.name: member for member in tar}
    assert members["home"].mode == 0o700
    linked = {
        name: (members[f"home/{name}"].type, members[f"home/{name}"].linkname) for name in ("shadow", "up")
    }
    assert linked == {"shadow": (tarfile.SYMTYPE, "/etc/shadow"), "up": (tarfile.SYMTYPE, "../../..")}
    pair = [members["home/hard"], members["home/deep/er/file"]]
    assert {member.type for member in pair} == {tarfile.REGTYPE, tarfile.LNKTYPE}
    assert {member.linkname for member in pair} == {
        "",
        next(m.name for m in pair if m.isfile() and not m.islnk()),
    }
    assert members["home/sparse"].size == 2**40
    assert members["home/setuid"].mode == 0o4755
    assert members["home/fifo"].isfifo()
    odd = ["new\nline", "not-utf8-\udcff", "-rf", "home", "space and 'quotes\"", "$(touch x)", "n" * 255]
    assert {f"home/{name}" for name in odd} < set(members)
    assert "home/socket" not in members
    assert {member.uid for member in members.values()} == {environment.account.uid}


@pytest.mark.parametrize("kind", ["tar.gz", "tar.zst"])
def test_frames_carry_the_same_archive(environment: Environment, kind: str) -> None:
    in_home(environment, "python3", "-c", "import os; open('f', 'wb').write(os.urandom(3_000_000))")
    found = framed(environment, kind)
    assert json.loads(found[-1][1]) == {"files": 2, "error": None, "warnings": [], "more_warnings": 0}
    assert {name for name, _ in found[:-1]} <= {b"d", b"p"}
    content = b"".join(content for name, content in found if name == b"d")
    with tarfile.open(fileobj=io.BytesIO(decompressed(kind, content))) as tar:
        member = tar.extractfile("home/f")
        assert member is not None
        digest = hashlib.sha256(member.read()).hexdigest()
    assert digest in environment.exec("sha256sum", f"{environment.account.home}/f").stdout


SOCKETS = """
import os, socket
for number in range(1000):
    os.makedirs(f"many/{number % 10}/" + "d" * 200, exist_ok=True)
    os.chdir(f"many/{number % 10}/" + "d" * 200)
    socket.socket(socket.AF_UNIX).bind(str(number))
    os.chdir("../../..")
"""


def test_what_is_not_told_of_many_warnings_is_counted(environment: Environment) -> None:
    in_home(environment, "python3", "-c", SOCKETS)
    done = export(environment, "tar.gz")
    *lines, last = done.stderr.splitlines()
    assert (done.returncode, last) == (0, b"export: and 980 more")
    assert len([line for line in lines if line.endswith(b": socket ignored")]) == len(lines) == 20
    told = json.loads(framed(environment, "tar.gz")[-1][1])
    assert (len(told["warnings"]), told["more_warnings"], told["error"]) == (20, 980, None)


def test_an_error_does_not_drown_in_warnings(environment: Environment) -> None:
    """Tar says so much before it that no program could keep it all."""
    in_home(environment, "python3", "-c", SOCKETS)
    in_home(environment, "sh", "-c", "for n in 1 2 3 4 5; do >many/0/$n; chmod 0 many/0/$n; done")
    done = export(environment, "tar.zst")
    assert done.returncode == 1
    assert done.stderr.count(b": Cannot open: Permission denied; ") == 3
    assert done.stderr.startswith(b"export: the archive is not whole: ./many/0/")
    assert done.stderr.endswith(b"; and 2 more\n")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("kind", ["tar.gz", "tar.zst"])
def test_a_file_that_cannot_be_read_leaves_no_whole_archive(environment: Environment, kind: str) -> None:
    in_home(environment, "sh", "-c", "echo secret >secret; chmod 000 secret; echo fine >fine")
    done = export(environment, kind)
    assert done.returncode == 1
    assert done.stderr == b"export: the archive is not whole: ./secret: Cannot open: Permission denied\n"
    with pytest.raises(subprocess.CalledProcessError):
        decompressed(kind, done.stdout)


def test_what_a_user_can_meddle_with_is_not_used(environment: Environment) -> None:
    in_home(
        environment,
        "sh",
        "-c",
        "mkdir bin; for p in tar gzip zstd; do echo 'echo fake' >bin/$p; done; chmod +x bin/*",
    )
    home = environment.account.home
    done = environment.exec(
        "sh", "-c", f"{EXPORT} tar.zst | zstd --test", options=(
            *("--env", f"PATH={home}/bin:/usr/bin:/bin", "--env", "TAR_OPTIONS=--exclude=*"),
            *("--env", "GZIP=-9", "--env", f"PYTHONPATH={home}", "--env", "ZSTD_CLEVEL=19"),
        )
    )  # fmt: skip
    assert "fake" in done.stdout  # PATH is as the user wants it, and the test's own zstd is the fake one
    with tarfile.open(fileobj=io.BytesIO(export(environment, "tar.gz").stdout)) as tar:
        assert {"home/bin/tar", "home/bin/gzip", "home/bin/zstd"} < set(tar.getnames())


def test_a_reader_that_leaves_ends_it_all(environment: Environment) -> None:
    in_home(environment, "sh", "-c", "head -c 200000000 /dev/urandom >big")
    piped = environment.exec("sh", "-c", f"{EXPORT} tar.gz | head -c 5 | wc -c")
    assert piped.stdout == "5\n"
    # With frames it is enough to close standard input, while nothing of the output is read.
    script = (
        f"mkfifo /tmp/out; {EXPORT} --frames tar.zst </dev/null >/tmp/out & exec 3</tmp/out; wait $!; echo $?"
    )
    assert environment.exec("sh", "-c", script).stdout == "1\n"
    wait = "for _ in $(seq 600); do pgrep 'tar|gzip|zstd' || exit 0; sleep 0.1; done; exit 1"
    assert environment.exec("sh", "-c", wait).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, b"usage: "),
        (["tar"], 2, b"usage: "),
        (["--what", "tar.gz"], 2, b"usage: "),
        (["tar.gz", "tar.gz"], 2, b"usage: "),
        (["--level", "20", "tar.zst"], 1, b"levels of tar.zst are 1 to 19"),
        (["--level", "0", "tar.gz"], 1, b"levels of tar.gz are 1 to 9"),
        (["--level", "-1", "tar.gz"], 2, b"usage: "),
    ],
)
def test_wrong_usage(environment: Environment, arguments: list[str], status: int, said: bytes) -> None:
    done = export(environment, *arguments)
    assert (done.returncode, done.stdout, said in done.stderr) == (status, b"", True)


def test_no_tarball_on_a_terminal(environment: Environment) -> None:
    done = environment.exec("script", "--quiet", "--return", "--command", f"{EXPORT} tar.gz", "/dev/null")
    assert (done.returncode, "send it to a file" in done.stdout) == (1, True)
