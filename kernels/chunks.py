"""Chunks of entries: a pool, and per key a linked list in order of (time, order of insertion).

A chunk of a list is never empty. The layout stands in ``layout``; a *position* is
``chunk * CHUNK + i``, or ``END``.

So that a key of a hundred thousand entries is searched in a few steps, each chunk also has a *jump*
to one further back, chosen when it is taken so that the jumps double in length as in E. W. Myers'
random-access stack (An applicative random-access stack, Inf. Proc. Letters 17 (1983) 241-248). A
chunk that was freed, and perhaps taken again, has a greater serial than those that jump to it: such
a jump is not followed, and costs time only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from noskew.kernels.jit import kernel
from noskew.kernels.layout import (
    BOUNDS,
    CHUNK_COUNT,
    CHUNK_DEPTH,
    CHUNK_JUMP,
    CHUNK_MASK,
    CHUNK_NEXT,
    CHUNK_OWNER,
    CHUNK_PREVIOUS,
    CHUNK_SERIAL,
    CHUNK_SHIFT,
    COUNTER_CHUNKS,
    COUNTER_FREE_CHUNK,
    COUNTER_FREED_CHUNKS,
    COUNTER_SERIAL,
    COUNTERS,
    END,
    FOREVER,
    LOWEST,
    NULL,
    PLAN_BEGIN,
    PLAN_BOUND_CHUNK,
    PLAN_BOUND_COLUMN,
    PLAN_END,
    PLAN_TOTAL_CHUNK,
    PLAN_TOTAL_COLUMN,
    PLAN_TOTAL_KIND,
    SLOT_COUNT,
    SLOT_FIRST,
    SLOT_LAST,
    SLOT_NEWEST,
    SQUARES_SHIFT,
    TOTAL_COUNT,
    TOTAL_SQUARES_LOW,
    TOTAL_SUM,
    TOTALS,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_LOW: Final = (1 << SQUARES_SHIFT) - 1


@kernel(inline=True)
def start_of(chunk: int) -> int:
    """Return the position of a chunk's first entry; ``END`` for no chunk."""
    return END if chunk == END else int(chunk << CHUNK_SHIFT)


@kernel(inline=True)
def next_of(chunks: NDArray[np.int64], position: int) -> int:
    """Return the position after ``position`` in its key's order."""
    chunk = position >> CHUNK_SHIFT
    if position + 1 < (chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT]:
        return position + 1
    return start_of(chunks[chunk, CHUNK_NEXT])


@kernel(inline=True)
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


@kernel(inline=True)
def upper_bound(
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    time_us: int,
) -> int:
    """Return the position of the first entry later than ``time_us``, or ``END``."""
    if slots[slot, SLOT_NEWEST] <= time_us or slots[slot, SLOT_LAST] == END:
        return END
    return _search(slots, chunks, entries, slot, time_us)


@kernel
def _search(
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    time_us: int,
) -> int:
    """Return what ``upper_bound`` does, of a key with a later entry."""
    chunk = slots[slot, SLOT_LAST]
    while entries[chunk << CHUNK_SHIFT, 0] > time_us and chunks[chunk, CHUNK_PREVIOUS] != END:
        jump = chunks[chunk, CHUNK_JUMP]
        valid = jump != END and chunks[jump, CHUNK_SERIAL] < chunks[chunk, CHUNK_SERIAL]
        if valid and entries[jump << CHUNK_SHIFT, 0] > time_us:
            chunk = jump
        else:
            chunk = chunks[chunk, CHUNK_PREVIOUS]
    first = chunk << CHUNK_SHIFT
    low = first
    end = first + chunks[chunk, CHUNK_COUNT]
    high = end
    while low < high:
        middle = (low + high) >> 1
        if entries[middle, 0] > time_us:
            high = middle
        else:
            low = middle + 1
    return start_of(chunks[chunk, CHUNK_NEXT]) if low == end else int(low)


@kernel
def greatest(
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    begin: int,
    end: int,
    column: int,
    field: int,
    sign: int,
) -> int:
    """Return the greatest ``sign * value`` of the entries in [begin, end), or ``LOWEST``.

    column  field of an entry;  field: of a chunk, with the bound: whole chunks cost one look
    """
    best = LOWEST
    while begin not in (end, END):
        chunk = begin >> CHUNK_SHIFT
        after = (chunk << CHUNK_SHIFT) + chunks[chunk, CHUNK_COUNT]
        inside = end != END and end >> CHUNK_SHIFT == chunk
        if not inside and begin & CHUNK_MASK == 0:
            best = max(best, sign * chunks[chunk, field])
        else:
            for at in range(begin, end if inside else after):
                value = entries[at, column]
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
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    after: int,
) -> int:
    """Take an empty chunk from the pool and put it after ``after`` (``END``: it is the first)."""
    counters = aux[COUNTERS]
    chunk = counters[COUNTER_FREE_CHUNK]
    if chunk != END:
        counters[COUNTER_FREE_CHUNK] = chunks[chunk, CHUNK_NEXT]
        counters[COUNTER_FREED_CHUNKS] -= 1
    else:
        chunk = counters[COUNTER_CHUNKS]
        counters[COUNTER_CHUNKS] = chunk + 1
    empty(plan, chunks, chunk)
    chunks[chunk, CHUNK_OWNER] = slot
    chunks[chunk, CHUNK_SERIAL] = counters[COUNTER_SERIAL]
    counters[COUNTER_SERIAL] += 1
    chunks[chunk, CHUNK_JUMP] = after
    chunks[chunk, CHUNK_DEPTH] = 0
    following = slots[slot, SLOT_FIRST]
    if after != END:
        _jump(chunks, chunk, after)
        following = chunks[after, CHUNK_NEXT]
        chunks[after, CHUNK_NEXT] = chunk
    else:
        slots[slot, SLOT_FIRST] = chunk
    chunks[chunk, CHUNK_PREVIOUS] = after
    chunks[chunk, CHUNK_NEXT] = following
    if following == END:
        slots[slot, SLOT_LAST] = chunk
    else:
        chunks[following, CHUNK_PREVIOUS] = chunk
    return int(chunk)


@kernel
def _jump(chunks: NDArray[np.int64], chunk: int, after: int) -> None:
    """Choose a new chunk's jump: past two equal ones, else to the chunk before it."""
    depth = chunks[after, CHUNK_DEPTH]
    chunks[chunk, CHUNK_DEPTH] = depth + 1
    middle = chunks[after, CHUNK_JUMP]
    if middle == END or chunks[middle, CHUNK_SERIAL] >= chunks[after, CHUNK_SERIAL]:
        return
    far = chunks[middle, CHUNK_JUMP]
    if far == END or chunks[far, CHUNK_SERIAL] >= chunks[middle, CHUNK_SERIAL]:
        return
    if (
        depth - chunks[middle, CHUNK_DEPTH]
        == chunks[middle, CHUNK_DEPTH] - chunks[far, CHUNK_DEPTH]
    ):
        chunks[chunk, CHUNK_JUMP] = far


@kernel(inline=True)
def share_of(kind: int, column: int, entries: NDArray[np.int64], position: int) -> int:
    """Return what an entry adds to a total; ``column`` is a field of the entry, or -1."""
    if column < 0:
        return 1
    value = entries[position, column]
    if value == NULL:
        return 0
    if kind == TOTAL_SUM:
        return int(value)
    return 1 if kind == TOTAL_COUNT else _square(kind, value)


@kernel
def _square(kind: int, value: int) -> int:
    """Return the high or low word of a square: x = a 2^20 + b, each word within 2^40 in size."""
    high = abs(value) >> 20
    low = abs(value) & 0xFFFFF
    middle = 2 * high * low
    below = ((middle & 0xFFFFF) << 20) + low * low
    if kind == TOTAL_SQUARES_LOW:
        return int(below & _LOW)
    return int(high * high + (middle >> 20) + (below >> SQUARES_SHIFT))


@kernel(inline=True)
def account(
    plan: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    chunk: int,
    position: int,
) -> None:
    """Add the entry at ``position`` to its chunk's totals and bounds."""
    chunks[chunk, CHUNK_COUNT] += 1
    for at in range(plan[PLAN_BEGIN, TOTALS], plan[PLAN_END, TOTALS]):
        total = plan[at]
        chunks[chunk, total[PLAN_TOTAL_CHUNK]] += share_of(
            total[PLAN_TOTAL_KIND],
            total[PLAN_TOTAL_COLUMN],
            entries,
            position,
        )
    for at in range(plan[PLAN_BEGIN, BOUNDS], plan[PLAN_END, BOUNDS]):
        bound = plan[at]
        value = entries[position, bound[PLAN_BOUND_COLUMN]]
        if value != NULL:
            field = bound[PLAN_BOUND_CHUNK]
            chunks[chunk, field] = min(chunks[chunk, field], value)
            chunks[chunk, field + 1] = max(chunks[chunk, field + 1], value)


@kernel
def recount(
    plan: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    chunk: int,
    count: int,
) -> None:
    """Make a chunk's totals and bounds those of its first ``count`` entries."""
    empty(plan, chunks, chunk)
    for at in range(chunk << CHUNK_SHIFT, (chunk << CHUNK_SHIFT) + count):
        account(plan, chunks, entries, chunk, at)


@kernel
def empty(plan: NDArray[np.int64], chunks: NDArray[np.int64], chunk: int) -> None:
    """Make a chunk's count, totals and bounds those of no entries."""
    row = chunks[chunk]
    row[CHUNK_COUNT] = 0
    for at in range(plan[PLAN_BEGIN, TOTALS], plan[PLAN_END, TOTALS]):
        row[plan[at, PLAN_TOTAL_CHUNK]] = 0
    for at in range(plan[PLAN_BEGIN, BOUNDS], plan[PLAN_END, BOUNDS]):
        row[plan[at, PLAN_BOUND_CHUNK]] = -LOWEST
        row[plan[at, PLAN_BOUND_CHUNK] + 1] = LOWEST


@kernel
def unlink(
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    chunk: int,
) -> None:
    """Take an empty chunk out of its key's list and give it back."""
    before, after = chunks[chunk, CHUNK_PREVIOUS], chunks[chunk, CHUNK_NEXT]
    if before == END:
        slots[slot, SLOT_FIRST] = after
    else:
        chunks[before, CHUNK_NEXT] = after
    if after == END:
        slots[slot, SLOT_LAST] = before
    else:
        chunks[after, CHUNK_PREVIOUS] = before
    free(chunks, aux, chunk)


@kernel
def free(chunks: NDArray[np.int64], aux: NDArray[np.int64], chunk: int) -> None:
    """Give a chunk back to the pool; no jump to it is valid any more."""
    counters = aux[COUNTERS]
    chunks[chunk, CHUNK_SERIAL] = FOREVER
    chunks[chunk, CHUNK_OWNER] = END
    chunks[chunk, CHUNK_NEXT] = counters[COUNTER_FREE_CHUNK]
    counters[COUNTER_FREE_CHUNK] = chunk
    counters[COUNTER_FREED_CHUNKS] += 1
