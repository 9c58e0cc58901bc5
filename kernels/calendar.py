"""Hour and weekday of times, in UTC or at a fixed offset: floor arithmetic on whole arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 24 * _HOUR_US
_EPOCH_WEEKDAY: Final = 3
"""1970-01-01 was a Thursday; Monday is 0."""


def hour(time_us: NDArray[np.int64], offset_s: int = 0) -> NDArray[np.float64]:
    """Return the hour of the day, 0 .. 23, as float64[n].

    time_us   int64[n]   us since the epoch
    offset_s  seconds east of UTC
    """
    local = time_us + offset_s * 1_000_000
    return (local % _DAY_US // _HOUR_US).astype(np.float64)


def weekday(time_us: NDArray[np.int64], offset_s: int = 0) -> NDArray[np.float64]:
    """Return the day of the week, Monday 0 .. Sunday 6, as float64[n]; arguments as ``hour``."""
    local = time_us + offset_s * 1_000_000
    return ((local // _DAY_US + _EPOCH_WEEKDAY) % 7).astype(np.float64)
