"""Rows: what a reader finds of a key as of a time, and until when that holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels.admission import fits
from noskew.kernels.edges import limit_of
from noskew.kernels.folds import fold
from noskew.kernels.jit import kernel
from noskew.kernels.layout import (
    DECAY_FOLDED_TIME,
    DECAYS,
    EDGE_FOLD,
    EDGE_NEWEST,
    EDGE_TIME,
    FIRST_EDGE,
    FOREVER,
    NUMBER_FOLDS,
    OP_DECAYED_COUNT,
    OP_DECAYED_SUM,
    OP_EWMA,
    OP_SINCE_LAST,
    PLAN_BEGIN,
    PLAN_DECAY_COLUMN,
    PLAN_DECAY_FIELD,
    PLAN_DECAY_HALF_LIFE,
    PLAN_EDGE_EXTRA,
    PLAN_EDGE_FIELD,
    PLAN_EDGE_KIND,
    PLAN_EDGE_OFFSET,
    PLAN_EDGE_RESOLUTION,
    PLAN_END,
    PLAN_NUMBERS,
    PLAN_OP_COLUMN,
    PLAN_OP_HIGH,
    PLAN_OP_KIND,
    PLAN_OP_LOW,
    PLAN_OP_SPAN,
    ROW,
    SLOT_FOLD,
)
from noskew.kernels.standing import find_words, stand

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from noskew.kernels.layout import State


@kernel
def find_rows(
    plan: NDArray[np.int64],
    state: State,
    which: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
    horizon_us: NDArray[np.int64],
    fold_us: NDArray[np.int64],
    nothing: NDArray[np.int64],
    until_us: NDArray[np.int64],
    words: NDArray[np.int64],
    begin: int,
) -> int:
    """Find the words of the rows of k slots (``finishing.finish`` makes values of them).

    which, as_of_us, horizon_us, fold_us   int64[k]; slot 0 is an empty history
    nothing   int64[fields, 1]  not read
    until_us  int64[k]          written: first later time at which a value may be another one
    words     int64[NUMBER_WORDS, k]  written

    Begins with row ``begin``; returns k, or the row before which values of ``distinct`` ran out of
    room: grow them, call again.
    """
    numbers = plan[PLAN_NUMBERS]
    slots, chunks, entries = state.slots, state.chunks, state.entries
    values, aux = state.values, state.aux
    for row in range(begin, which.shape[0]):
        slot, as_of, reached = which[row], as_of_us[row], max(as_of_us[row], horizon_us[row])
        if not fits(plan, slots, state.heap, values, aux, slot, 0):
            return row
        if numbers[NUMBER_FOLDS] and slots[slot, SLOT_FOLD] < fold_us[row]:
            fold(plan, slots, chunks, entries, aux, slot, fold_us[row])
        stand(plan, slots, chunks, entries, values, aux, slot, as_of, reached)
        find_words(
            plan, slots, chunks, entries, values, aux, slot, as_of, horizon_us[row], 0, nothing,
            words, row,
        )  # fmt: skip
        until = FOREVER
        for at in range(plan[PLAN_BEGIN, ROW], plan[PLAN_END, ROW]):
            until = min(until, _until(plan, slots, slot, plan[plan[at, 0]], as_of, reached))
        until_us[row] = until
    return int(which.shape[0])


@kernel
def _until(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    slot: int,
    op: NDArray[np.int64],
    as_of_us: int,
    reached_us: int,
) -> int:
    """Return the first time after T at which an entry enters or leaves what an op reads."""
    key = slots[slot]
    if op[PLAN_OP_KIND] in (OP_SINCE_LAST, OP_DECAYED_SUM, OP_DECAYED_COUNT, OP_EWMA):
        until = int(key[plan[FIRST_EDGE, PLAN_EDGE_FIELD] + EDGE_TIME])
        return min(until, _decay_known(plan, slots, slot, op, as_of_us))
    low_edge, high_edge = plan[op[PLAN_OP_LOW]], plan[op[PLAN_OP_HIGH]]
    low = key[low_edge[PLAN_EDGE_FIELD] + EDGE_TIME]
    high = key[high_edge[PLAN_EDGE_FIELD] + EDGE_TIME]
    until = FOREVER
    if low_edge[PLAN_EDGE_KIND] != EDGE_FOLD:
        low_us = limit_of(low_edge, as_of_us, reached_us, key[SLOT_FOLD])
        if limit_of(high_edge, as_of_us, reached_us, key[SLOT_FOLD]) <= low_us:
            # What lies between them is below the horizon and never enters.
            high = low
        if low != FOREVER:
            until = _leaves(low_edge, low)
    else:
        newest = key[low_edge[PLAN_EDGE_FIELD] + EDGE_NEWEST]
        if limit_of(high_edge, as_of_us, reached_us, key[SLOT_FOLD]) < newest:
            # Until then a reader stands below what has been folded, held or not.
            until = newest + high_edge[PLAN_EDGE_OFFSET]
    if high != FOREVER:
        until = min(until, high + high_edge[PLAN_EDGE_OFFSET])
    return int(until)


@kernel
def _leaves(edge: NDArray[np.int64], time_us: int) -> int:
    """Return the first T at which an entry lies before a low edge."""
    passed_us = time_us + edge[PLAN_EDGE_EXTRA]
    tile = edge[PLAN_EDGE_RESOLUTION]
    if tile > 0:
        passed_us = -(-passed_us // tile) * tile
    return int(passed_us + edge[PLAN_EDGE_OFFSET])


@kernel
def _decay_known(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    slot: int,
    op: NDArray[np.int64],
    as_of_us: int,
) -> int:
    """Return when a reader is no longer below what an op's decay has folded; ``FOREVER``: now."""
    key = slots[slot]
    known = FOREVER
    for at in range(plan[PLAN_BEGIN, DECAYS], plan[PLAN_END, DECAYS]):
        decay = plan[at]
        folded_us = key[decay[PLAN_DECAY_FIELD] + DECAY_FOLDED_TIME]
        same = (
            decay[PLAN_DECAY_HALF_LIFE] == op[PLAN_OP_SPAN]
            and decay[PLAN_DECAY_COLUMN] == op[PLAN_OP_COLUMN]
        )
        if same and as_of_us < folded_us:
            known = min(known, folded_us)
    return int(known)
