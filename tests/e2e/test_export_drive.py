"""The export drive, by the clients people have: OpenSSH's, PuTTY's, sshfs, and one that means no good."""

import asyncio
import hashlib
import io
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from rootblood.domain.environments import container_name
from tests.e2e.clients.putty import PuTTY
from tests.e2e.conftest import ALICE_PASSWORD, client_of, connect, login_of, make_installation
from tests.e2e.installation import Client, Installation, Server, docker_api, wait_until
from tests.e2e.test_auth import with_password
from tests.e2e.test_sshfs import cannot_mount

FILES = {"notes": b"hello\n", "deep/er/data": os.urandom(3_000_000), "-rf": b"3", "new\nline": b""}
SPOOLED = re.compile(r"home-\d{8}-\d{6}-[0-9a-f]{4}\.tar\.(gz|zst)")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose alice has a home that is known."""
    with make_installation(tmp_path_factory.mktemp("drive")) as made:
        yield made


@pytest.fixture(scope="module")
def door(house: Installation) -> Iterator[Server]:
    with house.serving() as server:
        alice = client_of(house, server, "alice")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, data in FILES.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        alice.output("tar -xf -", stdin=packed.getvalue())
        yield server


@pytest.fixture
def alice(house: Installation, door: Server) -> Client:
    return client_of(house, door, "alice")


@pytest.fixture
def drive(alice: Client) -> Client:
    return replace(alice, name="alice+export")


def scp(client: Client, *words: str | Path, options: Sequence[str] = ("-s",)) -> tuple[int, str]:
    """Status of an scp, and what it said."""
    done = subprocess.run(
        ["scp", *options, *client.options, "-P", str(client.port), *words],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return done.returncode, done.stderr


def slowly(client: Client, way: str = "-s") -> list[str]:
    """The beginning of an scp that takes its time: 50 kB/s, a minute for what is kept here."""
    return ["scp", way, "-l", "400", *client.options, "-P", str(client.port)]


def leases(house: Installation) -> int:
    """How many use an environment."""
    with closing(sqlite3.connect(house.directory / "state" / "rootblood.db")) as database:
        (count,) = database.execute("SELECT count(*) FROM leases").fetchone()
    return int(count)


def content(archive: Path) -> dict[str, bytes]:
    """The files of a tarball, by their names in the home, without the dotfiles every home has."""
    plain = archive
    if archive.name.endswith(".zst"):
        plain = archive.with_suffix(".plain")
        subprocess.run(["zstd", "-q", "-d", "-f", archive, "-o", plain], check=True, timeout=180)
    found = {}
    with tarfile.open(plain, errors="surrogateescape") as tar:
        for member in tar:
            name = member.name.removeprefix("home/")
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None and not name.startswith("."):
                found[name] = file.read()
    return found


@pytest.fixture
def spooled(drive: Client, tmp_path: Path) -> str:
    """The name of a tarball in the spool."""
    status, said = scp(drive, f"{drive.target}:home.tar.gz", tmp_path / "first.tar.gz", options=["-O"])
    found = SPOOLED.search(said)
    assert (status, found is not None) == (0, True), said
    assert found is not None
    return found[0]


def programs(house: Installation) -> int:
    """How many exports run in alice's environment."""
    with docker_api() as api:
        top = api.top(container_name(house.userhash("alice")), ps_args="-eo pid,args")
    return sum("/usr/lib/rootblood/export" in row[1] for row in top["Processes"])


@contextmanager
def large_file(client: Client, name: str) -> Iterator[None]:
    """A home that takes a while to send."""
    client.output(f"head -c 60000000 /dev/urandom >{name}")
    try:
        yield
    finally:
        client.output(f"rm -f {name}")


# What everybody does with it.


@pytest.mark.parametrize("kind", ["tar.gz", "tar.zst"])
@pytest.mark.parametrize("way", ["-s", "-O"])
def test_scp_takes_the_home_away(drive: Client, tmp_path: Path, way: str, kind: str) -> None:
    archive = tmp_path / f"home.{kind}"
    status, said = scp(drive, f"{drive.target}:home.{kind}", tmp_path, options=[way])
    assert status == 0, said
    assert content(archive) == FILES
    said = said.replace("\r", "\n")
    assert (SPOOLED.search(said) is not None) == (way == "-O")
    if way == "-s":
        assert said == ""


def test_what_sftp_lists(drive: Client, spooled: str) -> None:
    rows = [line.split() for line in drive.sftp("ls -l").splitlines()]
    sizes = {row[-1]: row[4] for row in rows}
    assert {row[0] for row in rows} == {"-r--------"}
    assert {sizes["home.tar.gz"], sizes["home.tar.zst"]} == {"?"}
    assert int(sizes[spooled]) > 3_000_000
    assert {"README", spooled, f"{spooled}.sha256"} <= sizes.keys()
    assert drive.sftp("pwd") == "Remote working directory: /\n"


def test_sftp_gets_and_the_checksum_is_right(drive: Client, spooled: str, tmp_path: Path) -> None:
    drive.sftp(f"lcd {tmp_path}", "get README", f"get {spooled}*", "get /home.tar.zst")
    subprocess.run(["sha256sum", "--quiet", "-c", f"{spooled}.sha256"], cwd=tmp_path, check=True, timeout=180)
    digest = hashlib.sha256((tmp_path / spooled).read_bytes()).hexdigest()
    assert f"  sha256   {digest}\n" in (tmp_path / "README").read_text()
    assert content(tmp_path / spooled) == content(tmp_path / "home.tar.zst") == FILES


def test_reget_goes_on_where_a_copy_broke_off(drive: Client, spooled: str, tmp_path: Path) -> None:
    drive.sftp(f"get {spooled} {tmp_path}/whole")
    whole = (tmp_path / "whole").read_bytes()
    partly = tmp_path / spooled
    slow = subprocess.Popen(
        [*slowly(drive), f"{drive.target}:{spooled}", str(partly)],
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: partly.exists() and partly.stat().st_size > 0, timeout_s=60)
    slow.kill()
    slow.wait()
    half = partly.stat().st_size
    assert 0 < half < len(whole)
    partly.write_bytes(b"#" * half)  # what is not sent again can be told from what is
    drive.sftp(f"reget {spooled} {partly}")
    assert partly.read_bytes() == b"#" * half + whole[half:]


def test_a_live_one_is_not_resumed_and_it_is_said_what_is(
    drive: Client, spooled: str, tmp_path: Path
) -> None:
    partly = tmp_path / "home.tar.gz"
    partly.write_bytes(b"#" * 1000)
    done = subprocess.run(
        ["sftp", "-q", "-b", "-", *drive.options, "-P", str(drive.port), drive.target],
        input=f"reget home.tar.gz {partly}",
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 1
    assert f"take {spooled}, which can be resumed" in done.stderr
    assert partly.read_bytes() == b"#" * 1000


def test_globs_of_the_old_protocol(drive: Client, spooled: str, tmp_path: Path) -> None:
    assert scp(drive, f"{drive.target}:{spooled[:-6]}*.sha256", tmp_path, options=["-O", "-p"]) == (0, "")
    (copied,) = tmp_path.glob("*.sha256")
    assert copied.name == f"{spooled}.sha256"
    assert stat.S_IMODE(copied.stat().st_mode) & 0o077 == 0


def test_pscp(house: Installation, door: Server, spooled: str, tmp_path: Path) -> None:
    """Over SFTP it wants to know a size: the end of a file that has none is an error to it."""
    if shutil.which("pscp") is None:
        pytest.skip("no pscp: scripts/test-tools installs it")
    login = replace(login_of(house, door, "alice", tmp_path), name="alice+export")
    for way, name in (("-scp", "home.tar.gz"), ("-scp", spooled), ("-sftp", spooled)):
        PuTTY().get(login, f"pscp{way}", name, tmp_path / f"copied.{name}")
        assert content(tmp_path / f"copied.{name}") == FILES
    with pytest.raises(AssertionError, match="end of file while reading"):
        PuTTY().get(login, "pscp-sftp", "home.tar.gz", tmp_path / "live")


def test_psftp(house: Installation, door: Server, spooled: str, tmp_path: Path) -> None:
    if shutil.which("psftp") is None:
        pytest.skip("no psftp: scripts/test-tools installs it")
    login = replace(login_of(house, door, "alice", tmp_path), name="alice+export")
    batch = f"lcd {tmp_path}\nls\nget home.tar.zst\nget {spooled} kept.tar.gz\nquit\n"
    putty = PuTTY()
    done = putty.succeed(
        login, ["psftp", *putty.options(login), "-b", login.file("batch", batch), login.target]
    )
    assert b"README" in done.stdout
    assert content(tmp_path / "home.tar.zst") == content(tmp_path / "kept.tar.gz") == FILES
    resumed = b"reget home.tar.gz\n"
    (tmp_path / "home.tar.gz").write_bytes(b"#" * 1000)
    login.file("batch", f"lcd {tmp_path}\n{resumed.decode()}")
    refused = putty.execute(
        login, ["psftp", *putty.options(login), "-b", str(login.home / "batch"), login.target]
    )
    assert f"take {spooled}, which can be resumed".encode() in refused.stdout + refused.stderr


@contextmanager
def mounted(client: Client, point: Path, *options: str) -> Iterator[Path]:
    """The drive by sshfs; it says on the terminal what the drive says."""
    if reason := cannot_mount():
        pytest.skip(reason)
    point.mkdir()
    argv = ["sshfs", "-f", *options, "-o", f"ssh_command={client.remote_shell}", f"{client.target}:", point]
    process = subprocess.Popen([str(word) for word in argv])
    try:
        wait_until(lambda: point.is_mount() or process.poll() is not None, timeout_s=60, what="the mount")
        assert process.poll() is None
        yield point
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(point)], check=False, timeout=90)
        process.wait(timeout=90)


def test_sshfs(drive: Client, spooled: str, tmp_path: Path) -> None:
    with mounted(drive, tmp_path / "kept") as point:
        shutil.copyfile(point / spooled, tmp_path / "kept.tar.gz")
        with pytest.raises(PermissionError):
            (point / "new").touch()
    with mounted(drive, tmp_path / "live", "-o", "direct_io") as point:
        subprocess.run(["cp", point / "home.tar.gz", tmp_path / "live.tar.gz"], check=True, timeout=180)
    assert content(tmp_path / "kept.tar.gz") == content(tmp_path / "live.tar.gz") == FILES


def test_password_and_a_word_on_how_to_use_it(house: Installation, door: Server, drive: Client) -> None:
    for command in ([], ["id"], ["scp -f 'x"]):
        done = drive.run(*command)
        assert (done.returncode, done.stdout) == (os.EX_USAGE, b"")
        assert b"scp alice+export@<this host>:home.tar.gz ." in done.stderr
    done_too = with_password(house, door, "alice+export", ALICE_PASSWORD)
    assert (done_too.returncode, done_too.stderr) == (os.EX_USAGE, done.stderr.decode())


def test_who_is_there_sees_it(alice: Client, drive: Client, tmp_path: Path) -> None:
    rescue = replace(alice, name="alice+rescue")
    with large_file(alice, "large"):
        copies = [
            subprocess.Popen(
                [*slowly(drive, way), f"{drive.target}:home.tar.gz", str(tmp_path / way)],
                stderr=subprocess.DEVNULL,
            )
            for way in ("-s", "-O")
        ]
        try:
            wait_until(lambda: rescue.output("sessions").count("export drive: ") == 2, timeout_s=60)
            listed = rescue.output("sessions")
        finally:
            for copy in copies:
                copy.kill()
                copy.wait()
    assert re.search(r"export drive: sftp\n", listed)
    assert re.search(r"export drive: scp home\.tar\.gz\n", listed)


def test_a_stopped_environment_is_left_stopped(house: Installation, drive: Client, tmp_path: Path) -> None:
    wait_until(lambda: not leases(house), timeout_s=60, what="the end of the copies that were broken off")
    house.cli("env", "stop", "alice")
    assert scp(drive, f"{drive.target}:home.tar.gz", tmp_path)[0] == 0
    wait_until(
        lambda: "stopped" == house.cli_json("env", "list")[0]["state"],
        timeout_s=60,
        what="the environment's end",
    )
    assert content(tmp_path / "home.tar.gz") == FILES


# What goes wrong.


@pytest.mark.parametrize("way", ["-s", "-O"])
def test_a_file_that_cannot_be_read_fails_the_copy(
    alice: Client, drive: Client, tmp_path: Path, way: str
) -> None:
    alice.output("mkdir zz-locked && chmod 0 zz-locked")
    try:
        status, said = scp(drive, f"{drive.target}:home.tar.gz", tmp_path, options=[way])
    finally:
        alice.output("rmdir zz-locked")
    assert status == 1
    assert "./zz-locked: Cannot open: Permission denied" in said
    copied = tmp_path / "home.tar.gz"
    assert subprocess.run(["gzip", "-tq", copied], check=False, capture_output=True, timeout=180).returncode


@pytest.mark.parametrize("who", ["scp", "ssh"])
def test_a_client_that_is_killed_ends_what_it_reads(
    house: Installation, alice: Client, drive: Client, tmp_path: Path, who: str
) -> None:
    with large_file(alice, "large"):
        wait_until(lambda: programs(house) == 0, timeout_s=60)
        copy = subprocess.Popen(
            [*slowly(drive), f"{drive.target}:home.tar.zst", str(tmp_path)], stderr=subprocess.DEVNULL
        )
        wait_until(lambda: programs(house) > 0, timeout_s=60)
        wait_until((tmp_path / "home.tar.zst").exists, timeout_s=60)
        if who == "ssh":
            subprocess.run(["pkill", "-KILL", "-P", str(copy.pid)], check=True)
        else:
            copy.kill()
        copy.wait()
        wait_until(lambda: programs(house) == 0, timeout_s=60, what="the end of tar")


def test_more_than_may_be_at_one_time(own_installation: Installation, tmp_path: Path) -> None:
    with own_installation.serving(ROOTBLOOD_EXPORTS__MAX_OF_ACCOUNT="1") as server:
        alice = client_of(own_installation, server, "alice")
        drive = replace(alice, name="alice+export")
        alice.output("head -c 60000000 /dev/urandom >large")
        copy = subprocess.Popen([*slowly(drive), f"{drive.target}:home.tar.gz", str(tmp_path / "one")])
        wait_until((tmp_path / "one").exists, timeout_s=60)
        for way in ("-s", "-O"):
            status, said = scp(drive, f"{drive.target}:home.tar.gz", tmp_path / "two", options=[way])
            assert status == 1
            assert "you have tarballs on their way already; wait for one of them" in said
        copy.kill()
        copy.wait()
    assert not (tmp_path / "two").exists()


def test_uploads_are_refused_in_words(drive: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for way in ("-s", "-O"):
        status, said = scp(drive, tmp_path / "file", f"{drive.target}:", options=[way])
        assert status == 1
        assert "the export drive is read-only" in said


async def test_a_client_that_means_no_good(drive: Client) -> None:
    paths = [b"../../etc/passwd", b"/etc/passwd", b"..", b"README\0", b"x" * 65536, b"/proc/self/environ"]
    async with await connect(drive) as connection, connection.start_sftp_client() as sftp:
        for path in paths:
            for call in (sftp.stat, sftp.lstat, sftp.listdir, sftp.realpath, sftp.open):
                with pytest.raises(asyncssh.SFTPNoSuchFile):
                    await call(path)
        for write in (
            sftp.mkdir(b"new"),
            sftp.rmdir(b"/"),
            sftp.remove(b"README"),
            sftp.rename(b"README", b"/tmp/README"),
            sftp.symlink(b"/etc/passwd", b"new"),
            sftp.chmod(b"README", 0o777),
            sftp.truncate(b"README", 0),
            sftp.open(b"README", "r+"),
            sftp.open(b"/tmp/new", "w"),
        ):
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="read-only"):
                await write
        for unknown in (sftp.readlink(b"README"), sftp.link(b"README", b"new"), sftp.statvfs(b"/")):
            with pytest.raises(asyncssh.SFTPOpUnsupported):
                await unknown
        for name in ("scp -f ../../etc/passwd", "scp -f /etc/passwd", "scp -f 'README\0'"):
            done = await connection.run(name, input=b"\0\0\0", encoding=None, check=False)
            assert isinstance(done.stdout, bytes)
            assert (done.exit_status, done.stdout[:1]) == (1, b"\1")
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", 22)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 1)


async def test_a_client_that_asks_and_does_not_take(door: Server, drive: Client) -> None:
    """What is asked for waits at the client, and not in our memory."""
    before = door.rss_kib
    async with await connect(drive) as connection:
        to_drive, from_drive, _ = await connection.open_session(subsystem="sftp", encoding=None)
        request = bytes([17]) + (7).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"/"
        to_drive.write((5).to_bytes(4, "big") + bytes([1]) + (3).to_bytes(4, "big"))
        from_drive.channel.pause_reading()
        packet = len(request).to_bytes(4, "big") + request
        for _ in range(200):
            to_drive.write(packet * 5000)
            with_room = asyncio.ensure_future(to_drive.drain())
            done, _ = await asyncio.wait([with_room], timeout=1)
            if not done:
                with_room.cancel()
                break
        else:
            pytest.fail("everything was taken")
        connection.abort()
    assert door.rss_kib - before < 32 * 1024


async def test_a_library_that_takes_no_size_for_an_empty_file_fails(drive: Client) -> None:
    async with await connect(drive) as connection, connection.start_sftp_client() as sftp:
        with pytest.raises(asyncssh.SFTPError, match=r"nothing was read of home.tar.gz"):
            async with sftp.open("home.tar.gz", "rb") as file:
                assert not await file.read()
