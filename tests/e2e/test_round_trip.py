"""There and back: a hostile home leaves by every door, and a fresh account gets it as it was.

rsync, which has no part in it, compares the two homes: all that it may find is in `DOCUMENTED` and in README.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rootblood.domain.environments import home_volume_name
from tests.e2e.conftest import client_of, make_installation
from tests.e2e.installation import Client, Installation, Server, wait_until
from tests.e2e.test_export_drive import scp
from tests.image.conftest import IMAGE

EXPORT = "/usr/lib/rootblood/export"
IMPORT = "/usr/lib/rootblood/import"

HOSTILE = r"""
import os, socket, struct
def write(name, data=b"", mode=0o644):
    with open(name, "wb") as file:
        file.write(data)
    os.chmod(name, mode)

# Names, and places.
os.umask(0o022)
names = [b"new\nline", b"not-utf8-\xff", b"-rf", b"--help", b"home", b"a\\b\\n", b"tab\t\x1b[31m"]
for number, name in enumerate([*names, b".hidden", b"*", b"space and 'quotes\"", b"$(touch x)", b"n" * 255]):
    write(name, b"%d\n" % number)
os.makedirs("/".join(["d" * 200] * 18))
write("/".join(["d" * 200] * 18) + "/bottom", b"far down")
os.mkdir("empty")
os.mkdir("huge")
for number in range(10_000):
    write(f"huge/{number}", b"%d" % number)

# What is no plain file, or leads away.
write("file", os.urandom(300_000))
os.link("file", "hard"); os.mkdir("linked"); os.link("file", "linked/harder")
os.symlink("/etc/shadow", "shadow"); os.symlink("/etc", "etc"); os.symlink("../../..", "up")
os.symlink("nowhere", "dangling"); os.symlink("loop", "loop"); os.symlink(b"\xfe\n", "odd")
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
with open("sparse", "wb") as sparse:
    sparse.truncate(2**40); sparse.seek(2**39); sparse.write(b"in the middle")
write("nothing"); write("zeros", bytes(5_000_000))

# Modes and what is beyond them. An ACL's entries: its version 2, then tag, permissions and id of each.
write("read-only", b"r", 0o400); write("executable", b"#!/bin/sh\n", 0o755); write("all", b"", 0o777)
write("setuid", b"s", 0o4755)
os.mkdir("setgid"); os.chmod("setgid", 0o2775); os.mkdir("sticky"); os.chmod("sticky", 0o1777)
write("attributes", b"x"); os.setxattr("attributes", "user.note", b"\x00\xff binary")
os.setxattr("huge", "user.note", b"of a directory")
entries = [(1, 6, -1), (2, 4, 4711), (4, 4, -1), (16, 4, -1), (32, 0, -1)]
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
write("acl", b"x"); os.setxattr("acl", "system.posix_acl_access", acl)
os.mkdir("acl-default"); os.setxattr("acl-default", "system.posix_acl_default", acl)

# What an export must not run, nor an import be told by.
os.mkdir("bin")
for name in ("tar", "gzip", "zstd", "python3", "mv", "perl"):
    write("bin/" + name, b"#!/bin/sh\necho fake\n", 0o755)
with open(".bashrc", "a") as bashrc:
    bashrc.write("\nexport PATH=~/bin:$PATH PYTHONPATH=~ LC_ALL=C\n")
    bashrc.write("export TAR_OPTIONS=--exclude=* GZIP=-9 ZSTD_CLEVEL=19\n")
write("pwd.py", b"raise SystemExit('fake')\n")

# Last, as all else changes them.
os.mkdir("closed"); write("closed/file", b"c", 0o444); os.chmod("closed", 0o500)
for number, name in enumerate(["file", "huge", "closed", "etc", "fifo", "all"]):
    at = 1_000_000_000_123_456_789 + number
    os.utime(name, ns=(at, at), follow_symlinks=False)
os.utime("nothing", ns=(-10**18, -10**18)); os.utime("zeros", ns=(5 * 10**18, 5 * 10**18))
"""

DOCUMENTED = {
    "cS+++++++++ socket": "sockets are left out",
    ".f...p..... setuid": "setuid and setgid bits are taken off by the import",
    ".d...p..... setgid/": "the same of a directory",
}
"""What rsync finds, and what README says of it."""

OF_REPLACING = re.compile(r"\*deleting   home-before-\S+/.*|\.d\.\.t\.\.\.\.\.\. \./")
"""What it finds besides where the home was replaced: the old one is in it, which changes its own time."""

NOT_UTF_8 = """\
bsdtar: Pathname can't be converted from UTF-8 to current locale.
bsdtar: Error exit delayed from previous errors.
"""
"""Of a name that is none, which it lists as it is."""

SPARSE_CONTENT = """
import os
file = os.open("sparse", os.O_RDONLY)
at, found = 0, []
while at < 2**40:
    try:
        at = os.lseek(file, at, os.SEEK_DATA)
    except OSError:
        break
    end = os.lseek(file, at, os.SEEK_HOLE)
    found.append(os.pread(file, end - at, at).strip(b"\\0"))
    at = end
print(found, os.fstat(file).st_blocks < 1000)
"""


def pipe(alice: Client, archive: Path) -> None:
    with archive.open("wb") as file:
        done = subprocess.run(
            alice.argv(f"{EXPORT} tar.gz"),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.PIPE,
            timeout=60,
            check=True,
        )
    assert done.stderr == b"export: ./socket: socket ignored\n"


def drive(alice: Client, archive: Path) -> None:
    target = replace(alice, name="alice+export")
    assert scp(target, f"{target.target}:home.tar.zst", archive)[0] == 0


def spool(alice: Client, archive: Path) -> None:
    target = replace(alice, name="alice+export")
    status, said = scp(target, f"{target.target}:home.tar.gz", archive, options=["-O"])
    assert (status, "./socket: socket ignored" in said) == (0, True)


DOORS: dict[str, Callable[[Client, Path], None]] = {
    "pipe.tar.gz": pipe,
    "drive.tar.zst": drive,
    "spool.tar.gz": spool,
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with make_installation(tmp_path_factory.mktemp("round-trip")) as made:
        yield made


@pytest.fixture(scope="module")
def door(house: Installation) -> Iterator[Server]:
    with house.serving() as server:
        yield server


@pytest.fixture(scope="module")
def alice(house: Installation, door: Server) -> Client:
    """The account that leaves: its home is as hostile as a home gets."""
    client = client_of(house, door, "alice")
    assert client.output("python3 -", stdin=HOSTILE.encode()) == ""
    return client


@pytest.fixture(scope="module")
def bob(house: Installation, door: Server) -> Client:
    """The account that comes."""
    return client_of(house, door, "bob")


@pytest.fixture(scope="module")
def archives(alice: Client, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The home, by every door."""
    directory = tmp_path_factory.mktemp("archives")
    for name, fetch in DOORS.items():
        fetch(alice, directory / name)
    return {name: directory / name for name in DOORS}


def plain(archive: Path) -> Path:
    """The same, not compressed."""
    path = archive.with_suffix(".plain")
    if not path.exists():
        program = "gzip" if archive.suffix == ".gz" else "zstd"
        with path.open("wb") as file:
            subprocess.run([program, "-q", "-d", "-c", archive], stdout=file, check=True, timeout=60)
    return path


def differences(
    house: Installation, *options: str, of: str = "alice", to: str = "bob", directory: str = ""
) -> set[str]:
    """What rsync would have to do to make bob's home alice's."""
    accounts = {row["name"]: row for row in house.cli_json("user", "list")}
    volumes = {name: home_volume_name(accounts[name]["userhash"]) for name in (of, to)}
    command = [
        *("docker", "run", "--rm", "--network=none", "--user=0:0", "--entrypoint=/usr/bin/rsync"),
        *("--volume", f"{volumes[of]}:/old:ro", "--volume", f"{volumes[to]}:/new:ro", IMAGE),
        *("-n", "-aHAX", "--delete", "--itemize-changes", "--8-bit-output"),
        # An archive says whose the files are, and who unpacks it owns them.
        f"--usermap={accounts[of]['uid']}:{accounts[to]['uid']}",
        f"--groupmap={accounts[of]['uid']}:{accounts[to]['uid']}",
        *options,
        *(f"/old/{accounts[of]['userhash']}/", f"/new/{accounts[to]['userhash']}/{directory}"),
    ]
    done = subprocess.run(command, capture_output=True, check=False, timeout=110)
    assert (done.returncode, done.stderr) == (0, b"")
    return set(done.stdout.decode(errors="surrogateescape").splitlines())


def same(house: Installation, directory: str = "") -> set[str]:
    """`differences` in what is said of the files and in what they hold, but for 2**40 bytes of nothing."""
    return differences(house, directory=directory) | differences(
        house, "--checksum", "--exclude=/sparse", directory=directory
    )


def unescaped(line: bytes) -> bytes:
    """A name as `tar` and `bsdtar` list it, as it is."""
    letters = {b"n": b"\n", b"t": b"\t", b"\\": b"\\"}

    def meant(found: re.Match[bytes]) -> bytes:
        return letters[found[1]] if found[1] in letters else bytes([int(found[1], 8)])

    return re.sub(rb"\\([0-7]{3}|[nt\\])", meant, line).rstrip(b"/")


def listed(program: str, archive: Path) -> tuple[str, list[bytes]]:
    """What a program complains of, and the names that it lists."""
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    command = [program, "-tf", str(archive)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, env=env)
    return done.stderr.decode(), sorted(unescaped(line) for line in done.stdout.splitlines())


def members(archive: Path) -> list[tuple[object, ...]]:
    """All that an archive says, but for the numbers that tar gives to headers."""
    found: list[tuple[object, ...]] = []
    with tarfile.open(plain(archive), errors="surrogateescape") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() and member.size < 2**30 else None
            digest = hashlib.sha256(file.read()).hexdigest() if file else ""
            about = (member.type, member.mode, member.uid, member.gid, member.size, member.linkname)
            found.append((member.name, *about, sorted(member.pax_headers.items()), digest))
    return found


def test_every_door_gives_the_same_archive(archives: dict[str, Path]) -> None:
    first, *others = (members(archive) for archive in archives.values())
    assert len(first) > 10_000
    assert others == [first] * len(others)


def test_who_reads_it_finds_the_same_names(alice: Client, archives: dict[str, Path]) -> None:
    archive = archives["pipe.tar.gz"]
    with tarfile.open(archive, errors="surrogateescape") as tar:
        names = sorted(os.fsencode(member.name) for member in tar)
    assert listed("tar", archive) == ("", names)
    complaints, names_of_bsdtar = listed("bsdtar", archive)
    assert names_of_bsdtar == names
    assert complaints == NOT_UTF_8
    there = alice.run("find . -not -type s -printf '%P\\0'").stdout.split(b"\0")[:-1]
    assert len(there) > 10_000
    assert names == sorted(b"home/" + name if name else b"home" for name in there)


@pytest.mark.parametrize("name", DOORS)
def test_into_a_new_directory(house: Installation, bob: Client, archives: dict[str, Path], name: str) -> None:
    directory = name.partition(".")[0]
    done = bob.run(f"{IMPORT} unpack --into {directory} -", stdin=archives[name].read_bytes())
    assert (done.returncode, done.stdout) == (0, f"Unpacked into ~/{directory}.\n".encode())
    assert done.stderr.startswith(b"import: took the setuid or setgid bit off 2 files\n")
    assert same(house, directory) == DOCUMENTED.keys()
    look = bob.output(f"cd {directory}; /usr/bin/python3 -I -", stdin=SPARSE_CONTENT.encode())
    assert look == "[b'in the middle'] True\n"


def test_in_place_of_the_home(house: Installation, bob: Client, archives: dict[str, Path]) -> None:
    bob.output("echo mine >mine")
    done = bob.run(f"{IMPORT} unpack --replace -", stdin=archives["drive.tar.zst"].read_bytes())
    assert (done.returncode, done.stdout.startswith(b"This is your home now")) == (0, True)
    found = same(house)
    assert {line for line in found if not OF_REPLACING.fullmatch(line)} == DOCUMENTED.keys()
    assert any(line.endswith("/mine") for line in found if OF_REPLACING.fullmatch(line))
    assert bob.run("cat home-before-*/mine").stdout == b"mine\n"


CHANGING = """
import os, time
while True:
    with open("changing/shrinking", "wb") as file:
        file.truncate(0 if time.monotonic() % 1 < 0.5 else 50_000_000)
    for number in range(100):
        open(f"changing/coming-{number}", "w").close()
    for number in range(100):
        os.unlink(f"changing/coming-{number}")
"""

GROWING = 64_000_000
"""Bytes that no compressor makes fewer: half of them are far more than what waits on the way."""


def test_files_that_change_meanwhile(house: Installation, alice: Client, bob: Client, tmp_path: Path) -> None:
    """They are as they were at some moment, it is said so, and all others are as they are."""
    alice.output(f"mkdir changing; head -c {GROWING} /dev/urandom >changing/growing")
    archive = tmp_path / "home.tar.zst"
    with (
        alice.open(f"exec /usr/bin/python3 -Ic {shlex.quote(CHANGING)}"),
        archive.open("wb") as file,
    ):
        wait_until(lambda: alice.run("test -s changing/shrinking").returncode == 0, timeout_s=60)
        with alice.open(f"{EXPORT} tar.zst") as export:
            assert export.stdout is not None
            assert export.stderr is not None
            file.write(export.stdout.read(GROWING // 2))
            alice.output("echo more >>changing/growing")
            shutil.copyfileobj(export.stdout, file)
            complaints = export.stderr.read()
            assert export.wait(30) == 0, complaints
    assert b"export: ./changing/growing: file changed as we read it\n" in complaints
    kept = {name: size for name, _, _, _, _, size, *_ in members(archive)}
    assert kept["home/changing/growing"] == GROWING
    try:
        done = bob.run(f"{IMPORT} unpack --into changed -", stdin=archive.read_bytes())
        assert done.returncode == 0, done.stderr
        found = differences(
            house, "--checksum", "--exclude=/sparse", "--exclude=/changing", directory="changed"
        )
        assert found == DOCUMENTED.keys()
    finally:
        alice.output("rm -r changing")
        bob.output("chmod -R u+rwX changed; rm -r changed")


TOO_DEEP = """
import os
os.mkdir("deep"); os.chdir("deep")
for _ in range(25):
    os.mkdir("d" * 200); os.chdir("d" * 200)
"""


def test_a_path_that_is_too_long_to_be_unpacked(alice: Client, bob: Client) -> None:
    """It is exported, as tar goes there step by step; the import takes paths as they are, and says so."""
    alice.output("/usr/bin/python3 -I -", stdin=TOO_DEEP.encode())
    done = alice.run(f"{EXPORT} tar.zst")
    alice.output("rm -r deep")
    assert done.returncode == 0
    before = bob.run("ls -A . ..").stdout
    done = bob.run(f"{IMPORT} unpack --replace -", stdin=done.stdout)
    assert (done.returncode, b"File name too long" in done.stderr) == (1, True)
    assert done.stderr.startswith(b"import: nothing was changed: ")
    assert bob.run("ls -A . ..").stdout == before
