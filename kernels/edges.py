"""Edges: where a window's ends stand among a key's entries, with the totals of all before them.

What holds between any two calls, for every key: an edge stands before the first held entry later
than its limit (``END`` if there is none), ``EDGE_TIME`` is that entry's time, and the edge's totals
are those of all held entries before it. Totals count from the oldest held entry, so they stay
below 2^62 and nothing wraps. What a fold edge has passed is also *frozen*, in two words of base
2^40 that nothing takes out again.

An edge that passes an entry also tells the extremes it bounds: what enters can only raise one; if
something leaves that is as great, it is ``UNKNOWN`` until it is searched again. That is rare,
because the greatest of n members leaves about once in n moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from noskew.kernels.chunks import previous, share_of, start_of
from noskew.kernels.jit import kernel
from noskew.kernels.layout import (
    CHUNK_COUNT,
    CHUNK_MASK,
    CHUNK_NEXT,
    CHUNK_SHIFT,
    EDGE_FOLD,
    EDGE_LOW,
    EDGE_POSITION,
    EDGE_TIME,
    EDGE_TOTALS,
    END,
    FOLD_TOTALS,
    FOLD_WORDS,
    FOREVER,
    LIMITS,
    NO_TIME,
    NULL,
    PLAN_EDGE_EXTRA,
    PLAN_EDGE_FIELD,
    PLAN_EDGE_KEPT,
    PLAN_EDGE_KEPT_END,
    PLAN_EDGE_KIND,
    PLAN_EDGE_OFFSET,
    PLAN_EDGE_RESOLUTION,
    PLAN_EDGE_WATCHED,
    PLAN_EDGE_WATCHED_END,
    PLAN_EXTREME_CHUNK,
    PLAN_EXTREME_COLUMN,
    PLAN_EXTREME_FIELD,
    PLAN_EXTREME_HIGH,
    PLAN_EXTREME_SIGN,
    PLAN_TOTAL_CHUNK,
    PLAN_TOTAL_COLUMN,
    PLAN_TOTAL_KIND,
    SQUARES_SHIFT,
    UNKNOWN,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


WORD_SHIFT: Final = SQUARES_SHIFT
WORD_LOW: Final = (1 << WORD_SHIFT) - 1
"""A frozen number is ``high * 2^40 + low``, 0 <= low < 2^40."""


@kernel(inline=True)
def limit_of(edge: NDArray[np.int64], as_of_us: int, reached_us: int, fold_us: int) -> int:
    """Return the greatest time that lies before an edge, given T, max(T, H) and F."""
    kind = edge[PLAN_EDGE_KIND]
    if kind == EDGE_LOW:
        if reached_us <= NO_TIME:
            return NO_TIME
        limit = reached_us - edge[PLAN_EDGE_OFFSET]
        if edge[PLAN_EDGE_RESOLUTION] > 0:
            limit = limit // edge[PLAN_EDGE_RESOLUTION] * edge[PLAN_EDGE_RESOLUTION]
        return int(limit - edge[PLAN_EDGE_EXTRA])
    base = fold_us if kind == EDGE_FOLD else as_of_us
    return NO_TIME if base <= NO_TIME else int(base - edge[PLAN_EDGE_OFFSET])


@kernel(inline=True)
def go_on(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    at: int,
    limit_us: int,
) -> None:
    """Move edge ``at`` forward to a new limit, which the entry it stands at does not exceed."""
    edge, key = plan[at], slots[slot]
    field = edge[PLAN_EDGE_FIELD]
    position = key[field + EDGE_POSITION]
    time_us = key[field + EDGE_TIME]
    while time_us <= limit_us:
        chunk = position >> CHUNK_SHIFT
        after = (chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT]
        if position & CHUNK_MASK == 0 and entries[after - 1, 0] <= limit_us:
            count_chunk(plan, slots, chunks, slot, at, chunk, 1)
            _tell_chunk(plan, slots, chunks, slot, edge, chunk, 1)
            position = after
        else:
            count_entry(plan, slots, entries, slot, at, position, 1, 1)
            _tell(plan, slots, entries, aux, slot, edge, position, 1)
            position += 1
        if position == after:
            position = start_of(chunks[chunk, CHUNK_NEXT])
        time_us = FOREVER if position == END else entries[position, 0]
    key[field + EDGE_POSITION] = position
    key[field + EDGE_TIME] = time_us


@kernel
def go_back(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    at: int,
    limit_us: int,
) -> None:
    """Move edge ``at`` back to an earlier limit."""
    edge, key = plan[at], slots[slot]
    field = edge[PLAN_EDGE_FIELD]
    position = key[field + EDGE_POSITION]
    before = previous(slots, chunks, slot, position)
    while before != END and entries[before, 0] > limit_us:
        chunk = before >> CHUNK_SHIFT
        first = chunk << CHUNK_SHIFT
        if before == first + chunks[chunk, CHUNK_COUNT] - 1 and entries[first, 0] > limit_us:
            count_chunk(plan, slots, chunks, slot, at, chunk, -1)
            _tell_chunk(plan, slots, chunks, slot, edge, chunk, -1)
            position = first
        else:
            count_entry(plan, slots, entries, slot, at, before, -1, 0)
            _tell(plan, slots, entries, aux, slot, edge, before, -1)
            position = before
        before = previous(slots, chunks, slot, position)
    key[field + EDGE_POSITION] = position
    key[field + EDGE_TIME] = FOREVER if position == END else entries[position, 0]


@kernel(inline=True)
def _tell(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    entries: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    edge: NDArray[np.int64],
    position: int,
    sign: int,
) -> None:
    """Tell the extremes that an edge bounds of an entry it passes, forward (1) or back (-1)."""
    key = slots[slot]
    for place in range(edge[PLAN_EDGE_WATCHED], edge[PLAN_EDGE_WATCHED_END]):
        extreme = plan[plan[place, 0]]
        value = entries[position, extreme[PLAN_EXTREME_COLUMN]]
        if value == NULL:
            continue
        signed = extreme[PLAN_EXTREME_SIGN] * value
        field = extreme[PLAN_EXTREME_FIELD]
        low = plan[place, 1]
        if low == (sign > 0):
            if signed >= key[field]:
                key[field] = UNKNOWN
        elif low and entries[position, 0] > aux[LIMITS, extreme[PLAN_EXTREME_HIGH]]:
            # Not entered: the new end has gone back beyond it too.
            key[field] = UNKNOWN
        else:
            key[field] = max(key[field], signed)


@kernel(inline=True)
def _tell_chunk(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    slot: int,
    edge: NDArray[np.int64],
    chunk: int,
    sign: int,
) -> None:
    """Tell the extremes that an edge bounds of a whole chunk it passes."""
    key = slots[slot]
    for place in range(edge[PLAN_EDGE_WATCHED], edge[PLAN_EDGE_WATCHED_END]):
        extreme = plan[plan[place, 0]]
        signed = extreme[PLAN_EXTREME_SIGN] * chunks[chunk, extreme[PLAN_EXTREME_CHUNK]]
        field = extreme[PLAN_EXTREME_FIELD]
        low = plan[place, 1]
        if low == (sign > 0):
            if signed >= key[field]:
                key[field] = UNKNOWN
        elif low:
            key[field] = UNKNOWN
        else:
            key[field] = max(key[field], signed)


@kernel(inline=True)
def count_entry(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    at: int,
    position: int,
    sign: int,
    freeze: int,
) -> None:
    """Add an entry to (``sign`` 1) or take it from (-1) an edge's totals.

    freeze  1: of a fold edge, also add it to what is frozen
    """
    edge, key = plan[at], slots[slot]
    fold = edge[PLAN_EDGE_KIND] == EDGE_FOLD
    field = edge[PLAN_EDGE_FIELD] + (FOLD_TOTALS if fold else EDGE_TOTALS)
    for place in range(edge[PLAN_EDGE_KEPT], edge[PLAN_EDGE_KEPT_END]):
        total = plan[place]
        value = share_of(
            total[PLAN_TOTAL_KIND],
            total[PLAN_TOTAL_COLUMN],
            entries,
            position,
        )
        key[field] += sign * value
        if fold:
            if freeze:
                _freeze(key, field, value)
            field += FOLD_WORDS
        else:
            field += 1


@kernel(inline=True)
def count_chunk(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    slot: int,
    at: int,
    chunk: int,
    sign: int,
) -> None:
    """Add a whole chunk to (1) or take it from (-1) an edge's totals.

    Of a fold edge what is added is frozen; a chunk is only taken away when it is dropped.
    """
    edge, key = plan[at], slots[slot]
    fold = edge[PLAN_EDGE_KIND] == EDGE_FOLD
    field = edge[PLAN_EDGE_FIELD] + (FOLD_TOTALS if fold else EDGE_TOTALS)
    for place in range(edge[PLAN_EDGE_KEPT], edge[PLAN_EDGE_KEPT_END]):
        value = chunks[chunk, plan[place, PLAN_TOTAL_CHUNK]]
        key[field] += sign * value
        if fold:
            if sign > 0:
                _freeze(key, field, value)
            field += FOLD_WORDS
        else:
            field += 1


@kernel(inline=True)
def _freeze(key: NDArray[np.int64], field: int, value: int) -> None:
    low = key[field + 2] + (value & WORD_LOW)
    key[field + 1] += (value >> WORD_SHIFT) + (low >> WORD_SHIFT)
    key[field + 2] = low & WORD_LOW
