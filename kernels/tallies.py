"""Tallies of ``distinct``: per window of a key, how often each value lies between its edges.

For all of history a tally never takes out what is folded. Values are counted in the multiset of
``values``, see ``owner_of``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels import values as multiset
from noskew.kernels.chunks import next_of
from noskew.kernels.edges import limit_of
from noskew.kernels.jit import kernel
from noskew.kernels.layout import (
    CHUNK_COUNT,
    CHUNK_NEXT,
    CHUNK_SHIFT,
    COUNTERS,
    EDGE_FOLD,
    EDGE_POSITION,
    END,
    NULL,
    PASSED,
    PLAN_BEGIN,
    PLAN_EDGE_FIELD,
    PLAN_EDGE_KIND,
    PLAN_END,
    PLAN_TALLY_COLUMN,
    PLAN_TALLY_FIELD,
    PLAN_TALLY_HIGH,
    PLAN_TALLY_LOW,
    SLOT_AS_OF,
    SLOT_FIRST,
    SLOT_FOLD,
    SLOT_REACHED,
    TALLIES,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel(inline=True)
def owner_of(plan: NDArray[np.int64], slot: int, place: int) -> int:
    """Return whose values a key's tally counts; ``place``: the tally's row of the plan."""
    first = plan[PLAN_BEGIN, TALLIES]
    return int(slot * (plan[PLAN_END, TALLIES] - first) + place - first)


@kernel
def count_range(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    place: int,
    begin: int,
    end: int,
    sign: int,
) -> None:
    """Count the values of the entries in [begin, end) in (1) or out of (-1) a tally."""
    tally = plan[place]
    owner = owner_of(plan, slot, place)
    change = 0
    while begin not in (end, END):
        value = entries[begin, tally[PLAN_TALLY_COLUMN]]
        if value != NULL:
            change += multiset.change(values, aux[COUNTERS], owner, value, sign)
        begin = next_of(chunks, begin)
    slots[slot, tally[PLAN_TALLY_FIELD]] += change


@kernel
def stand_tallies(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    on: int,
    further: int,
) -> None:
    """Count what the edges have passed since ``aux[PASSED]``, in either direction.

    on, further  1 where the high (low) edges moved forward, or not at all
    """
    for place in range(plan[PLAN_BEGIN, TALLIES], plan[PLAN_END, TALLIES]):
        _stand(
            plan,
            slots,
            chunks,
            entries,
            values,
            aux,
            slot,
            place,
            plan[place, PLAN_TALLY_HIGH],
            on,
            1,
        )
        low = plan[place, PLAN_TALLY_LOW]
        if plan[low, PLAN_EDGE_KIND] != EDGE_FOLD:
            _stand(plan, slots, chunks, entries, values, aux, slot, place, low, further, -1)


@kernel
def _stand(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    place: int,
    edge: int,
    on: int,
    sign: int,
) -> None:
    now = slots[slot, plan[edge, PLAN_EDGE_FIELD] + EDGE_POSITION]
    was = aux[PASSED, edge]
    if on:
        count_range(plan, slots, chunks, entries, values, aux, slot, place, was, now, sign)
    else:
        count_range(plan, slots, chunks, entries, values, aux, slot, place, now, was, -sign)


@kernel
def pass_tallies(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    edge: int,
    begin: int,
    end: int,
) -> None:
    """Count the entries in [begin, end) as passed by an edge."""
    for place in range(plan[PLAN_BEGIN, TALLIES], plan[PLAN_END, TALLIES]):
        tally = plan[place]
        if tally[PLAN_TALLY_HIGH] == edge:
            count_range(plan, slots, chunks, entries, values, aux, slot, place, begin, end, 1)
        if tally[PLAN_TALLY_LOW] == edge and plan[edge, PLAN_EDGE_KIND] != EDGE_FOLD:
            count_range(plan, slots, chunks, entries, values, aux, slot, place, begin, end, -1)


@kernel
def repair_tallies(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    position: int,
) -> None:
    """Count a new entry in the tallies whose window it is in."""
    key = slots[slot]
    time_us = entries[position, 0]
    as_of, reached, line = key[SLOT_AS_OF], key[SLOT_REACHED], key[SLOT_FOLD]
    following = next_of(chunks, position)
    for place in range(plan[PLAN_BEGIN, TALLIES], plan[PLAN_END, TALLIES]):
        tally = plan[place]
        low, high = plan[tally[PLAN_TALLY_LOW]], plan[tally[PLAN_TALLY_HIGH]]
        if time_us <= limit_of(high, as_of, reached, line):
            count_range(
                plan, slots, chunks, entries, values, aux, slot, place, position, following, 1
            )
        # An end of all of history takes nothing out.
        below = time_us <= limit_of(low, as_of, reached, line)
        if low[PLAN_EDGE_KIND] != EDGE_FOLD and below:
            count_range(
                plan, slots, chunks, entries, values, aux, slot, place, position, following, -1
            )


@kernel
def take_from_tallies(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    position: int,
) -> None:
    """Undo what an entry that goes counts for, except where it is folded."""
    key = slots[slot]
    time_us = entries[position, 0]
    as_of, reached, line = key[SLOT_AS_OF], key[SLOT_REACHED], key[SLOT_FOLD]
    following = next_of(chunks, position)
    for place in range(plan[PLAN_BEGIN, TALLIES], plan[PLAN_END, TALLIES]):
        tally = plan[place]
        low, high = plan[tally[PLAN_TALLY_LOW]], plan[tally[PLAN_TALLY_HIGH]]
        below = 1 if time_us <= limit_of(low, as_of, reached, line) else 0
        entered = 1 if time_us <= limit_of(high, as_of, reached, line) else 0
        # Of all of history, what is folded and was counted out for a while, by a reader further
        # back, stays for good.
        change = below - entered
        if change != 0:
            count_range(
                plan, slots, chunks, entries, values, aux, slot, place, position, following, change
            )


@kernel
def forget_tallies(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
) -> None:
    """Remove every value that a key's entries have in tallies: the key goes."""
    if plan[PLAN_END, TALLIES] == plan[PLAN_BEGIN, TALLIES]:
        return
    chunk = slots[slot, SLOT_FIRST]
    while chunk != END:
        first = chunk << CHUNK_SHIFT
        for place in range(plan[PLAN_BEGIN, TALLIES], plan[PLAN_END, TALLIES]):
            owner = owner_of(plan, slot, place)
            column = plan[place, PLAN_TALLY_COLUMN]
            for at in range(first, first + chunks[chunk, CHUNK_COUNT]):
                if entries[at, column] != NULL:
                    multiset.forget(values, aux[COUNTERS], owner, entries[at, column])
        chunk = chunks[chunk, CHUNK_NEXT]
