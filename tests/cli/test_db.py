"""`rootblood db`: the copy that moves an installation, and the check."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Rootblood
from tests.postgresql import Cluster

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.usefixtures("installation")
def test_an_installation_moves_to_postgresql_and_goes_on_there(
    rootblood: Rootblood, cluster: Cluster, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = cluster.create()
    cluster.guard(name, "secret")
    url = cluster.url(name, "secret")
    (directory / "url").write_text(url + "\n")
    (directory / "url").chmod(0o600)
    rootblood("user", "add", "alice")

    would = rootblood("db", "copy", "current", "@url", "--dry-run")
    moved = rootblood("db", "copy", "current", "@url")
    again = rootblood("db", "copy", "current", "@url")
    monkeypatch.setenv("ROOTBLOOD_DATABASE__URL", url)
    rootblood("user", "add", "bob")
    listed = rootblood("user", "list")
    checked = rootblood("db", "check")
    examined = rootblood("doctor")

    assert (0, 0, 1) == (would.status, moved.status, again.status)
    assert "nothing was copied; it can be, from SQLite in" in would.out
    assert "copied and compared, from SQLite in" in moved.out
    assert "is not empty: there are rows in accounts" in again.err
    assert 1 == len(again.err.splitlines())
    assert ["alice", "bob"] == [line.split()[0] for line in listed.out.splitlines()[1:]]
    assert (0, f"PostgreSQL database postgres on {cluster.directory}: nothing is wrong\n") == (
        checked.status,
        checked.out,
    )
    assert f"2 accounts, PostgreSQL database postgres on {cluster.directory}" in examined.out
    for outcome in (would, moved, again, checked, examined):
        assert "secret" not in outcome.out + outcome.err


@pytest.mark.usefixtures("installation")
def test_a_password_among_the_arguments_is_remarked_on(rootblood: Rootblood, cluster: Cluster) -> None:
    name = cluster.create()
    cluster.guard(name, "secret")

    done = rootblood("db", "copy", "current", cluster.url(name, "wrong"), "--dry-run")

    assert 1 == done.status
    assert "others on this machine may see the password in that URL" in done.err
    assert "the database does not answer: password authentication failed" in done.err
    assert "wrong" not in done.err


@pytest.mark.usefixtures("installation")
def test_a_url_that_cannot_be_read(rootblood: Rootblood, directory: Path) -> None:
    (directory / "two").write_text("a\nb\n")

    (directory / "shown").write_text("postgresql+asyncpg://a:b@/c")
    (directory / "shown").chmod(0o640)

    for named, told in (
        ("@absent", "cannot read absent"),
        ("@two", "two holds more or less than one URL"),
        ("@shown", "others may read the password in shown: chmod 600 it"),
    ):
        done = rootblood("db", "copy", "current", named)
        assert 1 == done.status
        assert told in done.err


def test_a_check_says_what_is_wrong(rootblood: Rootblood, installation: Path) -> None:
    rootblood("user", "add", "alice")
    with closing(sqlite3.connect(installation / "state" / "rootblood.db")) as database:
        database.execute("UPDATE audit_events SET account_uid = 1")
        database.commit()

    checked = rootblood("db", "check")

    assert 1 == checked.status
    assert "rows of audit_events refer to accounts that are not there" in checked.out
