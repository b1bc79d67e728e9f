"""The test of timings is right itself: it would see a difference that is there."""

import random

import pytest

from tests.ranks import mann_whitney_p


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        # As scipy.stats.mannwhitneyu(method="asymptotic") has them.
        ([19, 22, 16, 29, 24], [20, 11, 17, 12], 0.11134688653314041),
        ([1, 2, 3], [1, 2, 3], 1.0),
        ([1, 1], [1, 1], 1.0),
    ],
)
def test_known_values(first: list[float], second: list[float], p: float) -> None:
    assert mann_whitney_p(first, second) == pytest.approx(p)
    assert mann_whitney_p(second, first) == pytest.approx(p)


def test_ties_count() -> None:
    # By hand: ranks 2.5 and 6.5, U = 4 of 16, variance 16/12 * (9 - 120/56), z = 3.5/3.0237.
    assert mann_whitney_p([0, 0, 0, 1], [0, 1, 1, 1]) == pytest.approx(0.24706, abs=1e-5)


def test_a_small_difference_is_seen_and_none_is_not() -> None:
    source = random.Random(20261123)  # noqa: S311 - no secret
    same, like_it = ([source.gauss(30, 3) for _ in range(500)] for _ in range(2))
    later = [source.gauss(31, 3) for _ in range(500)]

    assert mann_whitney_p(same, like_it) > 0.01
    assert mann_whitney_p(same, later) < 0.01
