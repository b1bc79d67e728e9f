"""A clock that nobody sets."""

from datetime import UTC, datetime, timedelta

from rootblood.services.clock import SteadyClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_it_begins_at_the_wall_clock_and_counts_on_its_own() -> None:
    walls, ticks = [NOON, NOON + timedelta(days=1)], [1000.0, 1000.0, 1300.0]
    clock = SteadyClock(lambda: walls.pop(0), lambda: ticks.pop(0))

    assert [NOON, NOON + timedelta(minutes=5)] == [clock(), clock()]


def test_by_default_it_agrees_with_the_wall_clock() -> None:
    clock = SteadyClock()

    assert abs(clock() - datetime.now(UTC)) < timedelta(seconds=5)
