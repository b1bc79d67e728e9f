"""The drill: everything is lost, and comes back from a backup, on a real engine with real clients."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import client_of, make_installation
from tests.e2e.installation import Client, Installation
from tests.postgresql import Cluster

pytestmark = pytest.mark.timeout(400)

MAKE = r"""
set -e
cd; umask 022
mkdir -p deep/er 'with space' "$(printf 'new\nline')"
head -c 300000 /dev/urandom > deep/er/random
printf x > "$(printf 'bad\377utf8')"; ln -s /etc/shadow escape; ln -s ../../.. deep/up; ln deep/er/random hard
mkfifo pipe; truncate -s 1T sparse; printf end >> sparse
printf '#!/bin/sh\necho 1\n' > run; chmod 4755 run; touch -d '2001-02-03 04:05:06.789012345' run deep
mkdir -m 2770 setgid; printf s > setgid/file; chmod 000 setgid/file
printf mine > /global/"$USER"/note; mkdir /global/"$USER"/team
python3 - <<'END'
import os, socket, struct
name = os.environ["USER"]
os.setxattr("run", "user.note", b"kept \xff")
access = [(1, 7, -1), (2, 4, 20001), (4, 5, -1), (16, 5, -1), (32, 0, -1)]
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in access)
for path in ("deep/er/random", f"/global/{name}/note"):
    os.setxattr(path, "system.posix_acl_access", acl)
os.setxattr(f"/global/{name}/team", "system.posix_acl_default", acl)
socket.socket(socket.AF_UNIX).bind("socket")
END
"""

_LOOK = r"""
import hashlib, json, os, stat, sys
found = {}
def look(path):
    status = os.lstat(path)
    what = [stat.filemode(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, status.st_nlink]
    what += [status.st_size if not stat.S_ISDIR(status.st_mode) else None]
    if stat.S_ISLNK(status.st_mode):
        what.append(os.readlink(path))
    else:
        names = sorted(os.listxattr(path))
        what.append([(name, os.getxattr(path, name).hex()) for name in names])
    if stat.S_ISREG(status.st_mode) and status.st_size < 10_000_000 and os.access(path, os.R_OK):
        with open(path, "rb") as file:
            what.append(hashlib.sha256(file.read()).hexdigest())
    if stat.S_ISREG(status.st_mode) and status.st_size > 10_000_000:
        what.append(status.st_blocks < 1000)
    if not stat.S_ISSOCK(status.st_mode):
        found[os.fsencode(path).hex()] = what
for top in ("/home", "/global"):
    for path, directories, files in os.walk(top):
        for name in (directories + files):
            if name != ".cache":
                look(os.path.join(path, name))
    look(top)
print(json.dumps(found))
"""


def look(client: Client) -> dict[str, Any]:
    """All that is to be known of the files of an account, and of /global."""
    found: dict[str, Any] = json.loads(client.output("python3", "-", stdin=_LOOK.encode()))
    return found


def pinned(client: Client) -> Client:
    """The same client, which accepts the host key that it knows and no other."""

    class Pinned(Client):
        @property
        def options(self) -> list[str]:
            return [option.replace("=accept-new", "=yes") for option in super().options]

    return Pinned(client.directory, client.name, client.port, client.key)


def destroy(installation: Installation) -> None:
    """Containers, volumes, network, state, keys and settings."""
    installation.destroy()
    kept = installation.directory / "backup_key"
    key = installation.directory / "keys" / "backup_key"
    if key.exists():
        shutil.copy2(key, kept)
    shutil.rmtree(installation.directory / "state")
    shutil.rmtree(installation.directory / "keys")
    if kept.exists():
        (installation.directory / "keys").mkdir(mode=0o700)
        shutil.copy2(kept, key)


@pytest.mark.parametrize("form", ["tar", "restic"])
def test_all_is_lost_and_comes_back(own_installation: Installation, form: str) -> None:
    installation = own_installation
    before: dict[str, Any] = {}
    with installation.serving() as server:
        for name in ("alice", "bob"):
            client = client_of(installation, server, name)
            client.output("bash", "-s", stdin=MAKE.encode())
        users = installation.cli_json("user", "list")
        first = json.loads(installation.cli("backup", "backups", "--with", form, "--json").stdout)
        client_of(installation, server, "alice").output("echo later > later")
        second = json.loads(installation.cli("backup", "backups", "--json").stdout)
        assert ([], [], form) == (first["failures"], second["failures"], second["form"])
        assert {"alice", "bob"} <= {account["name"] for account in second["accounts"]}
        for name in ("alice", "bob"):
            before[name] = look(client_of(installation, server, name))
    fingerprint = (installation.directory / "keys" / "ssh_host_ed25519_key.pub").read_text()
    destroy(installation)
    assert installation.environments() == []

    installation.cli("restore", "backups", "--dry-run")
    assert not (installation.directory / "state").exists()
    restored = json.loads(installation.cli("restore", "backups", "--json").stdout)

    assert second["id"] == restored["id"]
    assert users == installation.cli_json("user", "list")
    assert fingerprint == (installation.directory / "keys" / "ssh_host_ed25519_key.pub").read_text()
    known_hosts = installation.directory / "known_hosts"
    with installation.serving() as server:
        # Known under the port that the server had before; the key is what counts.
        lines = [line.split()[1:] for line in known_hosts.read_text().splitlines()]
        known_hosts.write_text(f"[127.0.0.1]:{server.port} {' '.join(lines[0])}\n")
        for name in ("alice", "bob"):
            client = pinned(client_of(installation, server, name))
            assert b"later\n" == client.run("cat later").stdout or name == "bob"
            after = look(client)
            assert before[name].keys() == after.keys()
            for path, what in before[name].items():
                assert what == after[path], bytes.fromhex(path)


def test_a_database_on_postgresql_is_in_it_too(tmp_path: Path, cluster: Cluster) -> None:
    name, password = cluster.create(), "database-secret"
    cluster.guard(name, password)
    url = cluster.url(name, password)
    said = []
    with make_installation(tmp_path, ROOTBLOOD_DATABASE__URL=url) as installation:
        with installation.serving() as server:
            client_of(installation, server, "alice").output("echo data > file")
            users = installation.cli_json("user", "list")
            made = installation.cli("backup", "backups", "--with", "tar", "--json")
            said.append(made)
            assert json.loads(made.stdout)["database"]
            in_use = installation.cli("restore", "backups", "--over", check=False)
            said.append(in_use)
            assert (1, True) == (in_use.returncode, "stop them all first" in in_use.stderr)
            installation.cli("user", "add", "later")
        not_empty = installation.cli("restore", "backups", check=False)
        assert (1, True) == (not_empty.returncode, "it has a database" in not_empty.stderr)
        assert (
            "of PostgreSQL"
            in installation.cli(
                "restore",
                "backups",
                "--dry-run",
                check=False,
                env={"ROOTBLOOD_DATABASE__URL": f"sqlite+aiosqlite:///{tmp_path}/db"},
            ).stderr
        )
        destroy(installation)
        cluster.sql(f"DROP SCHEMA {name} CASCADE; CREATE SCHEMA AUTHORIZATION {name}")

        said.append(installation.cli("restore", "backups", "--dry-run"))
        said.append(installation.cli("restore", "backups"))

        assert users == installation.cli_json("user", "list")
        installation.cli("db", "check")
        (installation.directory / "known_hosts").unlink()
        with installation.serving() as server:
            assert "data\n" == client_of(installation, server, "alice").output("cat file")
            assert password not in server.log
    assert not any(password in done.stdout + done.stderr for done in said)


def test_a_home_in_use_is_stopped_for_its_turn_if_told(own_installation: Installation) -> None:
    installation = own_installation
    with installation.serving() as server:
        alice = client_of(installation, server, "alice")
        alice.output("echo data > file")
        marker = alice.output("cat /proc/1/stat | cut -d' ' -f22")
        installation.cli("backup", "backups", "--with", "tar", "--stop")
        assert ["running"] == [row["state"] for row in installation.cli_json("env", "list")]
        assert marker != alice.output("cat /proc/1/stat | cut -d' ' -f22")
