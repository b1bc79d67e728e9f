"""What reaches the terminal is lines of text, whatever the database holds."""

import json
import sqlite3
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rootblood.cli.output import explain, note, print_json, print_table, say
from rootblood.errors import NotFoundError, StoreUnavailableError

HOSTILE = "\x1b]0;title\x07 \x9b2J \x7f \u202eevil\u2066 \u200f\u061c\n\r\t\ud800"
ESCAPED = r"\x1b]0;title\x07 \x9b2J \x7f \u202eevil\u2066 \u200f\u061c\n\r\t\ud800"
MOMENT = datetime(2026, 7, 1, 12, 30, 15, 99, tzinfo=UTC)

OBEYED = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u202a\u202b\u202c\u202d\u202e"} | {
    *"\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u2028\u2029"
}

same_capture = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_lines_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    note(HOSTILE)

    captured = capsys.readouterr()
    assert ESCAPED + "\n" == captured.out
    assert f"rootblood: {ESCAPED}\n" == captured.err


@same_capture
@given(st.text(st.characters()))
def test_any_text_is_one_line_that_no_terminal_obeys(capsys: pytest.CaptureFixture[str], text: str) -> None:
    say(text)
    print_table(("A", "B"), [(text, 1)])

    lines = capsys.readouterr().out.removesuffix("\n").split("\n")

    assert 3 == len(lines)
    assert not OBEYED & set("".join(lines))


def test_a_table_is_as_wide_as_it_needs_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        ("NAME", "ADMIN", "CREATED", "NOTE"), [("alice", True, MOMENT, None), ("b", False, MOMENT, "x")]
    )

    assert [
        "NAME   ADMIN  CREATED               NOTE",
        "alice  yes    2026-07-01 12:30 UTC  -",
        "b      no     2026-07-01 12:30 UTC  x",
    ] == capsys.readouterr().out.splitlines()


def test_an_empty_table_is_its_headings(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("NAME",), [])

    assert "NAME\n" == capsys.readouterr().out


@same_capture
@given(st.text(st.characters()))
def test_json_is_plain_ascii_and_says_the_same(capsys: pytest.CaptureFixture[str], text: str) -> None:
    print_json([{"text": text}])

    printed = capsys.readouterr().out

    assert [{"text": text}] == json.loads(printed)
    assert set(printed) <= {"\n", *map(chr, range(32, 127))}


def test_times_in_json_are_iso_8601(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"at": MOMENT})

    assert {"at": "2026-07-01T12:30:15+00:00"} == json.loads(capsys.readouterr().out)


def test_what_has_no_form_in_json_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="bytes has no form"):
        print_json({"blob": b""})


def test_the_operator_is_told_what_the_database_said() -> None:
    error = StoreUnavailableError("the database does not answer")
    error.__cause__ = RuntimeError("SELECT secrets FROM accounts")
    error.__cause__.__cause__ = sqlite3.OperationalError("database is locked")

    assert "the database does not answer: database is locked" == explain(error)


def test_other_errors_speak_for_themselves() -> None:
    error = NotFoundError("there is no account 'alice'")
    error.__cause__ = KeyError("alice")

    assert "there is no account 'alice'" == explain(error)
    assert "the database is too busy" == explain(StoreUnavailableError("the database is too busy"))
