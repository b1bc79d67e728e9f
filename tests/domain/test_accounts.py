"""What may be a name, and what the rest of an account is made from."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootblood.domain.accounts import (
    RESERVED_NAMES,
    USERHASH_PATTERN,
    Account,
    AccountState,
    is_account_name,
    is_reserved,
    new_userhash,
    validated_name,
)
from rootblood.errors import InvalidInputError


@pytest.mark.parametrize("name", ["a", "alice", "a-b_c9", "x" * 32])
def test_names_that_are_taken(name: str) -> None:
    assert name == validated_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Alice",
        "1alice",
        "-alice",
        "_alice",
        "alice\n",
        "alice bob",
        "../../etc",
        "x;id",
        "-oProxyCommand=x",
        "\uff41lice",  # fullwidth
        "alic\u0435",  # Cyrillic
        "alice\0",
        "\ud800",
        "x" * 33,
        "x" * 65536,
    ],
)
def test_names_that_are_refused(text: str) -> None:
    assert not is_account_name(text)
    with pytest.raises(InvalidInputError, match="an account name is"):
        validated_name(text)


@given(st.text())
def test_a_name_is_safe_in_a_path_and_on_a_command_line(text: str) -> None:
    if is_account_name(text):
        assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
        assert text[0].isalpha()


@pytest.mark.parametrize(
    "name", ["root", "sshd", "nobody", "appuser", "www-data", "sudo", "docker", "systemd-network"]
)
def test_names_of_the_system_are_reserved(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["alice", "admin", "systemd", "roots"])
def test_other_names_are_not(name: str) -> None:
    assert not is_reserved(name)


def test_every_reserved_name_could_be_one() -> None:
    assert [] == [name for name in RESERVED_NAMES if not is_account_name(name)]


def test_a_userhash_is_128_random_bits() -> None:
    made = {new_userhash() for _ in range(100)}

    assert 100 == len(made)
    assert all(USERHASH_PATTERN.fullmatch(userhash) for userhash in made)


def test_group_and_home_follow_from_the_row() -> None:
    account = Account(
        name="alice",
        uid=20001,
        userhash="ab" * 16,
        state=AccountState.ACTIVE,
        admin=False,
        password_hash=None,
        published=False,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )

    assert 20001 == account.gid
    assert f"/home/{'ab' * 16}" == account.home
