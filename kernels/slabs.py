"""Entries of a key in pooled chunks: insertion, removal and eviction.

What holds between any two calls, for every key: entries are sorted by (time, order of insertion); a
chunk of a chain is never empty; edges are as ``edges`` says; a cached extreme is that of the
entries between its window's edges, or ``UNKNOWN``; a tally counts the values between its window's
edges, or all there ever were, for all of history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels.chunks import (
    account,
    free,
    link,
    next_of,
    recount,
    unlink,
    upper_bound,
)
from noskew.kernels.edges import count_chunk, count_entry, limit_of
from noskew.kernels.folds import freeze_entry, repair_decays
from noskew.kernels.jit import kernel
from noskew.kernels.layout import (
    CHUNK,
    CHUNK_COUNT,
    CHUNK_NEXT,
    CHUNK_PREVIOUS,
    CHUNK_SHIFT,
    COUNTER_ENTRIES,
    COUNTERS,
    DECAY_STALE,
    DECAYS,
    EDGE_FOLD,
    EDGE_POSITION,
    EDGE_TIME,
    EDGE_TOTALS,
    EDGES,
    END,
    EXTREMES,
    FOREVER,
    LIMITS,
    NO_TIME,
    NULL,
    NUMBER_ANCHORED,
    PLAN_BEGIN,
    PLAN_DECAY_FIELD,
    PLAN_EDGE_FIELD,
    PLAN_EDGE_KEPT,
    PLAN_EDGE_KEPT_END,
    PLAN_EDGE_KIND,
    PLAN_END,
    PLAN_EXTREME_COLUMN,
    PLAN_EXTREME_FIELD,
    PLAN_EXTREME_HIGH,
    PLAN_EXTREME_LOW,
    PLAN_EXTREME_SIGN,
    PLAN_NUMBERS,
    SLOT_AS_OF,
    SLOT_COUNT,
    SLOT_FIRST,
    SLOT_FOLD,
    SLOT_LAST,
    SLOT_NEWEST,
    SLOT_OLDEST,
    SLOT_REACHED,
    TALLIES,
    UNKNOWN,
)
from noskew.kernels.tallies import forget_tallies, pass_tallies, repair_tallies, take_from_tallies

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel(inline=True)
def insert(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    time_us: int,
    row: int,
    fields: NDArray[np.int64],
) -> None:
    """Insert an entry after all entries of its time or earlier, and repair what stands.

    fields  int64[fields, n], of which column ``row`` is taken: a value a pair, handle

    One free chunk must be there, and the key's fold edges must stand at the present fold line.
    """
    key = slots[slot]
    position = upper_bound(slots, chunks, entries, slot, time_us)
    if position == END:
        chunk = key[SLOT_LAST]
        if chunk == END or chunks[chunk, CHUNK_COUNT] == CHUNK:
            chunk = link(plan, slots, chunks, aux, slot, chunk)
            _note_oldest(slots, chunks, entries, slot)
        position = (chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT]
        key[SLOT_NEWEST] = time_us
    else:
        position = _make_place(plan, slots, chunks, entries, aux, slot, position)
        chunk = position >> CHUNK_SHIFT
    entries[position, 0] = time_us
    for field in range(fields.shape[0]):
        entries[position, 1 + field] = fields[field, row]
    account(plan, chunks, entries, chunk, position)
    key[SLOT_COUNT] += 1
    aux[COUNTERS, COUNTER_ENTRIES] += 1
    _repair(plan, slots, chunks, entries, values, aux, slot, position)
    if chunk == key[SLOT_FIRST]:
        _note_oldest(slots, chunks, entries, slot)


@kernel
def _make_place(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    position: int,
) -> int:
    """Move the entries from ``position`` on in its chunk up by one; return where it is now."""
    chunk = position >> CHUNK_SHIFT
    if chunks[chunk, CHUNK_COUNT] == CHUNK:
        position = _split(plan, slots, chunks, entries, aux, slot, position)
        chunk = position >> CHUNK_SHIFT
    for at in range((chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT], position, -1):
        for field in range(entries.shape[1]):
            entries[at, field] = entries[at - 1, field]
    return position


@kernel
def _split(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    position: int,
) -> int:
    """Move the later half of a full chunk to a new one; return where ``position`` is now."""
    key = slots[slot]
    chunk = position >> CHUNK_SHIFT
    half = (chunk << CHUNK_SHIFT) + CHUNK // 2
    added = link(plan, slots, chunks, aux, slot, chunk)
    shift = (added << CHUNK_SHIFT) - half
    for at in range(half, half + CHUNK // 2):
        for field in range(entries.shape[1]):
            entries[at + shift, field] = entries[at, field]
    recount(plan, chunks, entries, chunk, CHUNK // 2)
    recount(plan, chunks, entries, added, CHUNK // 2)
    for edge in range(plan[PLAN_BEGIN, EDGES], plan[PLAN_END, EDGES]):
        field = plan[edge, PLAN_EDGE_FIELD] + EDGE_POSITION
        at = key[field]
        if at >= half and at >> CHUNK_SHIFT == chunk:
            key[field] = at + shift
    _note_oldest(slots, chunks, entries, slot)
    return position + shift if position >= half else position


@kernel(inline=True)
def _repair(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    position: int,
) -> None:
    """Account a new entry at ``position`` in all that stands."""
    key = slots[slot]
    time_us = entries[position, 0]
    as_of, reached, line = key[SLOT_AS_OF], key[SLOT_REACHED], key[SLOT_FOLD]
    chunk = position >> CHUNK_SHIFT
    for at in range(plan[PLAN_BEGIN, EDGES], plan[PLAN_END, EDGES]):
        edge = plan[at]
        field = edge[PLAN_EDGE_FIELD]
        limit = limit_of(edge, as_of, reached, line)
        aux[LIMITS, at] = limit
        if time_us <= limit:
            count_entry(plan, slots, entries, slot, at, position, 1, 1)
            if edge[PLAN_EDGE_KIND] == EDGE_FOLD:
                freeze_entry(plan, slots, entries, slot, at, position)
            # The entry the edge stands at moved up by one if it is in this chunk.
            stands = key[field + EDGE_POSITION]
            if stands >= position and stands >> CHUNK_SHIFT == chunk:
                key[field + EDGE_POSITION] = stands + 1
        elif time_us < key[field + EDGE_TIME]:
            key[field + EDGE_POSITION] = position
            key[field + EDGE_TIME] = time_us
    for at in range(plan[PLAN_BEGIN, EXTREMES], plan[PLAN_END, EXTREMES]):
        extreme = plan[at]
        value = entries[position, extreme[PLAN_EXTREME_COLUMN]]
        low = aux[LIMITS, extreme[PLAN_EXTREME_LOW]]
        high = aux[LIMITS, extreme[PLAN_EXTREME_HIGH]]
        if low < time_us <= high and value != NULL:
            field = extreme[PLAN_EXTREME_FIELD]
            key[field] = max(key[field], extreme[PLAN_EXTREME_SIGN] * value)
    if plan[PLAN_END, TALLIES] > plan[PLAN_BEGIN, TALLIES]:
        repair_tallies(plan, slots, chunks, entries, values, aux, slot, position)
    if plan[PLAN_END, DECAYS] > plan[PLAN_BEGIN, DECAYS]:
        repair_decays(plan, slots, chunks, entries, slot, position, as_of)


@kernel
def remove(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    position: int,
) -> None:
    """Take an entry out of a key; what is folded of it stays."""
    key = slots[slot]
    time_us = entries[position, 0]
    chunk = position >> CHUNK_SHIFT
    as_of, reached, line = key[SLOT_AS_OF], key[SLOT_REACHED], key[SLOT_FOLD]
    take_from_tallies(plan, slots, chunks, entries, values, aux, slot, position)
    _forget_cached(plan, slots, slot)
    following = next_of(chunks, position)
    for at in range(plan[PLAN_BEGIN, EDGES], plan[PLAN_END, EDGES]):
        if time_us <= limit_of(plan[at], as_of, reached, line):
            count_entry(plan, slots, entries, slot, at, position, -1, 0)
    last = (chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT] - 1
    for at in range(position, last):
        for field in range(entries.shape[1]):
            entries[at, field] = entries[at + 1, field]
    for at in range(plan[PLAN_BEGIN, EDGES], plan[PLAN_END, EDGES]):
        field = plan[at, PLAN_EDGE_FIELD]
        stands = key[field + EDGE_POSITION]
        if stands == position:
            # The entry after it is the edge's now; within the chunk that one has moved down.
            stands = following if position == last else position
            key[field + EDGE_POSITION] = stands
            key[field + EDGE_TIME] = FOREVER if stands == END else entries[stands, 0]
        elif stands > position and stands >> CHUNK_SHIFT == chunk:
            key[field + EDGE_POSITION] = stands - 1
    recount(plan, chunks, entries, chunk, last - (chunk << CHUNK_SHIFT))
    key[SLOT_COUNT] -= 1
    aux[COUNTERS, COUNTER_ENTRIES] -= 1
    if chunks[chunk, CHUNK_COUNT] == 0:
        unlink(slots, chunks, aux, slot, chunk)
    newest = key[SLOT_LAST]
    key[SLOT_NEWEST] = NO_TIME
    if newest != END:
        key[SLOT_NEWEST] = entries[(newest << CHUNK_SHIFT) + chunks[newest, CHUNK_COUNT] - 1, 0]
    _note_oldest(slots, chunks, entries, slot)


@kernel
def evict(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    gone_us: int,
) -> None:
    """Drop front chunks whose entries no window can reach any more.

    gone_us  entries up to here are out of reach; ``since_last`` keeps its newest such entry
    """
    key = slots[slot]
    while key[SLOT_OLDEST] <= gone_us:
        following = chunks[key[SLOT_FIRST], CHUNK_NEXT]
        if plan[PLAN_NUMBERS, NUMBER_ANCHORED] and entries[following << CHUNK_SHIFT, 0] > gone_us:
            return
        _drop_first(plan, slots, chunks, entries, values, aux, slot)
        _note_oldest(slots, chunks, entries, slot)


@kernel
def release(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
) -> None:
    """Free a key's chunks and what it has in tallies; the key stays, its slot is not cleared."""
    forget_tallies(plan, slots, chunks, entries, values, aux, slot)
    chunk = slots[slot, SLOT_FIRST]
    while chunk != END:
        following = chunks[chunk, CHUNK_NEXT]
        free(chunks, aux, chunk)
        chunk = following
    aux[COUNTERS, COUNTER_ENTRIES] -= slots[slot, SLOT_COUNT]


@kernel
def _note_oldest(
    slots: NDArray[np.int64], chunks: NDArray[np.int64], entries: NDArray[np.int64], slot: int
) -> None:
    """Note the greatest time of a key's first chunk, if another follows it."""
    chunk = slots[slot, SLOT_FIRST]
    oldest = FOREVER
    if chunk != END and chunks[chunk, CHUNK_NEXT] != END:
        oldest = entries[(chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT] - 1, 0]
    slots[slot, SLOT_OLDEST] = oldest


@kernel
def _drop_first(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
) -> None:
    """Free the first chunk, which is not the last; edges standing in it move to the next."""
    key = slots[slot]
    chunk = key[SLOT_FIRST]
    following = chunks[chunk, CHUNK_NEXT]
    begin = following << CHUNK_SHIFT
    for at in range(plan[PLAN_BEGIN, EDGES], plan[PLAN_END, EDGES]):
        edge = plan[at]
        field = edge[PLAN_EDGE_FIELD]
        stands = key[field + EDGE_POSITION]
        if stands != END and stands >> CHUNK_SHIFT == chunk:
            # A reader far back stood here: what it had not passed yet is out of reach for good.
            pass_tallies(plan, slots, chunks, entries, values, aux, slot, at, stands, begin)
            size = edge[PLAN_EDGE_KEPT_END] - edge[PLAN_EDGE_KEPT]
            for word in range(EDGE_TOTALS, EDGE_TOTALS + size):
                key[field + word] = 0
            key[field + EDGE_POSITION] = begin
            key[field + EDGE_TIME] = entries[begin, 0]
            _forget_cached(plan, slots, slot)
        else:
            count_chunk(plan, slots, chunks, slot, at, chunk, -1)
    key[SLOT_COUNT] -= chunks[chunk, CHUNK_COUNT]
    aux[COUNTERS, COUNTER_ENTRIES] -= chunks[chunk, CHUNK_COUNT]
    key[SLOT_FIRST] = following
    chunks[following, CHUNK_PREVIOUS] = END
    free(chunks, aux, chunk)


@kernel
def _forget_cached(plan: NDArray[np.int64], slots: NDArray[np.int64], slot: int) -> None:
    """Have extremes and decays computed again when they are asked for."""
    key = slots[slot]
    for at in range(plan[PLAN_BEGIN, EXTREMES], plan[PLAN_END, EXTREMES]):
        key[plan[at, PLAN_EXTREME_FIELD]] = UNKNOWN
    for at in range(plan[PLAN_BEGIN, DECAYS], plan[PLAN_END, DECAYS]):
        key[plan[at, PLAN_DECAY_FIELD] + DECAY_STALE] = 1
