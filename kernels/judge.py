"""Which records are late, incomplete or warming, and the horizon each of them sees.

Per partition an event clock: the greatest event time of earlier accepted records. The horizon is
max(least clock, greatest clock - ``max_skew``) - ``allowed_lateness``, and never falls; a
partition without a clock counts as minus infinity. A record sees both as of before itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from noskew.kernels.jit import kernel
from noskew.kernels.layout import (
    FLAG_INCOMPLETE,
    FLAG_LATE,
    FLAG_WARMING,
    MODE_DEAD,
    MODE_EVALUATE,
    MODE_INSERT,
    NO_TIME,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLOCK_HORIZON: Final = 0
CLOCK_ORIGIN: Final = 1
CLOCK_LEAST: Final = 2
CLOCK_GREATEST: Final = 3
CLOCK_FIELDS: Final = 4


@kernel
def judge(
    time_us: NDArray[np.int64],
    partition: NDArray[np.int32],
    reason: NDArray[np.uint8],
    allowed_lateness_us: int,
    max_skew_us: int,
    reach_us: int,
    event_clock: NDArray[np.int64],
    clocks: NDArray[np.int64],
    horizon_us: NDArray[np.int64],
    mode: NDArray[np.uint8],
    flags: NDArray[np.int32],
) -> None:
    """Judge n records in processing order and advance the clocks.

    time_us, partition, reason   of n records; a reason other than 0 is a dead letter
    reach_us      how far back the longest window reaches
    event_clock   int64[partitions]     mutated; ``NO_TIME`` where there is none
    clocks        int64[CLOCK_FIELDS]   mutated: horizon, time of the first accepted record,
                                        least and greatest event clock; at first ``NO_TIME``
    horizon_us    int64[n]   written: the horizon as of before the record
    mode          uint8[n]   written: ``MODE_*``
    flags         int32[n]   written: ``FLAG_LATE | FLAG_INCOMPLETE | FLAG_WARMING``; 0 if dead
    """
    for row in range(time_us.shape[0]):
        horizon_us[row] = clocks[CLOCK_HORIZON]
        flags[row] = 0
        if reason[row] != 0:
            mode[row] = MODE_DEAD
            continue
        time = time_us[row]
        clock = event_clock[partition[row]]
        if clocks[CLOCK_ORIGIN] == NO_TIME:
            clocks[CLOCK_ORIGIN] = time
        mode[row] = MODE_INSERT
        if time < clock - allowed_lateness_us:
            mode[row] = MODE_EVALUATE
            flags[row] |= FLAG_LATE
        if time < clocks[CLOCK_HORIZON]:
            flags[row] |= FLAG_INCOMPLETE
        if time - reach_us < clocks[CLOCK_ORIGIN]:
            flags[row] |= FLAG_WARMING
        if time > clock:
            _advance(event_clock, clocks, partition[row], time, allowed_lateness_us, max_skew_us)


@kernel
def _advance(
    event_clock: NDArray[np.int64],
    clocks: NDArray[np.int64],
    partition: int,
    time_us: int,
    allowed_lateness_us: int,
    max_skew_us: int,
) -> None:
    before = event_clock[partition]
    event_clock[partition] = time_us
    clocks[CLOCK_GREATEST] = max(clocks[CLOCK_GREATEST], time_us)
    if before == clocks[CLOCK_LEAST]:  # only then can the least clock have moved
        least = time_us
        for other in range(event_clock.shape[0]):
            least = min(least, event_clock[other])
        clocks[CLOCK_LEAST] = least
    reached = max(clocks[CLOCK_LEAST], clocks[CLOCK_GREATEST] - max_skew_us)
    clocks[CLOCK_HORIZON] = max(clocks[CLOCK_HORIZON], reached - allowed_lateness_us)
