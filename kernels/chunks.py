"""Chunks of entries: a pool, and per key a linked list in order of (time, order of insertion).

A chunk of a list is never empty. The layout stands in ``layout``; a *position* is
``chunk * CHUNK + i``, or ``END``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels.jit import (
    kernel,
)
from noskew.kernels.layout import (
    CHUNK_COLUMNS,
    CHUNK_COUNT,
    CHUNK_MASK,
    CHUNK_NEXT,
    CHUNK_PREVIOUS,
    CHUNK_SHIFT,
    COUNTER_CHUNKS,
    COUNTER_FREE_CHUNK,
    COUNTER_FREED_CHUNKS,
    END,
    LOWEST,
    NULL,
    SLOT_COUNT,
    SLOT_FIRST,
    SLOT_LAST,
    SLOT_NEWEST,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel
def previous(slots: NDArray[np.int64], chunks: NDArray[np.int64], slot: int, position: int) -> int:
    """Return the position of the entry before ``position``, or ``END`` if there is none."""
    if position == END:
        chunk = slots[slot, SLOT_LAST]
    elif position & CHUNK_MASK:
        return position - 1
    else:
        chunk = chunks[position >> CHUNK_SHIFT, CHUNK_PREVIOUS]
    if chunk == END:
        return END
    return int((chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT] - 1)


@kernel
def start_of(chunk: int) -> int:
    """Return the position of a chunk's first entry; ``END`` for no chunk."""
    return END if chunk == END else int(chunk << CHUNK_SHIFT)


@kernel
def upper_bound(
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    time_us: int,
) -> int:
    """Return the position of the first entry later than ``time_us``, or ``END``."""
    chunk = slots[slot, SLOT_LAST]
    if chunk == END or slots[slot, SLOT_NEWEST] <= time_us:
        return END
    while entries[chunk << CHUNK_SHIFT, 0] > time_us and chunks[chunk, CHUNK_PREVIOUS] != END:
        chunk = chunks[chunk, CHUNK_PREVIOUS]
    first = chunk << CHUNK_SHIFT
    low = first
    high = first + chunks[chunk, CHUNK_COUNT]
    while low < high:
        middle = (low + high) >> 1
        if entries[middle, 0] > time_us:
            high = middle
        else:
            low = middle + 1
    if low == first + chunks[chunk, CHUNK_COUNT]:
        return int(chunks[chunk, CHUNK_NEXT] << CHUNK_SHIFT)
    return int(low)


@kernel
def greatest(
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    begin: int,
    end: int,
    column: int,
    sign: int,
    enough: int,
) -> int:
    """Return the greatest ``sign * value`` of the entries in [begin, end), or ``LOWEST``.

    Whole chunks cost one look. The search may stop at the first value >= ``enough``.
    """
    best = LOWEST
    field = CHUNK_COLUMNS + 4 * column + (3 if sign > 0 else 2)
    while begin != end and best < enough:
        chunk = begin >> CHUNK_SHIFT
        after = (chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT]
        inside = end != END and end >> CHUNK_SHIFT == chunk
        if not inside and begin & CHUNK_MASK == 0:
            best = max(best, sign * chunks[chunk, field])
        else:
            for at in range(begin, end if inside else after):
                value = entries[at, 1 + column]
                if value != NULL:
                    best = max(best, sign * value)
        begin = end if inside else start_of(chunks[chunk, CHUNK_NEXT])
    return int(best)


@kernel
def held_after(
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    time_us: int,
) -> int:
    """Return how many of a key's entries are later than ``time_us``: O(chunks that are not)."""
    held = slots[slot, SLOT_COUNT]
    chunk = slots[slot, SLOT_FIRST]
    while chunk != END and entries[chunk << CHUNK_SHIFT, 0] <= time_us:
        first = chunk << CHUNK_SHIFT
        for at in range(first, first + chunks[chunk, CHUNK_COUNT]):
            if entries[at, 0] <= time_us:
                held -= 1
        chunk = chunks[chunk, CHUNK_NEXT]
    return int(held)


@kernel
def link(
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    counters: NDArray[np.int64],
    slot: int,
    after: int,
) -> int:
    """Take an empty chunk from the pool and put it after ``after`` (``END``: it is the first)."""
    chunk = counters[COUNTER_FREE_CHUNK]
    if chunk != END:
        counters[COUNTER_FREE_CHUNK] = chunks[chunk, CHUNK_NEXT]
        counters[COUNTER_FREED_CHUNKS] -= 1
    else:
        chunk = counters[COUNTER_CHUNKS]
        counters[COUNTER_CHUNKS] = chunk + 1
    empty(chunks, chunk)
    following = END if after == END else chunks[after, CHUNK_NEXT]
    chunks[chunk, CHUNK_PREVIOUS] = after
    chunks[chunk, CHUNK_NEXT] = following
    if after == END:
        slots[slot, SLOT_FIRST] = chunk
    else:
        chunks[after, CHUNK_NEXT] = chunk
    if following == END:
        slots[slot, SLOT_LAST] = chunk
    else:
        chunks[following, CHUNK_PREVIOUS] = chunk
    return int(chunk)


@kernel
def account(
    chunks: NDArray[np.int64], entries: NDArray[np.int64], chunk: int, position: int
) -> None:
    """Add the entry at ``position`` to its chunk's totals."""
    chunks[chunk, CHUNK_COUNT] += 1
    for column in range(entries.shape[1] - 1):
        value = entries[position, 1 + column]
        if value != NULL:
            part = CHUNK_COLUMNS + 4 * column
            chunks[chunk, part] += value
            chunks[chunk, part + 1] += 1
            chunks[chunk, part + 2] = min(chunks[chunk, part + 2], value)
            chunks[chunk, part + 3] = max(chunks[chunk, part + 3], value)


@kernel
def empty(chunks: NDArray[np.int64], chunk: int) -> None:
    """Make a chunk's count and totals those of no entries."""
    chunks[chunk, CHUNK_COUNT] = 0
    for column in range((chunks.shape[1] - CHUNK_COLUMNS) // 4):
        part = CHUNK_COLUMNS + 4 * column
        chunks[chunk, part] = 0
        chunks[chunk, part + 1] = 0
        chunks[chunk, part + 2] = -LOWEST
        chunks[chunk, part + 3] = LOWEST


@kernel
def free(chunks: NDArray[np.int64], counters: NDArray[np.int64], chunk: int) -> None:
    """Give a chunk back to the pool."""
    chunks[chunk, CHUNK_NEXT] = counters[COUNTER_FREE_CHUNK]
    counters[COUNTER_FREE_CHUNK] = chunk
    counters[COUNTER_FREED_CHUNKS] += 1
