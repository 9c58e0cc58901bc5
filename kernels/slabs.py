"""Entries of a key in pooled chunks, ordered by (time, order of insertion), and their edges.

The layout stands in ``layout``. What holds between any two calls, for every key:

* entries are sorted; a chunk of a chain is never empty, and only appending makes full ones;
* an edge stands before the first held entry with ``time > limit`` (``END`` if there is none) and
  its totals are those of all held entries before it, where ``limit`` is the slot's as-of time
  (low edges: its ``max(T, H)``) less the edge's offset;
* a cached extreme is that of the entries between its window's edges, or ``UNKNOWN``.

Totals are relative to the oldest held entry, so they stay below 2^62 and nothing wraps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels.chunks import (
    account,
    empty,
    free,
    link,
    previous,
    start_of,
    upper_bound,
)
from noskew.kernels.jit import (
    kernel,
)
from noskew.kernels.keys import (
    clear,
)
from noskew.kernels.layout import (
    CHUNK,
    CHUNK_COLUMNS,
    CHUNK_COUNT,
    CHUNK_MASK,
    CHUNK_NEXT,
    CHUNK_PREVIOUS,
    CHUNK_SHIFT,
    COUNTER_ENTRIES,
    EDGE_COUNT,
    END,
    NULL,
    PLAN_COLUMN_OWN,
    PLAN_COLUMN_SUM,
    PLAN_COLUMN_VALUES,
    PLAN_EXTREME_COLUMN,
    PLAN_EXTREME_HIGH,
    PLAN_EXTREME_LOW,
    PLAN_EXTREME_SIGN,
    PLAN_FIELD,
    PLAN_LOW,
    PLAN_OFFSET,
    SLOT_AS_OF,
    SLOT_COUNT,
    SLOT_FIRST,
    SLOT_LAST,
    SLOT_NEWEST,
    SLOT_REACHED,
    UNKNOWN,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel
def insert(
    edges: NDArray[np.int64],
    columns: NDArray[np.int64],
    extremes: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    counters: NDArray[np.int64],
    slot: int,
    time_us: int,
    values: NDArray[np.int64],
    row: int,
) -> None:
    """Insert an entry after all entries of its time or earlier, and repair the key's edges.

    values  int64[columns, n], of which column ``row`` is taken. One free chunk must be there.
    """
    position = upper_bound(slots, chunks, entries, slot, time_us)
    if position == END:
        chunk = slots[slot, SLOT_LAST]
        if chunk == END or chunks[chunk, CHUNK_COUNT] == CHUNK:
            chunk = link(slots, chunks, counters, slot, chunk)
        position = (chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT]
        slots[slot, SLOT_NEWEST] = time_us
    else:
        chunk = position >> CHUNK_SHIFT
        if chunks[chunk, CHUNK_COUNT] == CHUNK:
            position = _split(edges, slots, chunks, entries, counters, slot, position)
            chunk = position >> CHUNK_SHIFT
        for at in range((chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT], position, -1):
            for field in range(entries.shape[1]):
                entries[at, field] = entries[at - 1, field]
    entries[position, 0] = time_us
    for column in range(values.shape[0]):
        entries[position, 1 + column] = values[column, row]
    account(chunks, entries, chunk, position)
    slots[slot, SLOT_COUNT] += 1
    counters[COUNTER_ENTRIES] += 1
    _repair(edges, columns, extremes, slots, entries, slot, position)


@kernel
def limit_of(edges: NDArray[np.int64], edge: int, as_of_us: int, reached_us: int) -> int:
    """Return the greatest time that lies before an edge, given T and max(T, H)."""
    if edges[edge, PLAN_LOW]:
        return int(reached_us - edges[edge, PLAN_OFFSET])
    return int(as_of_us - edges[edge, PLAN_OFFSET])


@kernel
def move_edge(
    edges: NDArray[np.int64],
    columns: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    edge: int,
    old_us: int,
    limit_us: int,
) -> None:
    """Move an edge from its limit ``old_us`` to ``limit_us``, in either direction."""
    field = edges[edge, PLAN_FIELD]
    position = slots[slot, field]
    if limit_us >= old_us:
        while position != END and entries[position, 0] <= limit_us:
            chunk = position >> CHUNK_SHIFT
            after = (chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT]
            if position & CHUNK_MASK == 0 and entries[after - 1, 0] <= limit_us:
                _count_chunk(columns, slots, chunks, slot, field, chunk, 1)
                position = after
            else:
                _count_entry(columns, slots, entries, slot, field, position, 1)
                position += 1
            if position == after:
                position = start_of(chunks[chunk, CHUNK_NEXT])
    else:
        before = previous(slots, chunks, slot, position)
        while before != END and entries[before, 0] > limit_us:
            chunk = before >> CHUNK_SHIFT
            first = chunk << CHUNK_SHIFT
            if before == first + chunks[chunk, CHUNK_COUNT] - 1 and entries[first, 0] > limit_us:
                _count_chunk(columns, slots, chunks, slot, field, chunk, -1)
                position = first
            else:
                _count_entry(columns, slots, entries, slot, field, before, -1)
                position = before
            before = previous(slots, chunks, slot, position)
    slots[slot, field] = position


@kernel
def evict(
    edges: NDArray[np.int64],
    columns: NDArray[np.int64],
    extremes: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    counters: NDArray[np.int64],
    slot: int,
    horizon_us: int,
    reach_us: int,
    anchored: int,
) -> None:
    """Drop front chunks that no window can reach; ``since_last`` keeps its newest such entry."""
    chunk = slots[slot, SLOT_FIRST]
    while chunk != END:
        following = chunks[chunk, CHUNK_NEXT]
        newest = entries[(chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT] - 1, 0]
        if following == END or newest > horizon_us - reach_us:
            return
        if anchored and entries[following << CHUNK_SHIFT, 0] > horizon_us:
            return
        _drop_first(edges, columns, extremes, slots, chunks, counters, slot)
        chunk = following


@kernel
def release(
    edges: NDArray[np.int64],
    extremes: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    counters: NDArray[np.int64],
    slot: int,
) -> None:
    """Free all chunks of a key and make its slot empty; the key stays."""
    chunk = slots[slot, SLOT_FIRST]
    while chunk != END:
        following = chunks[chunk, CHUNK_NEXT]
        free(chunks, counters, chunk)
        chunk = following
    counters[COUNTER_ENTRIES] -= slots[slot, SLOT_COUNT]
    clear(edges, extremes, slots, slot)


@kernel
def _repair(
    edges: NDArray[np.int64],
    columns: NDArray[np.int64],
    extremes: NDArray[np.int64],
    slots: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    position: int,
) -> None:
    """Account a new entry at ``position`` in the key's edges and cached extremes."""
    time_us = entries[position, 0]
    as_of = slots[slot, SLOT_AS_OF]
    reached = slots[slot, SLOT_REACHED]
    chunk = position >> CHUNK_SHIFT
    for edge in range(edges.shape[0]):
        field = edges[edge, PLAN_FIELD]
        at = slots[slot, field]
        if time_us <= limit_of(edges, edge, as_of, reached):
            _count_entry(columns, slots, entries, slot, field, position, 1)
            # The entry the edge stands at moved up by one if it is in this chunk.
            if at >= position and at >> CHUNK_SHIFT == chunk:
                slots[slot, field] = at + 1
        elif at == END:
            slots[slot, field] = position
    for extreme in range(extremes.shape[0]):
        low = limit_of(edges, extremes[extreme, PLAN_EXTREME_LOW], as_of, reached)
        high = limit_of(edges, extremes[extreme, PLAN_EXTREME_HIGH], as_of, reached)
        value = entries[position, 1 + extremes[extreme, PLAN_EXTREME_COLUMN]]
        if low < time_us <= high and value != NULL:
            field = extremes[extreme, PLAN_FIELD]
            slots[slot, field] = max(
                slots[slot, field], extremes[extreme, PLAN_EXTREME_SIGN] * value
            )


@kernel
def _count_entry(
    columns: NDArray[np.int64],
    slots: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    field: int,
    position: int,
    sign: int,
) -> None:
    slots[slot, field + EDGE_COUNT] += sign
    for column in range(columns.shape[0]):
        value = entries[position, 1 + column]
        if value != NULL:
            slots[slot, field + columns[column, PLAN_COLUMN_SUM]] += sign * value
            if columns[column, PLAN_COLUMN_OWN]:
                slots[slot, field + columns[column, PLAN_COLUMN_VALUES]] += sign


@kernel
def _count_chunk(
    columns: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    slot: int,
    field: int,
    chunk: int,
    sign: int,
) -> None:
    slots[slot, field + EDGE_COUNT] += sign * chunks[chunk, CHUNK_COUNT]
    for column in range(columns.shape[0]):
        part = CHUNK_COLUMNS + 4 * column
        slots[slot, field + columns[column, PLAN_COLUMN_SUM]] += sign * chunks[chunk, part]
        if columns[column, PLAN_COLUMN_OWN]:
            slots[slot, field + columns[column, PLAN_COLUMN_VALUES]] += (
                sign * chunks[chunk, part + 1]
            )


@kernel
def _split(
    edges: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    counters: NDArray[np.int64],
    slot: int,
    position: int,
) -> int:
    """Move the later half of a full chunk to a new one; return where ``position`` is now."""
    chunk = position >> CHUNK_SHIFT
    half = (chunk << CHUNK_SHIFT) + CHUNK // 2
    added = link(slots, chunks, counters, slot, chunk)
    shift = (added << CHUNK_SHIFT) - half
    empty(chunks, chunk)
    for at in range(chunk << CHUNK_SHIFT, half):
        account(chunks, entries, chunk, at)
    for at in range(half, half + CHUNK // 2):
        for field in range(entries.shape[1]):
            entries[at + shift, field] = entries[at, field]
        account(chunks, entries, added, at + shift)
    for edge in range(edges.shape[0]):
        field = edges[edge, PLAN_FIELD]
        at = slots[slot, field]
        if at >= half and at >> CHUNK_SHIFT == chunk:
            slots[slot, field] = at + shift
    return position + shift if position >= half else position


@kernel
def _drop_first(
    edges: NDArray[np.int64],
    columns: NDArray[np.int64],
    extremes: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    counters: NDArray[np.int64],
    slot: int,
) -> None:
    """Free the first chunk, which is not the last; edges standing in it move to the next."""
    chunk = slots[slot, SLOT_FIRST]
    following = chunks[chunk, CHUNK_NEXT]
    passed = False
    for edge in range(edges.shape[0]):
        field = edges[edge, PLAN_FIELD]
        at = slots[slot, field]
        if at != END and at >> CHUNK_SHIFT == chunk:
            passed = True
            slots[slot, field] = following << CHUNK_SHIFT
            slots[slot, field + EDGE_COUNT] = 0
            for column in range(columns.shape[0]):
                slots[slot, field + columns[column, PLAN_COLUMN_SUM]] = 0
                slots[slot, field + columns[column, PLAN_COLUMN_VALUES]] = 0
        else:
            _count_chunk(columns, slots, chunks, slot, field, chunk, -1)
    if passed:
        for extreme in range(extremes.shape[0]):
            slots[slot, extremes[extreme, PLAN_FIELD]] = UNKNOWN
    slots[slot, SLOT_FIRST] = following
    chunks[following, CHUNK_PREVIOUS] = END
    slots[slot, SLOT_COUNT] -= chunks[chunk, CHUNK_COUNT]
    counters[COUNTER_ENTRIES] -= chunks[chunk, CHUNK_COUNT]
    free(chunks, counters, chunk)
