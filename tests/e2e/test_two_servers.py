"""Two servers on one PostgreSQL and one engine are one installation: whichever of them one comes to."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import ALICE_PASSWORD, client_of, make_installation
from tests.e2e.http_browser import Browser
from tests.e2e.installation import Client, Installation, Server, docker_api, wait_until
from tests.postgresql import Cluster


@dataclass(frozen=True)
class Pair:
    """Two servers, each with a state directory of its own, as they would have on two machines."""

    installation: Installation
    servers: tuple[Server, Server]

    def clients(self, name: str) -> tuple[Client, Client]:
        one, other = (client_of(self.installation, server, name) for server in self.servers)
        return one, other


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("two-servers")
    name = cluster.create()
    cluster.guard(name, "database-secret")
    url = cluster.url(name, "database-secret")
    with (
        make_installation(directory, ROOTBLOOD_DATABASE__URL=url) as installation,
        installation.serving() as one,
        installation.serving(ROOTBLOOD_STATE_DIR=str(directory / "other-state")) as other,
    ):
        yield Pair(installation, (one, other))
    for server in (one, other):
        assert "database-secret" not in server.log


def test_first_logins_at_both_at_once_make_one_environment(pair: Pair) -> None:
    clients = pair.clients("bob") * 10
    with ThreadPoolExecutor(len(clients)) as threads:
        seen = list(threads.map(lambda client: client.output("id -u; hostname; ls -id ~; cat /proc/1/stat"), clients))

    assert 1 == len({tuple(output.split()[:3]) for output in seen})
    userhash = pair.installation.userhash("bob")
    assert [name for name in pair.installation.containers() if userhash in name] == [f"rb_{userhash}"]
    with docker_api() as api:
        label = {"label": f"rootblood.instance={pair.installation.instance}"}
        volumes = [volume["Name"] for volume in api.volumes(filters=label)["Volumes"]]
    assert [name for name in volumes if userhash in name] == [f"home_{userhash}"]


def test_what_is_made_at_one_is_good_at_the_other(pair: Pair) -> None:
    one, other = pair.clients("alice")
    browser = Browser()
    browser.log_in(pair.servers[0].web_url, "alice", ALICE_PASSWORD)
    there = pair.servers[1].web_url

    # Cookies know no ports, so the browser has its login session at the other one too.
    assert "<h1>alice</h1>" in browser.fetch(f"{there}/")[1]
    one.output("echo here > file")
    assert "here\n" == other.output("cat file")
    link = re.search(r"https?://\S+", one.output("rb web"))
    assert link is not None
    somebody = Browser()
    elsewhere = link[0].replace(pair.servers[0].web_url, there)
    assert "<h1>alice</h1>" in somebody.press(elsewhere)[1]


def test_a_key_added_while_both_run_is_good_at_both(pair: Pair, tmp_path: Path) -> None:
    bobs = (pair.installation.directory / "bob_key.pub").read_text()
    (tmp_path / "key.pub").write_text(bobs)
    pair.installation.cli("key", "add", "alice", str(tmp_path / "key.pub"))
    for client in pair.clients("alice"):
        with_bobs = Client(client.directory, "alice", client.port, client.directory / "bob_key")
        assert "alice\n" == with_bobs.output("id -un")


def test_a_lock_at_one_shows_out_at_the_other(pair: Pair) -> None:
    pair.installation.cli("user", "add", "root1", "--admin", "--password-stdin", stdin="an administrator's")
    browser = Browser()
    browser.log_in(pair.servers[0].web_url, "bob", "") if False else None
    one, other = pair.clients("bob")
    with one.open("cat") as here, other.open("cat") as there:
        pair.installation.cli("user", "lock", "bob")
        for process in (here, there):
            wait_until(lambda process=process: process.poll() is not None, timeout_s=15, what="the end")
    assert [255, 255] == [client.run("true").returncode for client in (one, other)]


def test_uids_stay_in_order_whoever_gives_them(pair: Pair) -> None:
    names = [f"user{number}" for number in range(6)]
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda name: pair.installation.cli("user", "add", name), names))

    uids = sorted(row["uid"] for row in pair.installation.cli_json("user", "list"))
    assert list(range(uids[0], uids[0] + len(uids))) == uids


def test_a_server_that_is_killed_in_a_first_login_keeps_nobody_out(pair: Pair) -> None:
    third = pair.installation.start(ROOTBLOOD_STATE_DIR=str(pair.installation.directory / "third-state"))
    pair.installation.cli("env", "remove", "alice")
    one, _ = pair.clients("alice")
    with client_of(pair.installation, third, "alice").open("true"):
        wait_until(lambda: "environment" in third.log or True)
        third.stop(9)
    assert third.process.stdout is not None
    third.process.stdout.close()

    assert "alice\n" == one.output("id -un")
