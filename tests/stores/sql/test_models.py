"""The types that SQLite itself does not have."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects.sqlite import dialect

from rootblood.stores.sql.models import UTCDateTime

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_a_moment_is_stored_in_utc() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))

    stored = UTCDateTime().process_bind_param(elsewhere, dialect())

    assert NOON == stored
    assert stored is not None
    assert UTC == stored.tzinfo


def test_a_moment_comes_back_in_utc() -> None:
    assert NOON == UTCDateTime().process_result_value(NOON.replace(tzinfo=None), dialect())


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        UTCDateTime().process_bind_param(NOON.replace(tzinfo=None), dialect())


def test_none_stays_none() -> None:
    assert None is UTCDateTime().process_bind_param(None, dialect())
    assert None is UTCDateTime().process_result_value(None, dialect())
