"""What is told of many lines, and that whoever tells it may be hostile."""

import pytest

from rootblood.domain.complaints import Complaints, Hearing


def test_what_is_left_out_is_counted_wherever_it_was_left_out() -> None:
    complaints = Complaints.told([f"./{number}: socket ignored" for number in range(25)], 7)
    assert (20, 32) == (len(complaints.listed), complaints.count)
    assert ["./0: socket ignored", "./1: socket ignored", "and 30 more"] == complaints.lines(2)
    assert "and 12 more" == complaints.lines()[-1]
    assert ["./a"] == Complaints(("./a",)).lines(1)
    assert [] == Complaints().lines()


def test_lines_are_cut_and_safe_to_show() -> None:
    told = Complaints.told(["x" * 5000, "./\x1b[31m", None], 0)
    assert [500, 7, 4] == [len(line) for line in told.listed]
    assert ["x" * 500, "./\\x1b[31m", "None"] == told.lines()


@pytest.mark.parametrize(
    ("listed", "unlisted"), [("text", 0), (None, 0), ([], "7"), ([], -1), ([], True), ([], 2**53), ([], None)]
)
def test_what_is_none(listed: object, unlisted: object) -> None:
    with pytest.raises(ValueError, match="no complaints"):
        Complaints.told(listed, unlisted)


CHANGED = "./%s: file changed as we read it"


def test_what_matters_is_told_first_and_the_rest_counted() -> None:
    hearing = Hearing((": file changed as we read it",))
    for name in ["x"] * 30 + ["y"] * 30_000:
        hearing.take(CHANGED % name)
    hearing.take("./z: Cannot open: Input/output error")
    heard = hearing.heard()
    assert "./z: Cannot open: Input/output error" == heard.listed[0]
    assert [CHANGED % "x"] * 19 == list(heard.listed[1:])
    assert (30_031, "and 30011 more") == (heard.count, heard.lines()[-1])


def test_a_long_name_does_not_hide_what_is_the_matter() -> None:
    hearing = Hearing((": file changed as we read it",))
    hearing.take(CHANGED % ("n" * 5000))
    ((line,), more) = hearing.heard().listed, hearing.heard().unlisted
    assert (500, 0) == (len(line), more)
    assert line.startswith("./nnn")
    assert line.endswith("nnn: file changed as we read it")
    assert [line] == hearing.heard().lines()


def test_who_says_nothing_complains_of_nothing() -> None:
    assert Complaints() == Hearing(()).heard()
