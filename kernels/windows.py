"""A batch against one table: each record is inserted, then evaluated; and the rows readers get.

A late or capped record is evaluated as if it had been inserted, and is not. One call works
through a batch in processing order and stops where a pool runs out of room; nothing is
allocated here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels.chunks import (
    held_after,
)
from noskew.kernels.jit import (
    kernel,
)
from noskew.kernels.keys import (
    add,
    find,
    remove,
)
from noskew.kernels.layout import (
    COUNTER_CHANGED,
    COUNTER_CHUNKS,
    COUNTER_FREE_CHUNK,
    COUNTER_FREE_SLOT,
    COUNTER_HEAP,
    COUNTER_KEYS,
    COUNTER_REPORTS,
    COUNTER_SLOTS,
    END,
    FLAG_CAPPED,
    MARK_CAPPED,
    MARK_CHANGED,
    MARK_LISTED,
    MARK_SPLIT,
    MODE_DEAD,
    MODE_INSERT,
    OP_SINCE_LAST,
    PLAN_OP_KIND,
    PLAN_OP_NODE,
    REPORT_CAPPED,
    REPORT_SPLIT,
    SLOT_COUNT,
    SLOT_MARKS,
    SLOT_NEWEST,
    SLOT_PARTITION,
    SLOT_ROW_HORIZON,
    SLOT_ROW_SEQ,
)
from noskew.kernels.slabs import (
    evict,
    insert,
    release,
)
from noskew.kernels.statistics import (
    stand,
    statistic,
    valid_until,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from noskew.kernels.layout import Shape, State


@kernel
def advance(
    shape: Shape,
    state: State,
    begin: int,
    heap: NDArray[np.uint8],
    key: NDArray[np.int64],
    length: NDArray[np.int64],
    hashes: NDArray[np.int64],
    found: NDArray[np.int64],
    time_us: NDArray[np.int64],
    horizon_us: NDArray[np.int64],
    mode: NDArray[np.uint8],
    partition: NDArray[np.int32],
    seq: int,
    values: NDArray[np.int64],
    nodes: NDArray[np.float64],
    flags: NDArray[np.int32],
) -> int:
    """Insert and evaluate records ``begin .. n`` in order.

    heap, key, length, hashes, found   the keys, as ``locate`` takes and leaves them
    time_us, horizon_us   int64[n]     event time; horizon as of before the record
    mode       uint8[n]                ``MODE_*``
    partition  int32[n]
    seq                                number of record 0
    values     int64[columns, n]
    nodes      float64[nodes, n]       the table's ops are written, except for dead records
    flags      int32[n]                ``FLAG_CAPPED`` is added

    Returns n, or the record before which the pools ran out of room: grow them, call again.
    """
    edges, columns, extremes, ops = shape.edges, shape.columns, shape.extremes, shape.ops
    slots, chunks, entries = state.slots, state.chunks, state.entries
    index, text, counters, reports = state.lookup, state.heap, state.counters, state.reports
    strings, reach_us, anchored = shape.strings, shape.reach_us, shape.anchored
    for row in range(begin, len(time_us)):
        if mode[row] == MODE_DEAD:
            continue
        as_of, horizon = time_us[row], horizon_us[row]
        slot, own, virtual = 0, 0, 0
        if hashes[row] >= 0:
            slot = found[row]
            if slot < 0:
                slot = find(index, slots, text, strings, hashes[row], heap, key[row], length[row])
            own = int(mode[row] == MODE_INSERT)
            if not _has_room(index, slots, chunks, text, reports, counters, strings, length[row]):
                return row
            if shape.primary and slot > 0:
                _look_for_split(
                    slots, reports, counters, slot, horizon, partition[row], seq + row, reach_us,
                    anchored,
                )  # fmt: skip
            if own and slot > 0 and _is_full(
                slots, chunks, entries, slot, horizon, reach_us, shape.key_cap
            ):  # fmt: skip
                own = 0
                flags[row] |= FLAG_CAPPED
                _report_capped(slots, reports, counters, slot, partition[row], seq + row)
            virtual = 1 - own
            if own and slot < 0:
                slot = add(
                    index, slots, text, counters, edges, extremes, strings, hashes[row],
                    heap, key[row], length[row],
                )  # fmt: skip
            slot = max(slot, 0)
        if own:
            _admit(
                edges, extremes, slots, chunks, counters, state.changed, slot, horizon,
                partition[row], seq + row, reach_us, anchored,
            )  # fmt: skip
            insert(
                edges, columns, extremes, slots, chunks, entries, counters, slot, as_of, values, row
            )
        _evaluate(
            edges, columns, extremes, ops, slots, chunks, entries, state.before, slot, as_of,
            horizon, own, virtual, values, row, nodes,
        )  # fmt: skip
        if own:
            evict(
                edges, columns, extremes, slots, chunks, entries, counters, slot, horizon, reach_us,
                anchored,
            )  # fmt: skip
    return len(time_us)


@kernel
def read_rows(
    shape: Shape,
    state: State,
    which: NDArray[np.int64],
    nothing: NDArray[np.int64],
    until_us: NDArray[np.int64],
    words: NDArray[np.int64],
    reals: NDArray[np.float64],
) -> None:
    """Evaluate the rows of k slots at their newest entries, with their last record's horizon.

    which     int64[k]         slots
    nothing   int64[columns, 1]  not read
    until_us  int64[k]         written: first later time at which a member enters or leaves
    words     int64[k, width]  written: float64 patterns; an anchor is two words
    reals     the same memory seen as float64
    """
    edges, columns, extremes, ops = shape.edges, shape.columns, shape.extremes, shape.ops
    slots, chunks, entries, before = state.slots, state.chunks, state.entries, state.before
    row_ops, windows = shape.row_ops, shape.windows
    for row in range(which.shape[0]):
        slot = which[row]
        as_of = slots[slot, SLOT_NEWEST]
        horizon = slots[slot, SLOT_ROW_HORIZON]
        stand(
            edges, columns, extremes, slots, chunks, entries, before, slot, as_of,
            max(as_of, horizon),
        )  # fmt: skip
        word = 0
        for at in range(row_ops.shape[0]):
            op = row_ops[at]
            if ops[op, PLAN_OP_KIND] == OP_SINCE_LAST:
                words[row, word] = as_of
                reals[row, word + 1] = 0.0
                word += 2
            else:
                reals[row, word] = statistic(
                    edges, columns, extremes, ops, slots, chunks, entries, slot, op, as_of, horizon,
                    0, 0, nothing, 0,
                )  # fmt: skip
                word += 1
        until_us[row] = valid_until(edges, windows, slots, entries, slot)


@kernel
def free_slots(shape: Shape, state: State, which: NDArray[np.int64]) -> None:
    """Free keys that are gone: their chunks, their slots, their places in the hash table."""
    for row in range(which.shape[0]):
        release(shape.edges, shape.extremes, state.slots, state.chunks, state.counters, which[row])
        remove(state, which[row])


@kernel
def _evaluate(
    edges: NDArray[np.int64],
    columns: NDArray[np.int64],
    extremes: NDArray[np.int64],
    ops: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    before: NDArray[np.int64],
    slot: int,
    as_of_us: int,
    horizon_us: int,
    own: int,
    virtual: int,
    values: NDArray[np.int64],
    row: int,
    nodes: NDArray[np.float64],
) -> None:
    stand(
        edges, columns, extremes, slots, chunks, entries, before, slot, as_of_us,
        max(as_of_us, horizon_us),
    )  # fmt: skip
    for op in range(ops.shape[0]):
        nodes[ops[op, PLAN_OP_NODE], row] = statistic(
            edges, columns, extremes, ops, slots, chunks, entries, slot, op, as_of_us, horizon_us,
            own, virtual, values, row,
        )  # fmt: skip


@kernel
def _has_room(
    index: NDArray[np.int32],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    own_heap: NDArray[np.uint8],
    reports: NDArray[np.int64],
    counters: NDArray[np.int64],
    strings: int,
    length: int,
) -> bool:
    """Tell whether one more record fits: a chunk, a slot, a place in the table, its key."""
    if counters[COUNTER_FREE_CHUNK] == END and counters[COUNTER_CHUNKS] >= chunks.shape[0]:
        return False
    if counters[COUNTER_FREE_SLOT] == END and counters[COUNTER_SLOTS] >= slots.shape[0]:
        return False
    if 2 * (counters[COUNTER_KEYS] + 1) > index.shape[0]:
        return False
    if strings and counters[COUNTER_HEAP] + length > own_heap.shape[0]:
        return False
    # A record makes at most one report of each kind.
    return bool(counters[COUNTER_REPORTS] + 2 <= reports.shape[0])


@kernel
def _is_full(
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    horizon_us: int,
    reach_us: int,
    key_cap: int,
) -> bool:
    """Tell whether a key has ``key_cap`` entries above the horizon less the table's reach.

    Entries below that may still be in memory; counting them would let memory decide a result.
    """
    if slots[slot, SLOT_COUNT] < key_cap:
        return False
    return held_after(slots, chunks, entries, slot, horizon_us - reach_us) >= key_cap


@kernel
def _is_gone(
    slots: NDArray[np.int64], slot: int, horizon_us: int, reach_us: int, anchored: int
) -> bool:
    """Tell whether no record from now on can see any of a key's entries."""
    if anchored or slots[slot, SLOT_COUNT] == 0:
        return False
    return bool(horizon_us >= slots[slot, SLOT_NEWEST] + reach_us)


@kernel
def _look_for_split(
    slots: NDArray[np.int64],
    reports: NDArray[np.int64],
    counters: NDArray[np.int64],
    slot: int,
    horizon_us: int,
    partition: int,
    seq: int,
    reach_us: int,
    anchored: int,
) -> None:
    """Report once that a key, also of a late record, comes from another partition than at first."""
    if (
        slots[slot, SLOT_PARTITION] != partition
        and slots[slot, SLOT_MARKS] & MARK_SPLIT == 0
        and not _is_gone(slots, slot, horizon_us, reach_us, anchored)
    ):
        slots[slot, SLOT_MARKS] |= MARK_SPLIT
        _report(reports, counters, REPORT_SPLIT, slot, slots[slot, SLOT_PARTITION], partition, seq)


@kernel
def _report_capped(
    slots: NDArray[np.int64],
    reports: NDArray[np.int64],
    counters: NDArray[np.int64],
    slot: int,
    partition: int,
    seq: int,
) -> None:
    """Report a full key once, until something can be inserted again."""
    if slots[slot, SLOT_MARKS] & MARK_CAPPED == 0:
        slots[slot, SLOT_MARKS] |= MARK_CAPPED
        _report(reports, counters, REPORT_CAPPED, slot, partition, partition, seq)


@kernel
def _admit(
    edges: NDArray[np.int64],
    extremes: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    counters: NDArray[np.int64],
    changed: NDArray[np.int32],
    slot: int,
    horizon_us: int,
    partition: int,
    seq: int,
    reach_us: int,
    anchored: int,
) -> None:
    """Note a record in its key's slot before its entry is inserted."""
    if _is_gone(slots, slot, horizon_us, reach_us, anchored):
        # Gone, though not swept yet: start anew, so that the time of a sweep changes nothing.
        release(edges, extremes, slots, chunks, counters, slot)
    if slots[slot, SLOT_COUNT] == 0:
        slots[slot, SLOT_PARTITION] = partition
    slots[slot, SLOT_ROW_SEQ] = seq
    slots[slot, SLOT_ROW_HORIZON] = horizon_us
    if slots[slot, SLOT_MARKS] & MARK_LISTED == 0:
        changed[counters[COUNTER_CHANGED]] = slot
        counters[COUNTER_CHANGED] += 1
    marks = slots[slot, SLOT_MARKS] | MARK_LISTED | MARK_CHANGED
    slots[slot, SLOT_MARKS] = marks & ~MARK_CAPPED


@kernel
def _report(
    reports: NDArray[np.int64],
    counters: NDArray[np.int64],
    kind: int,
    slot: int,
    first: int,
    other: int,
    seq: int,
) -> None:
    at = counters[COUNTER_REPORTS]
    reports[at, 0] = kind
    reports[at, 1] = slot
    reports[at, 2] = first
    reports[at, 3] = other
    reports[at, 4] = seq
    counters[COUNTER_REPORTS] = at + 1
