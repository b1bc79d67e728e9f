"""Which settings a running server takes, and what is told of the others."""

from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from rootblood.changes import NEEDS_RESTART, RELOADABLE, WHOLE, applied, changes, needs_restart, settings_of
from rootblood.settings import (
    DatabaseSettings,
    ForwardingSettings,
    LimitsSettings,
    ReaperSettings,
    Settings,
    SSHSettings,
    WebSettings,
)

ALL = [name for name, _ in settings_of(Settings())]
TLS = {"tls_cert_file": Path("cert.pem"), "tls_key_file": Path("key.pem")}


@pytest.mark.parametrize("name", ALL)
def test_every_setting_is_in_one_of_the_two_tables(name: str) -> None:
    assert needs_restart(name) in {True, False}  # raises for one that is in none or in both


def test_the_tables_name_no_setting_that_there_is_not() -> None:
    named = {
        f"{group}.{name}".removeprefix(".")
        for table in (NEEDS_RESTART, RELOADABLE)
        for group, names in table.items()
        if names != WHOLE
        for name in names.split()
    }
    whole = {group for group, names in NEEDS_RESTART.items() if names == WHOLE}

    assert set() == named - set(ALL)
    assert set() == whole - {name.rpartition(".")[0] for name in ALL}


@pytest.mark.parametrize("name", ["ssh.misspelt", "misspelt", "ssh.forwarding.misspelt"])
def test_a_setting_in_neither_table_is_told_of(name: str) -> None:
    with pytest.raises(LookupError, match=name):
        needs_restart(name)


def test_what_can_change_is_taken_and_what_cannot_stays() -> None:
    old = Settings()
    new = Settings(
        state_dir=Path("elsewhere"),
        ssh=SSHSettings(port=22, max_sessions=3, forwarding=ForwardingSettings(agent=False)),
        limits=LimitsSettings(pids=64),
        reaper=ReaperSettings(idle_stop_s=60),
    )

    found = {change.name: (change.old, change.new, change.needs_restart) for change in changes(old, new)}
    taken = applied(old, new)

    assert {
        "state_dir": ("state", "elsewhere", True),
        "ssh.port": (2222, 22, True),
        "ssh.max_sessions": (64, 3, False),
        "ssh.forwarding.agent": (True, False, False),
        "limits.pids": (512, 64, False),
        "reaper.idle_stop_s": (43200.0, 60, False),
    } == found
    assert (Path("state"), 2222, 3, False, 64, 60) == (
        taken.state_dir,
        taken.ssh.port,
        taken.ssh.max_sessions,
        taken.ssh.forwarding.agent,
        taken.limits.pids,
        taken.reaper.idle_stop_s,
    )
    assert ["state_dir", "ssh.port"] == [change.name for change in changes(taken, new)]


def test_nothing_differs_from_itself() -> None:
    assert [] == changes(Settings(), Settings())
    assert Settings() == applied(Settings(), Settings())


@pytest.mark.parametrize(("before", "after"), [({}, TLS), (TLS, {})])
def test_tls_is_switched_on_and_off_by_a_restart_alone(
    before: dict[str, Path], after: dict[str, Path]
) -> None:
    old, new = Settings(web=WebSettings(**before)), Settings(web=WebSettings(**after))

    assert [("web.tls_cert_file", True), ("web.tls_key_file", True)] == [
        (change.name, change.needs_restart) for change in changes(old, new)
    ]
    assert old.web == applied(old, new).web


def test_another_certificate_can_be_taken() -> None:
    old = Settings(web=WebSettings(**TLS))
    new = Settings(web=WebSettings(**{**TLS, "tls_cert_file": Path("new.pem")}))

    assert [("web.tls_cert_file", "cert.pem", "new.pem", False)] == [
        (change.name, change.old, change.new, change.needs_restart) for change in changes(old, new)
    ]
    assert Path("new.pem") == applied(old, new).web.tls_cert_file


def test_a_secret_that_changed_is_not_told() -> None:
    old = Settings(database=DatabaseSettings(url=SecretStr("postgresql+asyncpg://me:first@host/name")))
    new = Settings(database=DatabaseSettings(url=SecretStr("postgresql+asyncpg://me:second@host/name")))

    told = repr(changes(old, new))

    assert "database.url" in told
    assert "first" not in told
    assert "second" not in told


def test_forwarding_of_one_account_is_told_as_json_has_it() -> None:
    new = Settings(ssh=SSHSettings(forwarding_of={"bob": ForwardingSettings(local=False)}))

    (change,) = changes(Settings(), new)

    assert not isinstance(change.new, BaseModel)
    assert {"bob": {**ForwardingSettings().model_dump(), "local": False}} == change.new
