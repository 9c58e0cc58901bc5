"""Work through a lane: each record is evaluated as of its time, then inserted.

In blocks: first every record of a block is found its words and inserted, in order; then the
statistics are made of the words, op by op. So neither loop carries the other's registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from noskew.kernels.admission import (
    admit,
    fits,
    gone_at,
    is_full,
    look_for_split,
    replace,
    report_capped,
    room_of,
    touch,
)
from noskew.kernels.finishing import finish
from noskew.kernels.folds import fold
from noskew.kernels.jit import kernel, prefetch
from noskew.kernels.keys import add, clear, find, remove
from noskew.kernels.layout import (
    CHUNK_COUNT,
    CHUNK_SHIFT,
    COUNTERS,
    EDGE_POSITION,
    EDGES,
    END,
    EVALUATE,
    FLAG_CAPPED,
    INSERT,
    NUMBER_FOLDS,
    NUMBER_HANDLE,
    NUMBER_PRIMARY,
    NUMBER_STRINGS,
    OWN,
    PLAN_BEGIN,
    PLAN_EDGE_FIELD,
    PLAN_END,
    PLAN_NUMBERS,
    SLOT_FOLD,
    SLOT_LAST,
    SLOT_OLDEST,
)
from noskew.kernels.slabs import evict, insert, release
from noskew.kernels.standing import find_words, stand

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from noskew.kernels.layout import Records, State


BLOCK: Final = 256
"""Records of a block: their words stay in the cache."""
ITSELF: Final = 0
AS_OF: Final = 1
HORIZON: Final = 2
TARGET: Final = 3
MEMBER: Final = 4
OWN_VALUE: Final = 5
ASKED: Final = 6
"""What is kept of a block's evaluated records, one row each (see ``finishing.finish``)."""
_CACHED: Final = 2**13
"""Words of an array that stay in the processor's caches anyway: nothing is asked for."""
_SOON: Final = 4
_AHEAD: Final = 8
_FAR_AHEAD: Final = 16
"""How many records ahead are asked for: where its entry goes, where its edges stand, its slot."""


@kernel
def advance(
    plan: NDArray[np.int64],
    state: State,
    records: Records,
    begin: int,
    homes: NDArray[np.int64],
    words: NDArray[np.int64],
    asked: NDArray[np.int64],
    out: NDArray[np.float64],
    nodes: NDArray[np.float64],
    flags: NDArray[np.int32],
) -> int:
    """Take records ``begin .. m`` in order.

    homes   int64[handles]   slot of the open entry of each handle, 0: none; mutated
    words, asked, out   scratch: int64[NUMBER_WORDS, BLOCK], int64[ASKED, BLOCK], float64[BLOCK]
    nodes   float64[nodes, n]  the table's ops are written where EVALUATE, in column ``target``
    flags   int32[n]           CAPPED and INCOMPLETE are added

    Returns m, or the record before which the pools ran out of room: grow them, call again.
    """
    most = len(records.time_us)
    while begin < most:
        end = min(begin + BLOCK, most)
        # Of whole blocks, so that no table is worked through in ever smaller ones.
        if room_of(state.slots, state.chunks, state.lookup, state.reports, state.aux) < BLOCK:
            return begin
        stopped, count = _take(plan, state, records, begin, end, homes, words, asked, flags)
        finish(
            plan, state.big, count, words, asked[ITSELF], asked[AS_OF], asked[HORIZON],
            records.fields, asked[TARGET], asked[MEMBER], asked[OWN_VALUE], out, nodes, flags,
        )  # fmt: skip
        begin = stopped
        if stopped < end:
            return begin
    return begin


@kernel
def _take(
    plan: NDArray[np.int64],
    state: State,
    records: Records,
    begin: int,
    end: int,
    homes: NDArray[np.int64],
    words: NDArray[np.int64],
    asked: NDArray[np.int64],
    flags: NDArray[np.int32],
) -> tuple[int, int]:
    """Find the words of records ``begin .. end`` and insert them, in order.

    Returns the record before which there was no room, else ``end``; and how many were evaluated.
    """
    heap, key, length, hashes = records.heap, records.key, records.length, records.hashes
    found, partition, seq, target = records.found, records.partition, records.seq, records.target
    fields, time_us = records.fields, records.time_us
    numbers = plan[PLAN_NUMBERS]
    lookup, slots, chunks, entries = state.lookup, state.slots, state.chunks, state.entries
    values, changed, reports = state.values, state.changed, state.reports
    aux, blank, texts = state.aux, state.blank, state.heap
    count = 0
    for row in range(begin, end):
        _ask(plan, slots, chunks, entries, found, row, len(found))
        doing = records.action[row]
        if doing == 0:
            continue
        as_of, horizon, line = time_us[row], records.horizon_us[row], records.fold_us[row]
        slot = 0
        if hashes[row] >= 0:
            slot = found[row]
            if slot < 0:
                slot = find(
                    lookup, slots, texts, numbers[NUMBER_STRINGS], hashes[row], heap, key[row],
                    length[row],
                )  # fmt: skip
            if not fits(plan, slots, texts, values, aux, slot, length[row]):
                return row, count
        if numbers[NUMBER_PRIMARY] and slot > 0:
            look_for_split(plan, slots, reports, aux, slot, horizon, partition[row], seq[row])
        if doing & INSERT and numbers[NUMBER_HANDLE] > 0:
            replace(
                plan, slots, chunks, entries, values, changed, aux, homes,
                fields[numbers[NUMBER_HANDLE] - 1, row], records.old_us[row], seq[row], horizon,
                line,
            )  # fmt: skip
        if doing & EVALUATE:
            _evaluate(
                plan, slots, chunks, entries, values, changed, aux, fields, words, slot, row, count,
                as_of, horizon, line, seq[row],
            )  # fmt: skip
            asked[ITSELF, count] = row if doing & OWN and hashes[row] >= 0 else -1
            asked[AS_OF, count] = as_of
            asked[HORIZON, count] = horizon
            asked[TARGET, count] = target[row]
            count += 1
        if doing & INSERT and hashes[row] >= 0:
            gone_us = gone_at(plan, horizon, line)
            if slot > 0 and is_full(plan, slots, chunks, entries, slot, gone_us):
                report_capped(slots, reports, aux, slot, partition[row], seq[row])
                if target[row] >= 0:
                    flags[target[row]] |= FLAG_CAPPED
                continue
            if slot < 0:
                slot = add(
                    lookup, slots, texts, aux[COUNTERS], blank, numbers[NUMBER_STRINGS],
                    hashes[row], heap, key[row], length[row],
                )  # fmt: skip
            _aggregate(
                plan, slots, chunks, entries, values, changed, blank, aux, homes, fields, slot, row,
                as_of, horizon, line, gone_us, partition[row], seq[row],
            )  # fmt: skip
    return end, count


@kernel(inline=True)
def _evaluate(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    changed: NDArray[np.int32],
    aux: NDArray[np.int64],
    fields: NDArray[np.int64],
    words: NDArray[np.int64],
    slot: int,
    row: int,
    place: int,
    as_of_us: int,
    horizon_us: int,
    fold_us: int,
    seq: int,
) -> None:
    """Find the words of a key as of a record; a key without a slot has an empty history."""
    reading = max(slot, 0)
    if plan[PLAN_NUMBERS, NUMBER_FOLDS] and slots[reading, SLOT_FOLD] < fold_us:
        passed = fold(plan, slots, chunks, entries, aux, reading, fold_us)
        # What a reader at the row's time finds may be another: the row is to be written.
        if passed and slot > 0:
            touch(slots, changed, aux, slot, horizon_us, fold_us, seq)
    reached_us = max(as_of_us, horizon_us)
    stand(plan, slots, chunks, entries, values, aux, reading, as_of_us, reached_us)
    find_words(
        plan, slots, chunks, entries, values, aux, reading, as_of_us, horizon_us, row, fields,
        words, place,
    )  # fmt: skip


@kernel(inline=True)
def _aggregate(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    changed: NDArray[np.int32],
    blank: NDArray[np.int64],
    aux: NDArray[np.int64],
    homes: NDArray[np.int64],
    fields: NDArray[np.int64],
    slot: int,
    row: int,
    as_of_us: int,
    horizon_us: int,
    fold_us: int,
    gone_us: int,
    partition: int,
    seq: int,
) -> None:
    """Insert a record for which there is room into its key, and drop what is out of reach."""
    numbers = plan[PLAN_NUMBERS]
    admit(
        plan, slots, chunks, entries, values, changed, blank, aux, slot, horizon_us, fold_us,
        partition, seq,
    )  # fmt: skip
    if numbers[NUMBER_FOLDS] and slots[slot, SLOT_FOLD] < fold_us:
        fold(plan, slots, chunks, entries, aux, slot, fold_us)
    insert(plan, slots, chunks, entries, values, aux, slot, as_of_us, row, fields)
    if numbers[NUMBER_HANDLE] > 0:
        homes[fields[numbers[NUMBER_HANDLE] - 1, row]] = slot
    if slots[slot, SLOT_OLDEST] <= gone_us:
        evict(plan, slots, chunks, entries, values, aux, slot, gone_us)


@kernel(inline=True)
def _ask(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    found: NDArray[np.int64],
    row: int,
    count: int,
) -> None:
    """Ask for the memory of keys that come soon, so that the waits for many overlap."""
    if row + _FAR_AHEAD < count and slots.shape[0] * slots.shape[1] > _CACHED:
        soon = found[row + _FAR_AHEAD]
        if soon > 0:
            for line in range(0, slots.shape[1], 8):
                prefetch(slots[soon, line:], 0)
    if row + _AHEAD < count and entries.shape[0] * entries.shape[1] > _CACHED:
        soon = found[row + _AHEAD]
        if soon > 0:
            for at in range(plan[PLAN_BEGIN, EDGES], plan[PLAN_END, EDGES]):
                position = slots[soon, plan[at, PLAN_EDGE_FIELD] + EDGE_POSITION]
                if position != END:
                    prefetch(entries, position)
                    prefetch(entries, position + 1)
                    prefetch(chunks, position >> CHUNK_SHIFT)
            last = slots[soon, SLOT_LAST]
            if last != END:
                for line in range(0, chunks.shape[1], 8):
                    prefetch(chunks[last, line:], 0)
    if row + _SOON < count and entries.shape[0] * entries.shape[1] > _CACHED:
        soon = found[row + _SOON]
        last = slots[soon, SLOT_LAST] if soon > 0 else END
        if last != END:
            prefetch(entries, (last << CHUNK_SHIFT) + chunks[last, CHUNK_COUNT])


@kernel
def free_slots(plan: NDArray[np.int64], state: State, which: NDArray[np.int64]) -> None:
    """Free keys that are gone: their chunks, their slots, their places in the hash table."""
    slots, chunks, entries = state.slots, state.chunks, state.entries
    values, aux, blank = state.values, state.aux, state.blank
    for row in range(which.shape[0]):
        release(plan, slots, chunks, entries, values, aux, which[row])
        clear(blank, slots, which[row])
        remove(state, which[row])
