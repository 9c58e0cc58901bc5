"""A turn of several streams judged record by record, in processing order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels.jit import kernel
from noskew.kernels.judge import LINE_FOLD, RULE_DEDUPE, RULE_REVISE, flags_of, judge, move_clock
from noskew.kernels.layout import FATE_APPLIED, FATE_LATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel
def judge_turn(
    rules: NDArray[np.int64],
    lines: NDArray[np.int64],
    event_clock: NDArray[np.int64],
    stream: NDArray[np.int32],
    inputs: NDArray[np.int32],
    begin: int,
    keeper: int,
    time_us: NDArray[np.int64],
    reason: NDArray[np.uint8],
    heap: NDArray[np.uint8],
    value: NDArray[np.int64],
    length: NDArray[np.int64],
    ids: NDArray[np.int64],
    own: NDArray[np.uint8],
    counters: NDArray[np.int64],
    handles: NDArray[np.int64],
    horizon_us: NDArray[np.int64],
    fold_us: NDArray[np.int64],
    fate: NDArray[np.uint8],
    flags: NDArray[np.int32],
    handle: NDArray[np.int64],
    old_us: NDArray[np.int64],
) -> int:
    """Judge records ``begin .. n``; ``core.judge.Judged`` says what is written.

    keeper  the stream whose ids are at hand

    Returns n, or the first record that needs another stream's ids, or room among these.
    """
    for at in range(begin, len(time_us)):
        place = stream[at]
        if place != keeper and (rules[place, RULE_DEDUPE] > 0 or rules[place, RULE_REVISE] > 0):
            return at
        horizon = lines[0, LINE_FOLD]
        horizon_us[at] = horizon
        for one in range(lines.shape[0]):
            fold_us[one, at] = lines[one, LINE_FOLD]
        if not judge(
            rules, lines, event_clock, place, at, inputs, time_us, reason, heap, value, length,
            ids, own, counters, handles, horizon, fate, handle, old_us,
        ):  # fmt: skip
            return at
        if place == 0 and fate[at] in (FATE_APPLIED, FATE_LATE):
            flags[at] = flags_of(rules, lines, fate[at], time_us[at], horizon)
        if fate[at] == FATE_APPLIED:
            move_clock(rules, lines, event_clock, place, inputs[at], time_us[at])
    return len(time_us)
