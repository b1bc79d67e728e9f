"""A container that was stopped, killed, paused or removed by hand is healed by the next login."""

import signal
from collections.abc import Callable

import docker
import pytest

from rootblood.domain.environments import network_name, shared_volume_name, system_volume_name
from tests.e2e.installation import Client, Installation, Server, docker_api
from tests.e2e.outcomes import assert_stays_up, container_of, says_ok

BY_HAND: dict[str, Callable[[docker.APIClient, str], object]] = {
    "stopped": lambda api, name: api.stop(name, timeout=1),
    "killed": lambda api, name: api.kill(name),
    "paused": lambda api, name: api.pause(name),
    "removed": lambda api, name: api.remove_container(name, force=True),
}


@pytest.mark.parametrize("how", BY_HAND)
def test_what_was_done_by_hand_is_healed_by_the_next_login(
    alice: Client, installation: Installation, server: Server, how: str
) -> None:
    alice.output("touch ~/kept")
    name = container_of(installation)
    with docker_api() as api:
        BY_HAND[how](api, name)
    assert "kept\n" == alice.output("ls kept")
    assert [name] == [found for found in installation.containers() if found == name]
    assert_stays_up(server)


def test_what_all_share_was_removed_by_hand_and_the_next_login_makes_it_anew(
    own_installation: Installation, own_server: Server, own_alice: Client
) -> None:
    """As `docker system prune --volumes` does, once no container is left."""
    instance = own_installation.instance
    assert says_ok(own_alice)
    with docker_api() as api:
        api.remove_container(container_of(own_installation), force=True)
        api.remove_network(network_name(instance))
        for volume in (shared_volume_name(instance), system_volume_name(instance)):
            api.remove_volume(volume)

    assert "alice\n" == own_alice.output("touch /global/alice/kept && id -un")

    assert [] == own_installation.cli_json("reconcile", "--dry-run")
    assert_stays_up(own_server)


def test_a_paused_environment_goes_on_where_it_was(alice: Client, installation: Installation) -> None:
    with alice.open("echo up; exec cat") as session:
        assert session.stdout is not None
        assert session.stdin is not None
        assert session.stdout.readline() == b"up\n"
        with docker_api() as api:
            api.pause(container_of(installation))
        assert says_ok(alice)
        session.stdin.write(b"still\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"still\n"


def test_a_paused_environment_does_not_keep_the_server_from_its_end(
    own_installation: Installation, own_server: Server, own_alice: Client
) -> None:
    with own_alice.open("echo up; exec cat") as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"up\n"
        with docker_api() as api:
            api.pause(container_of(own_installation))
        assert 0 == own_server.stop(signal.SIGTERM)
