"""When payments happen: the i-th payment's arrival time, with a daily rhythm.

Payment i of n arrives where the rhythm's integral has grown by the share (i + u) / n, u uniform
in [0, 1): so times never fall, there are exactly n, and none depends on another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.dataflows.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECOND_US: Final = 1_000_000
HOUR_US: Final = 3_600 * SECOND_US
DAY_US: Final = 24 * HOUR_US

HOURLY: Final = (2, 1, 1, 1, 1, 2, 4, 7, 10, 11, 12, 13, 13, 12, 11, 11, 12, 13, 12, 10, 8, 6, 5, 3)
"""Payments of each hour of a day (UTC), relative to each other."""


class Timeline:
    """Arrival times of ``count`` payments from ``start_us`` to ``end_us`` (µs since the epoch).

    ``rhythm=False`` spreads them evenly. Raises UsageError where the span or the count is empty.
    """

    def __init__(self, start_us: int, end_us: int, count: int, *, rhythm: bool = True) -> None:
        if not 0 <= start_us < end_us:
            message = f"simulate: time runs from {start_us} to {end_us} µs; the end must be later"
            raise UsageError(message)
        if count < 1:
            message = f"simulate: {count} payments; rate x seconds must give at least one"
            raise UsageError(message)
        self.start_us = start_us
        self.end_us = end_us
        self.count = count
        weights = np.array(HOURLY if rhythm else (1,) * 24, np.float64)
        self._share = np.concatenate(([0.0], np.cumsum(weights) / weights.sum()))
        self._hour = np.arange(25, dtype=np.float64) * HOUR_US
        self._midnight_us = start_us // DAY_US * DAY_US
        self._from = self._position(start_us)
        self._step = (self._position(end_us) - self._from) / count

    def arrivals(self, first: int, u: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return int64[n] µs: arrivals of payments from number ``first`` on; u is float64[n]."""
        position = self._from + (np.arange(first, first + len(u)) + u) * self._step
        day = np.floor(position)
        within = np.interp(position - day, self._share, self._hour)
        time_us = self._midnight_us + day.astype(np.int64) * DAY_US + within.astype(np.int64)
        return np.clip(time_us, self.start_us, self.end_us)

    def _position(self, time_us: int) -> float:
        """Return days since the first midnight, counted in the rhythm's integral."""
        day, within = divmod(time_us - self._midnight_us, DAY_US)
        return day + float(np.interp(within, self._hour, self._share))
