"""Nothing that a terminal obeys is left in text that is shown."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootblood.domain.text import escape_controls, escape_lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain text, ümläut, 漢字, 🦀", "plain text, ümläut, 漢字, 🦀"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("tab\tnul\0", "tab\\tnul\\x00"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),  # C1's own CSI, and DEL
        ("\u202egpj.exe\u2066", "\\u202egpj.exe\\u2066"),
        ("\u2028\u2029\u200e\u200f\u061c", "\\u2028\\u2029\\u200e\\u200f\\u061c"),
        ("lone \udc80", "lone \\udc80"),
    ],
)
def test_controls_are_written_out(text: str, expected: str) -> None:
    assert expected == escape_controls(text)


@given(st.text(st.characters()))
def test_what_comes_out_is_one_harmless_encodable_line(text: str) -> None:
    escaped = escape_controls(text)
    escaped.encode()
    assert len(escaped.splitlines()) <= 1
    categories = {unicodedata.category(character) for character in escaped}
    bidirectional = {unicodedata.bidirectional(character) for character in escaped}
    assert not categories & {"Cc", "Cs", "Zl", "Zp"}
    assert not bidirectional & {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


@given(st.text(st.characters(exclude_categories=["C", "Z"])))
def test_other_text_stays_as_it_is(text: str) -> None:
    assert text == escape_controls(text)


def test_lines_keep_their_ends_and_tabs() -> None:
    assert "one\n\ttwo\\rstill two\n\\x1b\\u202e" == escape_lines("one\r\n\ttwo\rstill two\n\x1b\u202e")
