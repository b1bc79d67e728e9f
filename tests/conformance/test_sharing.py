"""What environments share, the names and files of one installation, and what two installations do not."""

import secrets

import pytest

from rootblood.domain.environments import Identity
from rootblood.errors import EnvironmentFailedError
from tests.conformance.rigs import DockerRig, Rig, new_identity, output


async def test_install_can_be_repeated_and_refuses_a_second_owner_of_a_name(rig: Rig) -> None:
    alice, bob = new_identity(), new_identity()
    for identities in ([alice], [alice], [bob], []):
        await rig.engine.install({"authorized_keys": "ssh-ed25519 AAAA\n"}, identities)
    taken = Identity(name=alice.name, userhash=secrets.token_hex(16), uid=59999, gid=59999)
    with pytest.raises(EnvironmentFailedError):
        await rig.engine.install({}, [taken])


async def test_names_add_up_and_files_stay(docker_rig: DockerRig, alice: Identity) -> None:
    engine, bob = docker_rig.engine, new_identity()
    await engine.install({"authorized_keys": "ssh-ed25519 AAAA\n"}, [alice])
    environment = await engine.ensure(alice)
    await engine.install({}, [bob])  # into a running environment
    look = (
        "sh",
        "-c",
        f"cat /etc/rootblood/authorized_keys; id -un; getent passwd {bob.name}; stat -c %U:%a /global/*",
    )
    lines = (await output(engine, environment, *look)).decode().splitlines()
    expected = [
        "ssh-ed25519 AAAA",
        alice.name,
        f"{bob.name}:x:{bob.uid}:{bob.gid}::{bob.home}:/bin/bash",
    ]
    assert expected == lines[:3]
    assert {f"{alice.name}:3755", f"{bob.name}:3755"} <= set(lines[3:])


async def test_list_shows_this_installation_s_environments_alone(rig: Rig, alice: Identity) -> None:
    bob = new_identity()
    other = rig.sibling()
    try:
        await other.install({}, [])
        mine, theirs = await rig.engine.ensure(alice), await other.ensure(bob)
        assert mine in await rig.engine.list()
        assert theirs not in await rig.engine.list()
        listed = await other.list()
        assert theirs in listed
        assert mine not in listed
    finally:
        await other.close()
