"""Names of resources come from the userhash and the instance, and from nothing that somebody typed."""

from dataclasses import fields
from datetime import UTC, datetime

from rootblood.domain.accounts import Account, AccountState
from rootblood.domain.environments import (
    Identity,
    container_name,
    home_volume_name,
    network_name,
    shared_volume_name,
    system_volume_name,
)

USERHASH = "0123456789abcdef" * 2
ALICE = Account(
    name="alice",
    uid=20001,
    userhash=USERHASH,
    state=AccountState.ACTIVE,
    admin=True,
    password_hash="$argon2id$secret",
    published=False,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def test_an_identity_is_what_processes_need_and_no_secret() -> None:
    identity = Identity.of(ALICE)
    assert Identity(name="alice", userhash=USERHASH, uid=20001, gid=20001) == identity
    assert {"name", "userhash", "uid", "gid"} == {field.name for field in fields(identity)}


def test_home_is_named_by_the_userhash() -> None:
    assert f"/home/{USERHASH}" == Identity.of(ALICE).home == ALICE.home


def test_what_belongs_to_an_account_is_named_by_the_userhash() -> None:
    assert (f"rb_{USERHASH}", f"home_{USERHASH}") == (container_name(USERHASH), home_volume_name(USERHASH))


def test_what_is_shared_is_named_by_the_instance() -> None:
    assert ("rb_here", "rb_here_global", "rb_here_system") == (
        network_name("here"),
        shared_volume_name("here"),
        system_volume_name("here"),
    )
