"""User names taken apart: what names a place, and what names nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootblood.domain.accounts import is_account_name
from rootblood.ssh.selectors import Selector, Target, parse_username


def test_a_name_alone_is_the_environment() -> None:
    assert Target("alice", Selector.ENVIRONMENT) == parse_username("alice")


def test_a_name_with_rescue_is_the_console() -> None:
    assert Target("alice", Selector.RESCUE) == parse_username("alice+rescue")


def test_a_name_with_export_is_the_drive() -> None:
    assert Target("alice", Selector.EXPORT) == parse_username("alice+export")


@pytest.mark.parametrize(
    "username",
    [
        "",
        "+",
        "alice+",
        "+rescue",
        "alice+rescue+x",
        "alice++rescue",
        "alice+rescue ",
        "alice+RESCUE",
        "alice+export+rescue",
        "alice+exports",
        "alice+../x",
        "../../etc+rescue",
        "x;id+rescue",
        "-oProxyCommand=x",
        "al\uff49ce+rescue",
        "alice\n+rescue",
        "alice+rescue\n",
        "alice+rescue\0",
        "a" * 65536 + "+rescue",
        "alice+" + "rescue" * 10000,
    ],
)
def test_everything_else_is_nobody(username: str) -> None:
    assert parse_username(username) is None


@given(st.text(alphabet=st.sampled_from("alice+rescuexpot./\0\n A\uff0b")))
def test_what_names_a_place_is_an_account_s_name_and_a_known_word(username: str) -> None:
    target = parse_username(username)
    if target is not None:
        assert is_account_name(target.account_name)
        assert username == "+".join(filter(None, [target.account_name, target.selector.value]))
