"""Environments to another image and back, with a server and its users there: homes stay byte for byte."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import client_of, make_installation
from tests.e2e.installation import Client, Installation, Server, ask, docker_api, wait_until
from tests.e2e.terminal import terminal
from tests.e2e.test_backup import MAKE, look
from tests.images import OwnImage, own_image

_BUILD = "cat /etc/build 2>&- || echo first"


@dataclass
class Site:
    """An installation that serves, on an image of the test's own."""

    installation: Installation
    server: Server
    image: OwnImage
    first: str
    """The image it began with."""

    def client(self, name: str) -> Client:
        return client_of(self.installation, self.server, name)

    def build(self, name: str) -> str:
        """An image that can be told from others in it."""
        return self.image.build("USER root", f"RUN echo {name} >/etc/build", "USER appuser")

    def images(self) -> dict[str, tuple[list[str], list[str]]]:
        """By id: what each image is, and whose environments run on it."""
        return {
            row["image"]: (row["is"], row["running"]) for row in self.installation.cli_json("image", "list")
        }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Each test begins and ends with the first image in use."""
    directory = tmp_path_factory.mktemp("images")
    with own_image() as image:
        first = image.build()
        with (
            make_installation(directory, ROOTBLOOD_ENVIRONMENT__IMAGE=image.name) as installation,
            installation.serving() as server,
        ):
            yield Site(installation, server, image, first)


def started(client: Client) -> str:
    """When the environment's first process was, in ticks of the host: another one, another time."""
    return client.output("cut -d' ' -f22 /proc/1/stat")


def test_homes_are_the_same_on_every_image(site: Site, tmp_path: Path) -> None:
    installation, alice, bob = site.installation, site.client("alice"), site.client("bob")
    for client in (alice, bob):
        client.output("bash", "-s", stdin=MAKE.encode())
    before = {client.name: look(client) for client in (alice, bob)}
    second = site.build("second")

    # At the next idle moment: what runs is left alone until it has stopped.
    waiting = installation.cli_json("image", "upgrade")
    assert ([], ["alice", "bob"]) == (waiting["moved"], waiting["waiting"])
    installation.cli("env", "stop", "alice")
    assert ("second\n", "first\n") == (alice.output(_BUILD), bob.output(_BUILD))
    images = site.images()
    assert (["current", "newest"], ["alice"]) == images[second]
    assert (["previous"], ["bob"]) == images[site.first]
    told = {finding["check"]: finding["detail"] for finding in installation.cli_json("doctor")}
    assert "1 environments are of another" in told["image"]

    # At once: a terminal is told why, and nobody else's connection ends.
    output = tmp_path / "output"
    output.touch()
    with (
        alice.open("cat") as at_work,
        terminal(tmp_path, bob.argv(options=["-tt"]), columns=120) as window,
    ):
        window.wait_for("bob@")
        window.tmux("pipe-pane", f"cat >{output}")
        assert b"before\n" == ask(at_work, b"before\n")
        assert ["bob"] == installation.cli_json("image", "upgrade", "--now")["moved"]
        wait_until(lambda: "moves to another image" in output.read_text(errors="replace"))
        window.wait_for("status=")
        assert b"after\n" == ask(at_work, b"after\n")
    assert "second\n" == bob.output(_BUILD)
    trail = installation.cli_json("user", "activity", "bob")
    assert ("environment_restarted", "cli") in {(event["action"], event["door"]) for event in trail}
    for client in (alice, bob):
        assert before[client.name] == look(client)
        assert f"{client.name}\n/global/{client.name}\n" == client.output("id -un; ls -d /global/$USER")

    back = installation.cli_json("image", "rollback", "--now")
    assert (site.first, ["alice", "bob"]) == (back["image"], back["moved"])
    for client in (alice, bob):
        assert "first\n" == client.output(_BUILD)
        assert before[client.name] == look(client)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (['CMD ["/bin/false"]'], "its first process ends by itself, with status 1"),
        (["USER root", "RUN rm /usr/sbin/sshd", "USER appuser"], "your environment cannot be entered"),
        (
            ["USER root", "RUN sed -i s/extrausers// /etc/nsswitch.conf", "USER appuser"],
            "your environment cannot be entered",
        ),
        (["USER root", "RUN rm /usr/bin/tmux", "USER appuser"], "a command in it fails with status"),
    ],
    ids=["ends at once", "no sshd", "no accounts", "no tmux"],
)
def test_a_broken_image_takes_nobody_down(site: Site, lines: list[str], why: str) -> None:
    alice = site.client("alice")
    since = started(alice)
    broken = site.image.build(*lines)

    refused = site.installation.cli("image", "upgrade", "--now", check=False)
    assert (1, "") == (refused.returncode, refused.stdout)
    assert f"does not work, so nothing was changed: {why}" in refused.stderr
    assert since == started(alice)
    images = site.images()
    assert ["current"] == images[site.first][0]
    assert "alice" in images[site.first][1]
    assert (["newest"], []) == images[broken]
    site.installation.cli("env", "stop", "alice")
    assert "first\n" == alice.output(_BUILD)
    # Docker takes a moment to remove what has ended.
    wait_until(lambda: site.installation.containers() == site.installation.environments())


def test_the_image_in_use_outlives_its_name(site: Site) -> None:
    assert "first\n" == site.client("alice").output(_BUILD)
    site.build("second")
    with docker_api() as api:
        api.remove_image(site.image.name)
    site.installation.cli("env", "remove", "alice")
    assert "first\n" == site.client("alice").output(_BUILD)
    refused = site.installation.cli("image", "upgrade", check=False)
    assert (1, True) == (refused.returncode, "build it with 'make image'" in refused.stderr)
