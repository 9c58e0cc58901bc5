"""Admission: whether a record finds room, what its key is told of it, and whom it replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels.chunks import held_after, next_of, upper_bound
from noskew.kernels.folds import fold
from noskew.kernels.jit import kernel
from noskew.kernels.keys import clear
from noskew.kernels.layout import (
    COUNTER_CHANGED,
    COUNTER_CHUNKS,
    COUNTER_FREED_CHUNKS,
    COUNTER_HEAP,
    COUNTER_KEYS,
    COUNTER_REPORTS,
    COUNTER_USED,
    COUNTERS,
    END,
    MARK_CAPPED,
    MARK_CHANGED,
    MARK_LISTED,
    MARK_SPLIT,
    NULL,
    NUMBER_ANCHORED,
    NUMBER_FOLD_REACH,
    NUMBER_FOLDS,
    NUMBER_GONE,
    NUMBER_HANDLE,
    NUMBER_KEEP,
    NUMBER_MOST,
    NUMBER_REACH,
    NUMBER_STRINGS,
    PLAN_BEGIN,
    PLAN_END,
    PLAN_NUMBERS,
    REPORT_CAPPED,
    REPORT_SPLIT,
    SLOT_COUNT,
    SLOT_FOLD,
    SLOT_MARKS,
    SLOT_NEWEST,
    SLOT_PARTITION,
    SLOT_ROW_FOLD,
    SLOT_ROW_HORIZON,
    SLOT_ROW_SEQ,
    TALLIES,
)
from noskew.kernels.slabs import release
from noskew.kernels.slabs import remove as take_out

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel
def room_of(
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    lookup: NDArray[np.int32],
    reports: NDArray[np.int64],
    aux: NDArray[np.int64],
) -> int:
    """Return how many records surely fit: chunks, slots, places in the hash table, reports."""
    counters = aux[COUNTERS]
    free_chunks = counters[COUNTER_FREED_CHUNKS] + chunks.shape[0] - counters[COUNTER_CHUNKS]
    free_slots = slots.shape[0] - 1 - counters[COUNTER_KEYS]  # slot 0 belongs to no key
    places = (lookup.shape[0] >> 1) - counters[COUNTER_KEYS]
    # A record makes at most one report of each kind.
    free_reports = (reports.shape[0] - counters[COUNTER_REPORTS]) >> 1
    return int(max(min(free_chunks, free_slots, places, free_reports), 0))


@kernel(inline=True)
def fits(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    heap: NDArray[np.uint8],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    length: int,
) -> bool:
    """Tell whether a record's own needs are met: bytes of a new key, values of ``distinct``."""
    counters = aux[COUNTERS]
    new = slot < 0 and plan[PLAN_NUMBERS, NUMBER_STRINGS]
    if new and counters[COUNTER_HEAP] + length > heap.shape[0]:
        return False
    # At most each entry of the key is counted anew by each tally's two ends.
    owners = plan[PLAN_END, TALLIES] - plan[PLAN_BEGIN, TALLIES]
    if owners == 0:
        return True
    counted = owners * 2 * (slots[max(slot, 0), SLOT_COUNT] + 1)
    return bool(4 * (counters[COUNTER_USED] + counted) <= 3 * values.shape[0])


@kernel(inline=True)
def gone_at(plan: NDArray[np.int64], horizon_us: int, fold_us: int) -> int:
    """Return the time up to which entries are needed no more."""
    numbers = plan[PLAN_NUMBERS]
    gone_us = horizon_us - numbers[NUMBER_REACH]
    if numbers[NUMBER_FOLDS]:
        gone_us = min(gone_us, fold_us - numbers[NUMBER_FOLD_REACH])
    if numbers[NUMBER_HANDLE] > 0:
        gone_us = min(gone_us, fold_us, horizon_us - numbers[NUMBER_KEEP])
    return int(gone_us)


@kernel(inline=True)
def is_full(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    gone_us: int,
) -> bool:
    """Tell whether a key has ``key_cap`` entries that are still needed.

    Others may still be in memory; counting them would let memory decide a result.
    """
    most = plan[PLAN_NUMBERS, NUMBER_MOST]
    if slots[slot, SLOT_COUNT] < most:
        return False
    return bool(held_after(slots, chunks, entries, slot, gone_us) >= most)


@kernel(inline=True)
def _is_gone(plan: NDArray[np.int64], slots: NDArray[np.int64], slot: int, horizon_us: int) -> bool:
    """Tell whether no record from now on can see any of a key's entries."""
    numbers = plan[PLAN_NUMBERS]
    key = slots[slot]
    if (
        numbers[NUMBER_ANCHORED]
        or numbers[NUMBER_FOLDS]
        or numbers[NUMBER_HANDLE] > 0
        or key[SLOT_COUNT] == 0
    ):
        return False
    return bool(horizon_us >= key[SLOT_NEWEST] + numbers[NUMBER_GONE])


@kernel(inline=True)
def look_for_split(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    reports: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    horizon_us: int,
    partition: int,
    seq: int,
) -> None:
    """Report once that a key, also of a late record, comes from another partition than at first."""
    key = slots[slot]
    if (
        key[SLOT_PARTITION] != partition
        and key[SLOT_MARKS] & MARK_SPLIT == 0
        and not _is_gone(plan, slots, slot, horizon_us)
    ):
        key[SLOT_MARKS] |= MARK_SPLIT
        _report(reports, aux, REPORT_SPLIT, slot, key[SLOT_PARTITION], partition, seq)


@kernel
def report_capped(
    slots: NDArray[np.int64],
    reports: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    partition: int,
    seq: int,
) -> None:
    """Report a full key once, until something can be inserted again."""
    if slots[slot, SLOT_MARKS] & MARK_CAPPED == 0:
        slots[slot, SLOT_MARKS] |= MARK_CAPPED
        _report(reports, aux, REPORT_CAPPED, slot, partition, partition, seq)


@kernel(inline=True)
def admit(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    changed: NDArray[np.int32],
    blank: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    horizon_us: int,
    fold_us: int,
    partition: int,
    seq: int,
) -> None:
    """Note a record in its key's slot before its entry is inserted."""
    if _is_gone(plan, slots, slot, horizon_us):
        # Gone, though not swept yet: start anew, so that the time of a sweep changes nothing.
        release(plan, slots, chunks, entries, values, aux, slot)
        clear(blank, slots, slot)
    key = slots[slot]
    if key[SLOT_COUNT] == 0:
        key[SLOT_PARTITION] = partition
    touch(slots, changed, aux, slot, horizon_us, fold_us, seq)
    key[SLOT_MARKS] &= ~MARK_CAPPED


@kernel(inline=True)
def touch(
    slots: NDArray[np.int64],
    changed: NDArray[np.int32],
    aux: NDArray[np.int64],
    slot: int,
    horizon_us: int,
    fold_us: int,
    seq: int,
) -> None:
    """List a key as changed by a record."""
    key = slots[slot]
    key[SLOT_ROW_SEQ] = seq
    key[SLOT_ROW_HORIZON] = horizon_us
    key[SLOT_ROW_FOLD] = fold_us
    if key[SLOT_MARKS] & MARK_LISTED == 0:
        changed[aux[COUNTERS, COUNTER_CHANGED]] = slot
        aux[COUNTERS, COUNTER_CHANGED] += 1
    key[SLOT_MARKS] |= MARK_LISTED | MARK_CHANGED


@kernel
def _report(
    reports: NDArray[np.int64],
    aux: NDArray[np.int64],
    kind: int,
    slot: int,
    first: int,
    other: int,
    seq: int,
) -> None:
    at = aux[COUNTERS, COUNTER_REPORTS]
    report = reports[at]
    report[0] = kind
    report[1] = slot
    report[2] = first
    report[3] = other
    report[4] = seq
    aux[COUNTERS, COUNTER_REPORTS] = at + 1


@kernel
def replace(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    changed: NDArray[np.int32],
    aux: NDArray[np.int64],
    homes: NDArray[np.int64],
    handle: int,
    old_us: int,
    seq: int,
    horizon_us: int,
    fold_us: int,
) -> None:
    """Take out the open entry of a handle, wherever it is; without one ``old_us`` is NULL."""
    slot = homes[handle]
    homes[handle] = 0
    if slot == 0 or old_us == NULL:
        return
    if plan[PLAN_NUMBERS, NUMBER_FOLDS] and slots[slot, SLOT_FOLD] < fold_us:
        fold(plan, slots, chunks, entries, aux, slot, fold_us)
    position = upper_bound(slots, chunks, entries, slot, old_us - 1)
    while position != END and entries[position, 0] == old_us:
        if entries[position, plan[PLAN_NUMBERS, NUMBER_HANDLE]] == handle:
            take_out(plan, slots, chunks, entries, values, aux, slot, position)
            touch(slots, changed, aux, slot, horizon_us, fold_us, seq)
            return
        position = next_of(chunks, position)
