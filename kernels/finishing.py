"""A block of records finished: what was found of their keys becomes values, op by op.

The event itself is not among what was found: here it is chosen where it is a member of an op's
window, and ``statistics`` adds its value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.kernels.edges import limit_of
from noskew.kernels.jit import kernel
from noskew.kernels.layout import (
    FLAG_INCOMPLETE,
    FOREVER,
    NO_TIME,
    NULL,
    OP_DECAYED_COUNT,
    OP_DECAYED_SUM,
    OP_EWMA,
    OPS,
    PLAN_BEGIN,
    PLAN_END,
    PLAN_OP_BELOW,
    PLAN_OP_COLUMN,
    PLAN_OP_HISTORY,
    PLAN_OP_KIND,
    PLAN_OP_LOW,
    PLAN_OP_NODE,
    PLAN_OP_SELF,
    PLAN_OP_WORD,
)
from noskew.kernels.statistics import fill

if TYPE_CHECKING:
    from numpy.typing import NDArray


@kernel
def finish(
    plan: NDArray[np.int64],
    big: NDArray[np.int64],
    count: int,
    words: NDArray[np.int64],
    itself: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
    horizon_us: NDArray[np.int64],
    fields: NDArray[np.int64],
    target: NDArray[np.int64],
    member: NDArray[np.int64],
    own: NDArray[np.int64],
    out: NDArray[np.float64],
    nodes: NDArray[np.float64],
    flags: NDArray[np.int32],
) -> None:
    """Write the ops of the first ``count`` records to ``nodes``, and INCOMPLETE to ``flags``.

    words    int64[NUMBER_WORDS, n]  what was found of each
    itself   int64[n]  the event's column of ``fields``; -1 where it is no member in any case
    target   int64[n]  the record's column of ``nodes`` and place in ``flags``
    member, own, out   scratch, n each
    """
    beyond = 0
    for row in range(count):
        beyond |= 1 if horizon_us[row] > as_of_us[row] else 0
    # Most often the records' columns follow each other: then nothing is copied.
    first = target[0] if count > 0 else 0
    follow = 1
    for row in range(count):
        follow &= 1 if target[row] == first + row else 0
    chosen = -1
    for at in range(plan[PLAN_BEGIN, OPS], plan[PLAN_END, OPS]):
        op = plan[at]
        if chosen < 0 or beyond or not _alike(op, plan[chosen]):
            _choose(plan, op, count, itself, as_of_us, horizon_us, fields, member, own)
            chosen = at
        node = op[PLAN_OP_NODE]
        if follow:
            fill(op, count, words, member, own, as_of_us, big, nodes[node, first : first + count])
        else:
            fill(op, count, words, member, own, as_of_us, big, out)
            for row in range(count):
                nodes[node, target[row]] = out[row]
        below = _below(op)
        if below >= 0:
            for row in range(count):
                if words[below, row] == FOREVER:
                    flags[target[row]] |= FLAG_INCOMPLETE
                    nodes[node, target[row]] = np.nan


@kernel(inline=True)
def _alike(op: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Return whether an event that the horizon is not beyond counts in both ops, or in neither."""
    return bool(
        op[PLAN_OP_SELF] == other[PLAN_OP_SELF] and op[PLAN_OP_COLUMN] == other[PLAN_OP_COLUMN]
    )


@kernel
def _choose(
    plan: NDArray[np.int64],
    op: NDArray[np.int64],
    count: int,
    itself: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
    horizon_us: NDArray[np.int64],
    fields: NDArray[np.int64],
    member: NDArray[np.int64],
    own: NDArray[np.int64],
) -> None:
    """Find where the event itself is a member of an op's window, and its value."""
    column, low = op[PLAN_OP_COLUMN], op[PLAN_OP_LOW]
    bounded = low >= 0 and op[PLAN_OP_HISTORY] == 0
    for row in range(count):
        member[row] = 0
        own[row] = 0
        at = itself[row]
        if op[PLAN_OP_SELF] == 0 or at < 0:
            continue
        # The horizon may have closed the event's own window.
        if (
            bounded
            and horizon_us[row] > as_of_us[row]
            and as_of_us[row] <= limit_of(plan[low], as_of_us[row], horizon_us[row], NO_TIME)
        ):
            continue
        value = 0 if column < 0 else fields[column - 1, at]
        if value != NULL:
            member[row] = 1
            own[row] = value


@kernel(inline=True)
def _below(op: NDArray[np.int64]) -> int:
    """Return the word that says whether the reader stands below what is folded; -1: never."""
    if op[PLAN_OP_KIND] in (OP_DECAYED_SUM, OP_DECAYED_COUNT, OP_EWMA):
        return int(op[PLAN_OP_WORD] + 1)
    return int(op[PLAN_OP_BELOW])
