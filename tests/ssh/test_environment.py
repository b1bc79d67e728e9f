"""Which variables and terminal types of a client are taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootblood.ssh.environment import WITHOUT_BASHRC, ClientEnvironment, accepted_term, command_variables


@pytest.mark.parametrize("name", [b"LANG", b"LC_ALL", b"LC_CTYPE", b"COLORTERM", b"TERM_PROGRAM"])
def test_locale_and_colour_are_taken(name: bytes) -> None:
    environment = ClientEnvironment(max_count=10, max_bytes=1000)

    assert environment.offer(name, b"value")
    assert {name: b"value"} == environment.variables


@pytest.mark.parametrize(
    "name", [b"LD_PRELOAD", b"PATH", b"BASH_ENV", b"LC_", b"LC_all", b"LANGUAGE_", b"LANG\n", b"", b"\xff"]
)
def test_anything_else_is_refused(name: bytes) -> None:
    environment = ClientEnvironment(max_count=10, max_bytes=1000)

    assert not environment.offer(name, b"value")
    assert {} == environment.variables


def test_count_is_capped_and_a_known_name_can_still_change() -> None:
    environment = ClientEnvironment(max_count=1, max_bytes=1000)

    assert [True, False, True] == [
        environment.offer(b"LANG", b"one"),
        environment.offer(b"LC_ALL", b"two"),
        environment.offer(b"LANG", b"three"),
    ]
    assert {b"LANG": b"three"} == environment.variables


def test_a_value_with_nul_is_refused() -> None:
    assert not ClientEnvironment(max_count=1, max_bytes=100).offer(b"LANG", b"a\0b")


@given(
    st.lists(
        st.tuples(st.sampled_from([b"LANG", b"LC_ALL", b"LC_TIME", b"COLORTERM"]), st.binary(max_size=40))
    )
)
def test_size_never_exceeds_the_cap(offers: list[tuple[bytes, bytes]]) -> None:
    environment = ClientEnvironment(max_count=3, max_bytes=60)

    for name, value in offers:
        environment.offer(name, value)

    assert len(environment.variables) <= 3
    assert sum(len(name) + len(value) for name, value in environment.variables.items()) <= 60


@pytest.mark.parametrize("term", ["xterm", "screen-256color", "tmux-direct", "rxvt+x_y.z"])
def test_a_plain_terminal_type_passes(term: str) -> None:
    assert term == accepted_term(term)


@pytest.mark.parametrize(
    "term", ["", "x" * 65, "x" * 200_000, "xterm\x1b[31m", "a b", "../x", "xterm\n", "\u00e9"]
)
def test_another_becomes_a_common_one(term: str) -> None:
    assert accepted_term(term) == "xterm-256color"


@pytest.mark.parametrize("command", [b"scp -t x", b"scp -f -- x", b"scp -v -r -p -d -t a b", b"scp -rp -t x"])
def test_scp_of_old_reads_no_dotfile(command: bytes) -> None:
    assert WITHOUT_BASHRC == command_variables(command)


@pytest.mark.parametrize(
    "command", [b"true", b"scp a b:c", b"./scp -t x", b"scp -to x", b"echo scp -t x", b""]
)
def test_other_commands_have_what_the_bashrc_exports(command: bytes) -> None:
    assert {b"SHLVL", b"BASH_ENV"} == command_variables(command).keys()
