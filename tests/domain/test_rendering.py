"""Values as people read them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from rootblood.domain.environments import RestartReason
from rootblood.domain.homes import HomeSize
from rootblood.domain.rendering import ENDS, LAST_STOPS, counted, home_size, moment, shown, size, span, table

AT = datetime(2026, 11, 23, 18, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3660, "1 h 1 min"),
        (90000, "1 d 1 h"),
        (10**9, "11574 d 1 h"),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    assert text == span(seconds)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 cores"), (1, "1 core"), (1.0, "1 core"), (1.5, "1.5 cores"), (1234567, "1234567 cores")],
)
def test_numbers_of_things(count: float, text: str) -> None:
    assert text == counted(count, "core")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 MiB"),
        (1, "1 KiB"),
        (1024 * 1024 - 1, "1023 KiB"),
        (1024 * 1024, "1 MiB"),
        (1024**3, "1.0 GiB"),
        (1024**3 - 1, "1024 MiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert text == size(count)


def test_points_in_time_are_in_utc() -> None:
    at = datetime(2026, 11, 23, 19, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    assert moment(at) == moment(at.astimezone(UTC)) == "2026-11-23 18:04:05 UTC"


def test_text_of_others_is_escaped_and_then_cut() -> None:
    assert shown("\x1b[31mred\u202e") == "\\x1b[31mred\\u202e"
    assert shown("x" * 100, 10) == "xxxxxxx..."
    assert len(shown("\x1b" * 10**6, 10)) == 10


def test_columns_are_as_wide_as_they_need_to_be() -> None:
    assert table([("A", "B"), ("long", "x"), ("", "")]) == "A     B\nlong  x\n\n"


@pytest.mark.parametrize(
    ("home", "text"),
    [
        (HomeSize(), "measured while the environment runs"),
        (HomeSize(measuring=True), "being measured"),
        (HomeSize(5, AT), "1 KiB, measured 2026-11-23 18:04:05 UTC"),
        (HomeSize(5, AT, measuring=True), "1 KiB, measured 2026-11-23 18:04:05 UTC; being measured anew"),
        (HomeSize(5, AT, trouble="too large"), "1 KiB, measured 2026-11-23 18:04:05 UTC; too large"),
        (HomeSize(trouble="too large"), "too large"),
    ],
)
def test_sizes_of_homes_say_how_far_to_believe_them(home: HomeSize, text: str) -> None:
    assert text == home_size(home)


def test_there_are_words_for_every_end() -> None:
    assert set(RestartReason) == ENDS.keys() == LAST_STOPS.keys()
