"""What a helper says of itself, in whatever pieces Docker gives it."""

import pytest

from rootblood.domain.complaints import Complaints
from rootblood.engines.docker.volumes import _Helper

SAID = b"tar: ./x: file changed as we read it\ntar: ./y\xff: Cannot open: Input/output error\nended: 2 0\n"


@pytest.mark.parametrize("piece_bytes", [1, 7, len(SAID)])
def test_the_last_line_is_how_it_ended_and_errors_come_first(piece_bytes: int) -> None:
    helper = _Helper()
    for at in range(0, len(SAID), piece_bytes):
        helper.hear(SAID[at : at + piece_bytes])
    assert [2, 0] == list(helper.statuses)
    assert helper.said == Complaints(
        ("tar: ./y\\xff: Cannot open: Input/output error", "tar: ./x: file changed as we read it")
    )


def test_who_was_killed_has_no_good_end() -> None:
    helper = _Helper()
    helper.hear(b"tar: ./x: file changed as we read it\nended: 0")
    assert [137] == list(helper.statuses)


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    helper = _Helper()
    for _ in range(100):
        helper.hear(b"n" * 10_000)
    assert len(helper._line) < 20_000
    helper.hear(b": file changed as we read it\nended: 1 0\n")
    (line,) = helper.said.listed
    assert (500, True) == (len(line), line.endswith("n: file changed as we read it"))
