"""Statistics of one key as of a time: differences of edges, cached extremes, one rounding.

A window of width W and delay d holds ``T - d - W < t <= T - d``, and of these only
``t > H - d - W``. Before anything is read, the key's edges are made to *stand* at T and H.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.kernels.chunks import (
    greatest,
    previous,
)
from noskew.kernels.exact import (
    quotient,
)
from noskew.kernels.jit import (
    kernel,
)
from noskew.kernels.layout import (
    EDGE_COUNT,
    END,
    FOREVER,
    LOWEST,
    NULL,
    OP_COUNT,
    OP_COUNT_VALUES,
    OP_MAX,
    OP_MEAN,
    OP_MIN,
    OP_SINCE_LAST,
    OP_SUM,
    PLAN_COLUMN_SUM,
    PLAN_COLUMN_VALUES,
    PLAN_EXTREME_COLUMN,
    PLAN_EXTREME_HIGH,
    PLAN_EXTREME_LOW,
    PLAN_EXTREME_SIGN,
    PLAN_FIELD,
    PLAN_OFFSET,
    PLAN_OP_COLUMN,
    PLAN_OP_EXTREME,
    PLAN_OP_HIGH,
    PLAN_OP_KIND,
    PLAN_OP_LOW,
    SLOT_AS_OF,
    SLOT_EDGES,
    SLOT_REACHED,
    UNKNOWN,
)
from noskew.kernels.slabs import (
    limit_of,
    move_edge,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


@kernel
def stand(
    edges: NDArray[np.int64],
    columns: NDArray[np.int64],
    extremes: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    before: NDArray[np.int64],
    slot: int,
    as_of_us: int,
    reached_us: int,
) -> None:
    """Move a key's edges to T and max(T, H), and carry its cached extremes along."""
    old_as_of = slots[slot, SLOT_AS_OF]
    old_reached = slots[slot, SLOT_REACHED]
    if old_as_of == as_of_us and old_reached == reached_us and extremes.shape[0] == 0:
        return
    for edge in range(edges.shape[0]):
        before[edge] = slots[slot, edges[edge, PLAN_FIELD]]
        old = limit_of(edges, edge, old_as_of, old_reached)
        new = limit_of(edges, edge, as_of_us, reached_us)
        move_edge(edges, columns, slots, chunks, entries, slot, edge, old, new)
    slots[slot, SLOT_AS_OF] = as_of_us
    slots[slot, SLOT_REACHED] = reached_us
    for extreme in range(extremes.shape[0]):
        low = limit_of(edges, extremes[extreme, PLAN_EXTREME_LOW], as_of_us, reached_us)
        high = limit_of(edges, extremes[extreme, PLAN_EXTREME_HIGH], as_of_us, reached_us)
        field = extremes[extreme, PLAN_FIELD]
        if high <= low:
            slots[slot, field] = UNKNOWN
        else:
            slots[slot, field] = _carry(
                edges, extremes, slots, chunks, entries, before, slot, extreme,
                int(as_of_us >= old_as_of), int(reached_us >= old_reached),
            )  # fmt: skip


@kernel
def statistic(
    edges: NDArray[np.int64],
    columns: NDArray[np.int64],
    extremes: NDArray[np.int64],
    ops: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    op: int,
    as_of_us: int,
    horizon_us: int,
    own: int,
    virtual: int,
    values: NDArray[np.int64],
    row: int,
) -> float:
    """Return one statistic of a key whose edges stand at T and H.

    own      the record was inserted just now: it is the last entry with t <= T
    virtual  the record was not inserted, but counts as a member wherever its time is inside
    """
    kind = ops[op, PLAN_OP_KIND]
    if kind == OP_SINCE_LAST:
        return _since_last(slots, chunks, entries, slot, as_of_us, horizon_us, own)
    low_edge = ops[op, PLAN_OP_LOW]
    high_edge = ops[op, PLAN_OP_HIGH]
    low_limit = limit_of(edges, low_edge, as_of_us, max(as_of_us, horizon_us))
    high_limit = limit_of(edges, high_edge, as_of_us, as_of_us)
    low = edges[low_edge, PLAN_FIELD]
    high = edges[high_edge, PLAN_FIELD]
    # The horizon may lie beyond the whole window; then the edges have passed one another.
    empty = 1 if high_limit <= low_limit else 0
    member = virtual and low_limit < as_of_us <= high_limit
    if kind == OP_COUNT:
        count = 0 if empty else slots[slot, high + EDGE_COUNT] - slots[slot, low + EDGE_COUNT]
        return float(count + 1) if member else float(count)
    column = ops[op, PLAN_OP_COLUMN]
    value = values[column, row] if member else NULL
    if kind in (OP_MIN, OP_MAX):
        return _extreme(extremes, slots, slot, ops[op, PLAN_OP_EXTREME], empty, value)
    counted = 0
    total = 0
    if not empty:
        at = columns[column, PLAN_COLUMN_VALUES]
        counted = slots[slot, high + at] - slots[slot, low + at]
        at = columns[column, PLAN_COLUMN_SUM]
        total = slots[slot, high + at] - slots[slot, low + at]
    if value != NULL:
        counted += 1
        total += value
    if kind == OP_COUNT_VALUES:
        return float(counted)
    if kind == OP_SUM:
        return float(total)
    if kind == OP_MEAN and counted > 0:
        return quotient(total, counted)
    return np.nan


@kernel
def valid_until(
    edges: NDArray[np.int64],
    windows: NDArray[np.int64],
    slots: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
) -> int:
    """Return the first time later than T at which a member enters or leaves any window."""
    as_of = slots[slot, SLOT_AS_OF]
    reached = slots[slot, SLOT_REACHED]
    until = FOREVER
    for window in range(windows.shape[0]):
        low_edge = windows[window, 0]
        high_edge = windows[window, 1]
        low = slots[slot, edges[low_edge, PLAN_FIELD]]
        high = slots[slot, edges[high_edge, PLAN_FIELD]]
        if limit_of(edges, high_edge, as_of, reached) <= limit_of(edges, low_edge, as_of, reached):
            # What lies between them is below the horizon and never enters.
            high = low
        if low != END:
            until = min(until, entries[low, 0] + edges[low_edge, PLAN_OFFSET])
        if high != END:
            until = min(until, entries[high, 0] + edges[high_edge, PLAN_OFFSET])
    return int(until)


@kernel
def _carry(
    edges: NDArray[np.int64],
    extremes: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    before: NDArray[np.int64],
    slot: int,
    extreme: int,
    high_on: int,
    low_on: int,
) -> int:
    """Return an extreme after its window's edges moved from ``before``.

    What entered can only raise it. If something that left was as great, it is searched again:
    rarely, because the greatest of n members leaves about once in n moves, and briefly if there
    is an equal one, because no member can be greater than the old value and what entered.
    """
    column = extremes[extreme, PLAN_EXTREME_COLUMN]
    sign = extremes[extreme, PLAN_EXTREME_SIGN]
    low_edge = extremes[extreme, PLAN_EXTREME_LOW]
    high_edge = extremes[extreme, PLAN_EXTREME_HIGH]
    low = slots[slot, edges[low_edge, PLAN_FIELD]]
    high = slots[slot, edges[high_edge, PLAN_FIELD]]
    best = slots[slot, extremes[extreme, PLAN_FIELD]]
    if best == UNKNOWN:
        return greatest(chunks, entries, low, high, column, sign, UNKNOWN)
    was_low = before[low_edge]
    was_high = before[high_edge]
    left = LOWEST
    if high_on:
        best = max(best, greatest(chunks, entries, was_high, high, column, sign, UNKNOWN))
    else:
        left = greatest(chunks, entries, high, was_high, column, sign, UNKNOWN)
    if low_on:
        left = max(left, greatest(chunks, entries, was_low, low, column, sign, UNKNOWN))
    else:
        best = max(best, greatest(chunks, entries, low, was_low, column, sign, UNKNOWN))
    if left != LOWEST and left >= best:
        return greatest(chunks, entries, low, high, column, sign, best)
    return int(best)


@kernel
def _extreme(
    extremes: NDArray[np.int64],
    slots: NDArray[np.int64],
    slot: int,
    extreme: int,
    empty: int,
    value: int,
) -> float:
    sign = extremes[extreme, PLAN_EXTREME_SIGN]
    best = LOWEST if empty else slots[slot, extremes[extreme, PLAN_FIELD]]
    if value != NULL:
        best = max(best, sign * value)
    return np.nan if best == LOWEST else float(sign * best)


@kernel
def _since_last(
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    as_of_us: int,
    horizon_us: int,
    own: int,
) -> float:
    """Return seconds from the newest other entry at or before T; NaN if there is none.

    Also NaN for T below the horizon where an entry lies in (T, H]: below the horizon only the
    newest entry is sure to be held, and that one is not the newest at or before T.
    """
    position = slots[slot, SLOT_EDGES]
    if as_of_us < horizon_us and position != END and entries[position, 0] <= horizon_us:
        return np.nan
    position = previous(slots, chunks, slot, position)
    if own:
        position = previous(slots, chunks, slot, position)
    if position == END:
        return np.nan
    return float(as_of_us - entries[position, 0]) / 1e6
