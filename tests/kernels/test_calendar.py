"""Hours and weekdays, against Python's own calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from noskew.kernels.calendar import hour, weekday

_TIMES = [
    datetime(2000, 1, 1, tzinfo=UTC),
    datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2024, 3, 1, tzinfo=UTC),
    datetime(2026, 8, 2, 12, 0, tzinfo=UTC),
]


@pytest.mark.parametrize("offset_s", [0, 5 * 3600 + 1800, -11 * 3600])
def test_hour_and_weekday_equal_pythons_at_any_fixed_offset(offset_s: int) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    time_us = np.array([(time - epoch) // timedelta(microseconds=1) for time in _TIMES], np.int64)
    local = [time.astimezone(timezone(timedelta(seconds=offset_s))) for time in _TIMES]

    assert hour(time_us, offset_s).tolist() == [time.hour for time in local]
    assert weekday(time_us, offset_s).tolist() == [time.weekday() for time in local]
