"""Volumes as archives, there and back: what a backup stands on."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from rootblood.domain.complaints import Complaints
from rootblood.domain.environments import Identity, Volume
from rootblood.errors import EnvironmentFailedError, NotFoundError
from tests.conformance.rigs import DockerRig, Rig, new_identity, output
from tests.e2e.installation import docker_api, wait_until

_FILL = 'mkdir -p -m 700 "$HOME"; head -c 3000000 /dev/urandom > "$HOME/file"'
_DIGEST = 'sha256sum < "$HOME/file"'

_MAKE = """
mkdir -p -m 700 "$HOME"; cd "$HOME" && mkdir -m 700 deep && cd deep
printf x > "$(printf 'new\\nline')"; printf y > "$(printf 'bad\\377utf8')"
ln -s /etc/shadow escape; ln -s ../.. up; ln "$(printf 'new\\nline')" hard; mkfifo pipe
truncate -s 1T sparse; printf end >> sparse
touch -d '2001-02-03 04:05:06.789012345' old; chmod 4751 old; mkdir -m 2770 setgid; chmod 000 setgid
python3 -c 'import os, struct
os.setxattr("old", "user.note", b"kept")
entries = [(1, 7, -1), (2, 4, 12345), (4, 5, -1), (16, 5, -1), (32, 1, -1)]
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
os.setxattr("old", "system.posix_acl_access", acl)
import socket; socket.socket(socket.AF_UNIX).bind("socket")'
"""

_LOOK = """
cd "$HOME"; stat -c '%a %u %g' . ..; cd deep; rm -f socket
for name in *; do stat -c '%N %F %a %u %g %h %s %Y %y' -- "$name"; done
readlink escape up; stat -c %b sparse; [ hard -ef "$(printf 'new\\nline')" ] && echo same
python3 -c 'import os
print(sorted((name, os.getxattr("old", name)) for name in os.listxattr("old")))'
"""


async def _archive(rig: Rig, volume: Volume, *, compressed: bool) -> tuple[bytes, Complaints]:
    pieces: list[bytes] = []

    async def keep(data: bytes) -> None:
        pieces.append(data)

    warnings = await rig.engine.read_volume(volume, keep, compressed=compressed)
    return b"".join(pieces), warnings


async def _pieces(archive: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(archive), 100_000):
        yield archive[at : at + 100_000]


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_home_comes_back_with_its_files(rig: Rig, alice: Identity, *, compressed: bool) -> None:
    environment = await rig.engine.ensure(alice)
    before = await output(rig.engine, environment, "sh", "-c", f"{_FILL}; {_DIGEST}")
    assert before
    volume = Volume(alice.userhash)
    assert volume in await rig.engine.volumes()
    archive, warnings = await _archive(rig, volume, compressed=compressed)
    assert Complaints() == warnings
    await rig.engine.remove(alice.userhash)
    await rig.engine.purge_home(alice.userhash)
    assert volume not in await rig.engine.volumes()
    await rig.engine.write_volume(volume, _pieces(archive), compressed=compressed)
    assert volume in await rig.engine.volumes()
    environment = await rig.engine.ensure(alice)
    assert before == await output(rig.engine, environment, "sh", "-c", _DIGEST)


async def test_what_is_not_there_or_in_use_or_no_archive_is_refused(rig: Rig, alice: Identity) -> None:
    volume = Volume(new_identity().userhash)
    with pytest.raises(NotFoundError):
        await _archive(rig, volume, compressed=False)
    assert volume not in await rig.engine.volumes()
    with pytest.raises(EnvironmentFailedError):
        await rig.engine.write_volume(volume, _pieces(b"no archive" * 1000), compressed=True)
    await output(rig.engine, await rig.engine.ensure(alice), "sh", "-c", _FILL)
    archive, _ = await _archive(rig, Volume(alice.userhash), compressed=False)
    with pytest.raises(EnvironmentFailedError, match="in use"):
        await rig.engine.write_volume(Volume(alice.userhash), _pieces(archive), compressed=False)
    await rig.engine.remove(alice.userhash)
    with pytest.raises(EnvironmentFailedError):
        await rig.engine.write_volume(Volume(alice.userhash), _pieces(archive[:1_000_000]), compressed=False)
    await rig.engine.write_volume(Volume(alice.userhash), _pieces(archive), compressed=False)


async def test_who_fails_to_take_an_archive_fails_the_reading(rig: Rig, alice: Identity) -> None:
    await rig.engine.ensure(alice)

    async def refuse(_data: bytes) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await rig.engine.read_volume(Volume(alice.userhash), refuse, compressed=False)


async def test_after_forgetting_a_name_may_be_another_s(rig: Rig, alice: Identity) -> None:
    await rig.engine.install({}, [alice])
    await rig.engine.ensure(alice)
    await rig.engine.forget()
    assert alice.userhash not in {environment.userhash for environment in await rig.engine.list()}
    other = new_identity()
    await rig.engine.install({}, [Identity(alice.name, other.userhash, alice.uid, alice.gid)])
    assert Volume(alice.userhash) in await rig.engine.volumes()


async def test_hostile_homes_come_back_as_they_were(docker_rig: DockerRig, alice: Identity) -> None:
    engine = docker_rig.engine
    environment = await engine.ensure(alice)
    await output(engine, environment, "sh", "-c", _MAKE)
    before = await output(engine, environment, "sh", "-c", _LOOK)
    assert b"same" in before
    assert b"user.note" in before
    assert b"posix_acl_access" in before
    archive, warnings = await _archive(docker_rig, Volume(alice.userhash), compressed=True)
    assert (len(archive) < 100_000, warnings) == (True, Complaints())
    await engine.remove(alice.userhash)
    await engine.write_volume(Volume(alice.userhash), _pieces(archive), compressed=True)
    assert before.decode() == (await output(engine, await engine.ensure(alice), "sh", "-c", _LOOK)).decode()


async def test_no_helper_is_left_however_it_ends(docker_rig: DockerRig, alice: Identity) -> None:
    await docker_rig.engine.ensure(alice)
    await _archive(docker_rig, Volume(alice.userhash), compressed=True)

    def helpers() -> list[str]:
        labels = [f"rootblood.instance={docker_rig.instance}", "rootblood.volume-helper"]
        with docker_api() as api:
            return [row["Id"] for row in api.containers(all=True, filters={"label": labels})]

    await asyncio.to_thread(wait_until, lambda: helpers() == [], what="the end of all helpers")
