"""Two servers on one PostgreSQL and one engine are one installation, whichever of them one comes to."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import ALICE_PASSWORD, client_of, make_installation, make_key
from tests.e2e.http_browser import Browser
from tests.e2e.installation import Client, Installation, Server, docker_api, wait_until
from tests.postgresql import Cluster

DATABASE_PASSWORD = "database-secret"


@dataclass(frozen=True)
class Pair:
    """Two servers, each with a state directory of its own, as they have on two machines."""

    installation: Installation
    one: Server
    other: Server

    def clients(self, name: str) -> tuple[Client, Client]:
        """The same client, of either."""
        return client_of(self.installation, self.one, name), client_of(self.installation, self.other, name)

    def add(self, name: str) -> None:
        """An account with a key."""
        key = make_key(self.installation.directory / f"{name}_key")
        self.installation.cli("user", "add", name, "--key-file", f"{key}.pub")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("two")
    name = cluster.create()
    cluster.guard(name, DATABASE_PASSWORD)
    with (
        make_installation(
            directory,
            ROOTBLOOD_DATABASE__URL=cluster.url(name, DATABASE_PASSWORD),
            ROOTBLOOD_ENGINE__DIRECT_STREAMS="false",  # their sockets are one server's
        ) as installation,
        installation.serving() as one,
        installation.serving(ROOTBLOOD_STATE_DIR=str(directory / "other")) as other,
    ):
        yield Pair(installation, one, other)
    for server in (one, other):
        assert DATABASE_PASSWORD not in server.log
    assert not (directory / "state" / "rootblood.db").exists()


def test_first_logins_at_both_at_once_make_one_environment(pair: Pair) -> None:
    clients = pair.clients("bob") * 6
    with ThreadPoolExecutor(len(clients)) as threads:
        seen = list(threads.map(lambda client: client.output("id -u; stat -c %i ~ /proc/1"), clients))

    assert 1 == len(set(seen))
    userhash = pair.installation.userhash("bob")
    assert [f"rb_{userhash}"] == [name for name in pair.installation.containers() if userhash in name]
    with docker_api() as api:
        label = {"label": f"rootblood.instance={pair.installation.instance}"}
        volumes = [volume["Name"] for volume in api.volumes(filters=label)["Volumes"]]
    assert [f"home_{userhash}"] == [name for name in volumes if userhash in name]
    started = [
        row for row in pair.installation.cli_json("user", "activity", "bob") if "start" in row["action"]
    ]
    assert 1 == len(started)


def test_a_login_session_of_one_is_good_at_the_other(pair: Pair) -> None:
    browser = Browser()
    browser.log_in(pair.one.web_url, "alice", ALICE_PASSWORD)

    # Cookies know no ports, so the browser shows it to the other one too.
    assert "<h1>alice</h1>" in browser.fetch(f"{pair.other.web_url}/")[1]
    browser.press(f"{pair.other.web_url}/logout", form=f"{pair.other.web_url}/")
    assert "<h1>alice</h1>" not in browser.fetch(f"{pair.one.web_url}/")[1]


def test_a_link_made_at_one_logs_in_at_the_other_once(pair: Pair) -> None:
    client, _ = pair.clients("alice")
    url = client.output("rb web").strip()
    assert url.startswith(pair.one.web_url)
    elsewhere = url.replace(pair.one.web_url, pair.other.web_url)

    assert "<h1>alice</h1>" in Browser().press(elsewhere)[1]
    assert 410 == Browser().fetch(url)[0]


def test_both_lead_into_the_same_home(pair: Pair) -> None:
    here, there = pair.clients("alice")
    here.output("echo here > file")

    assert "here\n" == there.output("cat file")


def test_a_lock_shows_out_at_both_within_seconds(pair: Pair) -> None:
    pair.add("carol")
    here, there = pair.clients("carol")
    with here.open("cat") as one, there.open("cat") as other:
        for process in (one, other):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"here\n")
            process.stdin.flush()
            assert b"here\n" == process.stdout.readline()
        pair.installation.cli("user", "lock", "carol")
        wait_until(lambda: one.poll() is not None and other.poll() is not None, what="the end")

    assert [255, 255] == [client.run("true").returncode for client in (here, there)]


def test_uids_are_in_order_whoever_gives_them(pair: Pair) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(pair.add, [f"user{number}" for number in range(8)]))

    uids = sorted(row["uid"] for row in pair.installation.cli_json("user", "list"))
    assert list(range(20000, 20000 + len(uids))) == uids


def test_environments_with_another_server_s_sockets_are_told_of_at_the_start(pair: Pair) -> None:
    told = "each needs engine.direct_streams = false"
    pair.clients("alice")[0].output("true")
    container = f"rb_{pair.installation.userhash('alice')}"
    with docker_api() as api, pair.installation.serving(ROOTBLOOD_ENGINE__DIRECT_STREAMS="true") as direct:
        api.remove_container(container, force=True)
        client_of(pair.installation, direct, "alice").output("true")
        with pair.installation.serving() as started:
            wait_until(lambda: told in started.log, what="a warning")
        api.remove_container(container, force=True)
    assert told not in pair.one.log


def test_a_server_killed_while_it_makes_an_environment_keeps_nobody_out(pair: Pair) -> None:
    pair.add("dave")
    directory = pair.installation.directory / "third"
    userhash = pair.installation.userhash("dave")
    with (
        pair.installation.serving(ROOTBLOOD_STATE_DIR=str(directory)) as third,
        client_of(pair.installation, third, "dave").open("true"),
    ):
        wait_until(lambda: f"rb_{userhash}" in pair.installation.containers(), what="the container")
        third.stop(9)

    here, there = pair.clients("dave")
    assert ["dave\n", "dave\n"] == [client.output("id -un") for client in (here, there)]
    assert [f"rb_{userhash}"] == [name for name in pair.installation.containers() if userhash in name]
