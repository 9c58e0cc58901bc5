"""What becomes of each record: dead, late, duplicate or applied; and the lines each of them sees.

Per input an event clock: the greatest event time of earlier accepted records. The horizon is
max(least clock, greatest clock - ``max_skew``) - ``allowed_lateness`` over the scored stream's
inputs and never falls; an input without a clock counts as minus infinity. A stream's fold line is
the same of its own inputs, but never above the horizon. A record sees all of them as of before
itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from noskew.kernels.ids import (
    ID_HANDLE,
    ID_INPUT,
    ID_TIME,
    hash_of,
    near,
    open_row,
    remember,
    take_handle,
)
from noskew.kernels.jit import kernel
from noskew.kernels.layout import (
    FATE_APPLIED,
    FATE_DEAD,
    FATE_DUPLICATE,
    FATE_LATE,
    FLAG_INCOMPLETE,
    FLAG_LATE,
    FLAG_WARMING,
    NO_TIME,
    NULL,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Per stream: int64[streams, RULES].
RULE_FIRST: Final = 0  # its first input, and the one after its last
RULE_NEXT: Final = 1
RULE_LATENESS: Final = 2
RULE_SKEW: Final = 3
RULE_REACH: Final = 4  # of the tables of the stream; of stream 0: of all tables
RULE_DEDUPE: Final = 5  # span in us, 0: none
RULE_REVISE: Final = 6
RULE_STRINGS: Final = 7  # 1: its ids are strings
RULES: Final = 8

# Per stream: int64[streams, LINES].
LINE_FOLD: Final = 0  # of stream 0 not above, and so equal to, the horizon
LINE_LEAST: Final = 1
LINE_GREATEST: Final = 2
LINE_ORIGIN: Final = 3  # event time of the first accepted record
LINES: Final = 4


@kernel(inline=True)
def judge(
    rules: NDArray[np.int64],
    lines: NDArray[np.int64],
    event_clock: NDArray[np.int64],
    stream: int,
    at: int,
    inputs: NDArray[np.int32],
    time_us: NDArray[np.int64],
    reason: NDArray[np.uint8],
    heap: NDArray[np.uint8],
    value: NDArray[np.int64],
    length: NDArray[np.int64],
    ids: NDArray[np.int64],
    own: NDArray[np.uint8],
    counters: NDArray[np.int64],
    handles: NDArray[np.int64],
    horizon_us: int,
    fate: NDArray[np.uint8],
    handle: NDArray[np.int64],
    old_us: NDArray[np.int64],
) -> int:
    """Judge record ``at`` of a turn; return 1, or 0 where its stream's ids have no room.

    value, length   the ids, as ``keys`` are given;  ids, own, counters: what is remembered
    handles  int64[1 + free]   number of free handles, then these
    fate, handle, old_us   written at ``at``
    """
    fate[at] = FATE_DEAD
    handle[at] = -1
    old_us[at] = NULL
    if reason[at] != 0:
        return 1
    time = time_us[at]
    source = inputs[at]
    if time < event_clock[source] - rules[stream, RULE_LATENESS]:
        fate[at] = FATE_LATE
        return 1
    fate[at] = FATE_APPLIED
    if rules[stream, RULE_DEDUPE] > 0 or rules[stream, RULE_REVISE]:
        if 2 * (counters[0] + 1) > ids.shape[0] or counters[1] + length[at] > own.shape[0]:
            return 0
        strings = rules[stream, RULE_STRINGS]
        hashed = hash_of(strings, heap, value[at], length[at])
        if rules[stream, RULE_DEDUPE] > 0:
            if near(
                ids, own, strings, hashed, heap, value[at], length[at], source, time,
                rules[stream, RULE_DEDUPE],
            ):  # fmt: skip
                fate[at] = FATE_DUPLICATE
                return 1
            remember(
                ids, own, counters, strings, hashed, heap, value[at], length[at], source, time, -1
            )
        else:
            found = open_row(ids, own, strings, hashed, heap, value[at], length[at])
            line = min(lines[stream, LINE_FOLD], horizon_us - rules[stream, RULE_REACH])
            if found >= 0:
                # Closed, and late in its own input: forgotten, at hand or not.
                clock = event_clock[ids[found, ID_INPUT]]
                lost = min(line, clock - rules[stream, RULE_LATENESS])
                if lost <= ids[found, ID_TIME] <= line:
                    fate[at] = FATE_LATE
                    return 1
                handle[at] = ids[found, ID_HANDLE]
                if ids[found, ID_TIME] > line:
                    old_us[at] = ids[found, ID_TIME]
                ids[found, ID_TIME] = time
                ids[found, ID_INPUT] = source
            else:
                handle[at] = take_handle(counters, handles)
                remember(
                    ids, own, counters, strings, hashed, heap, value[at], length[at], source, time,
                    handle[at],
                )  # fmt: skip
    return 1


@kernel(inline=True)
def flags_of(
    rules: NDArray[np.int64], lines: NDArray[np.int64], fate: int, time_us: int, horizon_us: int
) -> int:
    """Return the flags of a scored record that is neither dead nor a duplicate."""
    flags = FLAG_LATE if fate == FATE_LATE else 0
    if time_us < horizon_us:
        flags |= FLAG_INCOMPLETE
    origin = lines[0, LINE_ORIGIN]
    if time_us - rules[0, RULE_REACH] < (time_us if origin == NO_TIME else origin):
        flags |= FLAG_WARMING
    return int(flags)


@kernel(inline=True)
def move_clock(
    rules: NDArray[np.int64],
    lines: NDArray[np.int64],
    event_clock: NDArray[np.int64],
    stream: int,
    source: int,
    time_us: int,
) -> None:
    """Let an accepted record move its input's clock, and with it the lines."""
    if lines[stream, LINE_ORIGIN] == NO_TIME:
        lines[stream, LINE_ORIGIN] = time_us
    before = event_clock[source]
    if time_us <= before:
        return
    event_clock[source] = time_us
    lines[stream, LINE_GREATEST] = max(lines[stream, LINE_GREATEST], time_us)
    if before == lines[stream, LINE_LEAST]:  # only then can the least clock have moved
        least = time_us
        for other in range(rules[stream, RULE_FIRST], rules[stream, RULE_NEXT]):
            least = min(least, event_clock[other])
        lines[stream, LINE_LEAST] = least
    for one in range(lines.shape[0]):
        # A horizon that moves lets the other streams' fold lines follow.
        if stream in (one, 0):
            skewed = lines[one, LINE_GREATEST] - rules[one, RULE_SKEW]
            reached = max(lines[one, LINE_LEAST], skewed) - rules[one, RULE_LATENESS]
            if one > 0:
                reached = min(reached, lines[0, LINE_FOLD])
            lines[one, LINE_FOLD] = max(lines[one, LINE_FOLD], reached)
