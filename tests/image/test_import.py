"""`import`: a tarball into a home, whole or not at all, and nothing anywhere else."""

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.image.conftest import TIMEOUT_S, Environment, make_environment
from tests.image.test_export import HOSTILE

IMPORT = "/usr/lib/rootblood/import"
EXPORT = "/usr/lib/rootblood/export"
UPLOAD = "0123456789abcdef" * 2
LOOK = r"""
import hashlib, os, stat
for parent, directories, files in os.walk(b"."):
    for name in sorted(directories + files):
        path = os.path.join(parent, name)
        found = os.lstat(path)
        what = os.readlink(path) if stat.S_ISLNK(found.st_mode) else b""
        if stat.S_ISREG(found.st_mode) and found.st_size < 1 << 30:
            what = hashlib.sha256(open(path, "rb").read()).hexdigest()
        mode = found.st_mode & ~0o6000
        print(path, oct(mode), found.st_nlink, found.st_size * stat.S_ISREG(mode), found.st_mtime_ns, what)
"""
"""Tells all that a tarball keeps of a home, but for sockets, which none does, and setuid bits."""


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """One of the test's own, whose home has one file."""
    with make_environment(tmp_path) as made:
        assert made.exec("mkdir", "-m", "700", made.account.home).returncode == 0
        in_home(made, "sh", "-c", "echo mine >mine")
        yield made


def in_home(environment: Environment, *argv: str) -> str:
    done = environment.exec(*argv, options=("--workdir", environment.account.home))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def run(environment: Environment, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["docker", "exec", "--interactive", environment.container, IMPORT, *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
    )


def answer(environment: Environment, *arguments: str, stdin: bytes = b"") -> dict[str, Any]:
    told = json.loads(run(environment, *arguments, stdin=stdin).stdout.splitlines()[-1])
    assert isinstance(told, dict)
    return told


def everything(environment: Environment) -> list[str]:
    """All paths of the home and beside it."""
    return environment.exec("find", "/home", "-mindepth", "1", "-printf", "%P\n").stdout.splitlines()


def tarball(
    *members: tuple[str, bytes, str],
    mode: int = 0o644,
    modes: Mapping[str, int] = MappingProxyType({}),
    gz: bool = True,
) -> bytes:
    """Members by name, kind and target; those in `modes` have a mode of their own."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz" if gz else "w") as tar:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            if kind == tarfile.BLKTYPE:
                member.devmajor = 7
            member.type, member.linkname, member.mode = kind, target, modes.get(name, mode)
            member.size = 2 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"hi"))
    return made.getvalue()


FILE, DIRECTORY, SYMLINK, HARDLINK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
GOOD = tarball(("dir/a", FILE, ""), ("b", FILE, ""))


@pytest.mark.parametrize("kind", ["tar.gz", "tar.zst"])
def test_what_was_exported_comes_back_as_it_was(environment: Environment, kind: str) -> None:
    in_home(environment, "python3", "-c", HOSTILE)
    in_home(environment, "rm", "socket")
    before = in_home(environment, "python3", "-c", LOOK)
    in_home(
        environment,
        "sh",
        "-c",
        f"{EXPORT} {kind} >/tmp/home; {IMPORT} unpack --into back /tmp/home 2>/dev/null",
    )
    home = environment.account.home
    assert environment.exec("python3", "-c", LOOK, options=("--workdir", f"{home}/back")).stdout == before
    done = run(environment, "unpack", "--replace", "/tmp/home")
    assert done.returncode == 0
    kept = done.stdout.decode().partition("old one is in ~/")[2].partition(".")[0]
    assert kept.startswith("home-before-2")
    in_home(environment, "mv", f"{home}/{kept}", "/home/kept")
    assert in_home(environment, "python3", "-c", LOOK) == before
    assert environment.exec("stat", "-c", "%a", home).stdout == "700\n"
    assert environment.exec("cat", "/home/kept/back/mine").stdout == "mine\n"


def test_a_new_directory_beside_what_is_there(environment: Environment) -> None:
    done = run(environment, "unpack", "-", stdin=GOOD)
    assert (done.returncode, done.stderr) == (0, b"")
    name = done.stdout.decode().removeprefix("Unpacked into ~/").rstrip(".\n")
    assert name.startswith("import-2")
    assert in_home(environment, "cat", f"{name}/dir/a", f"{name}/b", "mine") == "hihimine\n"
    taken = run(environment, "unpack", "--into", name, "-", stdin=GOOD)
    assert (taken.returncode, b"take another name" in taken.stderr) == (1, True)
    missing = run(environment, "unpack", "nowhere")
    assert (1, b"import: nothing was changed: nowhere: No such file or directory\n") == (
        missing.returncode,
        missing.stderr,
    )
    for bad in ("../up", "/tmp/x", "-x", "a/b", ".ssh", ""):
        assert run(environment, "unpack", f"--into={bad}", "-", stdin=GOOD).returncode == 1


LEAVING: dict[str, Sequence[tuple[str, bytes, str]]] = {
    "a name with ..": [("../evil", FILE, "")],
    "a name with .. inside": [("a/../../evil", FILE, "")],
    "through a link": [("l", SYMLINK, "/tmp"), ("l/evil", FILE, "")],
    "through a link up": [("l", SYMLINK, "../.."), ("l/evil", FILE, "")],
    "through links of links": [("d", SYMLINK, "."), ("d/e", SYMLINK, ".."), ("d/e/evil", FILE, "")],
    "a hard link to outside": [("evil", HARDLINK, "/etc/passwd")],
    "a hard link up": [("evil", HARDLINK, "../../etc/passwd")],
    "a device": [("evil", tarfile.BLKTYPE, "")],
    "a whiteout, which anybody may make": [("evil", tarfile.CHRTYPE, "")],
}


@pytest.mark.parametrize("members", LEAVING.values(), ids=LEAVING.keys())
@pytest.mark.parametrize("where", ["--replace", "--into=new"])
def test_an_archive_that_would_leave_changes_nothing(
    environment: Environment, members: Sequence[tuple[str, bytes, str]], where: str
) -> None:
    before = everything(environment)
    done = run(environment, "unpack", where, "-", stdin=tarball(("fine", FILE, ""), *members))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"import: nothing was changed: ")
    assert everything(environment) == before
    assert environment.exec("find", "/", "-xdev", "-name", "evil").stdout == ""


def test_what_is_absolute_or_setuid_is_defused(environment: Environment) -> None:
    archive = tarball(("/abs/x", FILE, ""), ("shadow", SYMLINK, "/etc/shadow"), mode=0o6755)
    told = answer(environment, "unpack", "--into=new", "--json", "-", stdin=archive)
    assert told["error"] is None
    assert told["warnings"] == [
        "took the setuid or setgid bit off 1 files",
        "Removing leading `/' from member names",
    ]
    assert told["more_warnings"] == 0
    assert in_home(environment, "stat", "-c", "%a %n", "new/abs/x") == "755 new/abs/x\n"
    assert in_home(environment, "readlink", "new/shadow") == "/etc/shadow\n"


DEEP = "/".join(["d" * 100] * 40)
"""A path that the kernel takes here, and not below the directory that is unpacked into."""


@pytest.mark.parametrize("hidden", ["closed", DEEP], ids=["closed", "deep"])
def test_what_is_hidden_from_who_looks_is_defused(environment: Environment, hidden: str) -> None:
    modes = {hidden: 0o2000, f"{hidden}/program": 0o4711}
    members = [(hidden, DIRECTORY, ""), (f"{hidden}/program", FILE, "")]
    before = everything(environment)
    device = tarball(*members, (f"{hidden}/whiteout", tarfile.CHRTYPE, ""), modes=modes)
    done = run(environment, "unpack", "--into=new", "-", stdin=device)
    assert (1, b"import: nothing was changed: whiteout: a device\n") == (done.returncode, done.stderr)
    assert before == everything(environment)

    told = answer(environment, "unpack", "--into=new", "--json", "-", stdin=tarball(*members, modes=modes))

    assert (None, ["took the setuid or setgid bit off 2 files"]) == (told["error"], told["warnings"])
    last = hidden.rpartition("/")[2]
    script = f"cd new/{hidden}/..; stat -c %a {last}; chmod 700 {last}; stat -c %a {last}/program"
    assert "0\n711\n" == in_home(environment, "bash", "-c", script)


def test_a_link_is_not_taken_for_the_home_of_an_export(environment: Environment) -> None:
    home = environment.account.home
    archive = tarball(("home", SYMLINK, "."), mode=0o777)
    for where in ("--into=new", "--replace"):
        told = answer(environment, "unpack", where, "--json", "-", stdin=archive)
        assert told["error"] is None
        assert [home.removeprefix("/home/")] == environment.exec("ls", "-A", "/home").stdout.split()
        assert "directory\n" == environment.exec("stat", "-c", "%F", home).stdout
        made, kept = told.get("into", "."), told.get("kept", ".")
        assert ".\nmine\n" == in_home(environment, "sh", "-c", f"readlink {made}/home; cat {kept}/mine")


@pytest.mark.parametrize("mode", [0o500, 0o000], ids=["read-only", "closed"])
def test_a_home_that_nobody_may_write_to_comes_in(environment: Environment, mode: int) -> None:
    """As it was, where it does not become the home, nor is the archive's nameless root."""
    for root, where, expected in (
        (".", "--into=new", 0o700),
        ("home", "--into=as-it-was", mode),
        ("home", "--replace", 0o700),
    ):
        archive = tarball((root, DIRECTORY, ""), (f"{root}/a", FILE, ""), modes={root: mode})
        told = answer(environment, "unpack", where, "--json", "-", stdin=archive)
        assert told["error"] is None
        made, kept = told.get("into", "."), told.get("kept", ".")
        script = f"stat -c %a {made}; chmod 700 {made}; cat {made}/a {kept}/mine"
        assert f"{expected:o}\nhimine\n" == in_home(environment, "sh", "-c", script)
    assert [name for name in everything(environment) if name.startswith(".")] == []


def test_a_home_that_its_owner_made_read_only_is_kept(environment: Environment) -> None:
    """It was exchanged, could not be moved then, and every further import failed at it."""
    in_home(environment, "chmod", "500", ".")
    told = answer(environment, "unpack", "--replace", "--json", "-", stdin=GOOD)
    assert told["error"] is None
    script = f"stat -c %a {told['kept']}; cat {told['kept']}/mine b"
    assert "500\nmine\nhi" == in_home(environment, "sh", "-c", script)
    assert [name for name in everything(environment) if name.startswith(".")] == []


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"no archive at all",
        GOOD[:-20],
        tarball(("a", FILE, ""), gz=False)[:1024],
        tarball(("a", FILE, ""), gz=False)[:700],
        b"\x28\xb5\x2f\xfd" + GOOD,
        GOOD + b"trailing",
    ],
    ids=["nothing", "text", "cut gzip", "cut between members", "cut member", "no zstd", "garbage at the end"],
)
def test_what_is_no_whole_archive_changes_nothing(environment: Environment, archive: bytes) -> None:
    before = everything(environment)
    done = run(environment, "unpack", "--replace", "-", stdin=archive)
    assert (done.returncode, done.stdout) == (1, b"")
    assert everything(environment) == before


@pytest.mark.parametrize("cut", [0, 1024])
def test_what_matters_of_a_thousand_warnings_is_told_and_the_rest_counted(
    environment: Environment, cut: int
) -> None:
    """Of names too: an answer that is too long would be none."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", bufsize=512) as tar:
        for number in range(1500):
            member = tarfile.TarInfo("/".join([str(number), *["x" * 250] * 12 * (number < 20)]))
            member.pax_headers, member.mtime = {"LIBARCHIVE.odd": "1"}, -1.0
            member.mode = 0o4755 if number == 1499 else 0o644
            tar.addfile(member)
    whole = made.getvalue().rstrip(b"\0")
    archive = whole + bytes(-len(whole) % 512 + (0 if cut else 1024))
    done = run(environment, "unpack", "--into=new", "--json", "-", stdin=archive)
    told = json.loads(done.stdout.splitlines()[-1])
    if cut:
        assert told == {"error": "the archive is cut off"}
        return
    assert (told["error"], told["warnings"][0]) == (None, "took the setuid or setgid bit off 1 files")
    assert all("implausibly old time stamp" in warning for warning in told["warnings"][1:])
    assert len(told["warnings"]) + told["more_warnings"] == 1 + 1500 * 2
    assert len(done.stdout.splitlines()[-1]) < 12_000


def test_an_upload_in_pieces(environment: Environment) -> None:
    assert answer(environment, "size", UPLOAD) == {"size": 0, "error": None}
    assert answer(environment, "receive", UPLOAD, "0", stdin=GOOD[:50]) == {"size": 50, "error": None}
    wrong = answer(environment, "receive", UPLOAD, "0", stdin=GOOD)
    assert wrong == {"error": "the next piece begins at 50"}
    assert answer(environment, "receive", UPLOAD, "50", stdin=GOOD[50:])["size"] == len(GOOD)
    told = answer(environment, "unpack", "--json", "--into=new", "--upload", UPLOAD)
    assert (told["error"], told["into"], told["files"]) == (None, "new", 2)
    assert answer(environment, "size", UPLOAD)["size"] == 0
    answer(environment, "receive", UPLOAD, "0", stdin=b"x")
    assert answer(environment, "discard", UPLOAD) == {"error": None}
    assert [name for name in everything(environment) if name.startswith(".")] == []
    for bad in ("..", "x" * 32, ""):
        assert answer(environment, "size", bad)["error"] == "that is no upload"


def test_one_that_was_killed_leaves_the_home_and_no_litter(environment: Environment) -> None:
    archive = "(head -c 100000000 /dev/zero | tr '\\0' x >/tmp/big; tar -c /tmp/big; sleep 60) 2>/dev/null"
    script = (
        f"{archive} | {IMPORT} unpack --replace - & "
        "for _ in $(seq 600); do ls -A /home | grep -q import && break; sleep 0.1; done; "
        f"ls -A /home | grep -c import; pkill -KILL -f '{IMPORT}'; pkill -KILL tar"
    )
    assert environment.exec("sh", "-c", script).stdout == "1\n"
    assert in_home(environment, "cat", "mine") == "mine\n"
    assert answer(environment, "sweep") == {"error": None}
    assert [name for name in everything(environment) if name.startswith(".")] == []


@pytest.mark.parametrize("swapped", [False, True])
def test_one_that_was_killed_at_the_very_end(environment: Environment, *, swapped: bool) -> None:
    """The directory beside the home is the new one before the exchange, and the old one after it."""
    home = environment.account.home
    aside = "/home/.rootblood-swap-DATE-$(stat -c %i /home/new)"
    script = f'mkdir /home/new; echo new >/home/new/new; mv /home/new "{aside}"'
    in_home(environment, "sh", "-c", script)
    if swapped:
        in_home(environment, "sh", "-c", f"mv --exchange -T /home/.rootblood-swap-DATE-* {home}")
    answer(environment, "sweep")
    assert environment.exec("ls", "-A", "/home").stdout.split() == [home.removeprefix("/home/")]
    if swapped:
        assert (
            environment.exec("sh", "-c", f"cd {home}; cat new home-before-DATE/mine").stdout == "new\nmine\n"
        )
    else:
        assert environment.exec("cat", f"{home}/mine").stdout == "mine\n"


def test_two_at_once(environment: Environment) -> None:
    script = (
        f"mkfifo /tmp/held; {IMPORT} unpack - </tmp/held 2>/dev/null & exec 3>/tmp/held; "
        "for _ in $(seq 600); do ls -A /home | grep -q import && break; sleep 0.1; done; "
        f"{IMPORT} unpack - </dev/null"
    )
    done = environment.exec("sh", "-c", script)
    assert (done.returncode, "another import runs" in done.stderr) == (1, True)


@pytest.mark.parametrize("where", ["--replace", "--into=new"])
def test_a_small_archive_that_holds_more_than_may_be(environment: Environment, where: str) -> None:
    before = everything(environment)
    script = "head -c 50000000 /dev/zero >/tmp/zeros; tar -czf /tmp/bomb -C /tmp zeros; stat -c %s /tmp/bomb"
    assert int(environment.exec("sh", "-c", script).stdout) < 1_000_000

    done = run(environment, "unpack", where, "--max-bytes", "40000000", "/tmp/bomb")

    assert (done.returncode, done.stdout) == (1, b"")
    assert b"what is in it takes more than 40000000 bytes; use rsync" in done.stderr
    assert everything(environment) == before
    assert run(environment, "unpack", where, "--max-bytes", "51000000", "/tmp/bomb").returncode == 0


@pytest.mark.parametrize("where", [("--replace",), ("--into", "new")])
def test_the_home_is_made_for_who_has_none_yet(tmp_path: Path, where: Sequence[str]) -> None:
    with make_environment(tmp_path) as environment:
        done = run(environment, "unpack", *where, "-", stdin=GOOD)
        assert (done.returncode, done.stderr) == (0, b"")
        home = environment.account.home
        kept = "home-before-*" if "--replace" in where else "."
        script = f"cd {home} && stat -c %a . && cat $(find . -name b)"
        assert environment.exec("sh", "-c", script).stdout.split() == ["700", "hi"]
        skeleton = environment.exec("sh", "-c", f"ls -A /etc/skel; echo; ls -A {home}/{kept}").stdout
        made, _, found = skeleton.partition("\n\n")
        assert set(made.split()) <= set(found.split())
        assert [name for name in everything(environment) if name.startswith(".")] == []
