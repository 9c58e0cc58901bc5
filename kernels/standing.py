"""Standing: a key's edges moved to a time, and what is found there, as words of int64.

The event itself is not inserted yet; ``statistics`` adds it where it is a member.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels.chunks import greatest, next_of, previous
from noskew.kernels.edges import WORD_LOW, WORD_SHIFT, go_back, go_on, limit_of
from noskew.kernels.folds import stand_decays
from noskew.kernels.jit import kernel
from noskew.kernels.layout import (
    BELOW,
    BELOW_HIGH_EDGE,
    BELOW_NEWEST,
    BELOW_WORD,
    DECAY_FOLDED_TIME,
    DECAY_RUNNING,
    DECAY_RUNNING_TIME,
    DECAYS,
    EDGE_FOLD,
    EDGE_HIGH,
    EDGE_POSITION,
    EDGE_TIME,
    EDGES,
    END,
    END_COLUMN,
    END_FROZEN,
    END_HIGH_EDGE,
    END_LAST,
    END_LOW_EDGE,
    END_WORD,
    EXTREMES,
    FIND_HIGH,
    FIND_HIGH_EDGE,
    FIND_LOW,
    FIND_LOW_EDGE,
    FIND_WORD,
    FINDS,
    FIRST_EDGE,
    FOREVER,
    HISTORIES,
    LIMITS,
    LOWEST,
    NO_TIME,
    NULL,
    NUMBER_ANCHORED,
    PASSED,
    PLAN_BEGIN,
    PLAN_DECAY_FIELD,
    PLAN_DECAY_WORD,
    PLAN_EDGE_FIELD,
    PLAN_EDGE_KIND,
    PLAN_END,
    PLAN_EXTREME_CHUNK,
    PLAN_EXTREME_COLUMN,
    PLAN_EXTREME_FIELD,
    PLAN_EXTREME_HIGH,
    PLAN_EXTREME_LOW,
    PLAN_EXTREME_SIGN,
    PLAN_EXTREME_WORD,
    PLAN_NUMBERS,
    PLAN_TALLY_COLUMN,
    PLAN_TALLY_FIELD,
    PLAN_TALLY_HIGH,
    PLAN_TALLY_LOW,
    PLAN_TALLY_WORD,
    SLOT_AS_OF,
    SLOT_FOLD,
    SLOT_REACHED,
    TALLIES,
    UNKNOWN,
    WINDOWS,
    WORD_NEWEST,
)
from noskew.kernels.tallies import owner_of, stand_tallies
from noskew.kernels.values import has

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel(inline=True)
def stand(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    as_of_us: int,
    reached_us: int,
) -> None:
    """Move a key's edges to T and max(T, H), and carry along what depends on them."""
    key = slots[slot]
    on = 1 if as_of_us >= key[SLOT_AS_OF] else 0
    further = 1 if reached_us >= key[SLOT_REACHED] else 0
    # High edges stand before low ones in the plan: what enters is known before what leaves.
    for at in range(plan[PLAN_BEGIN, EDGES], plan[PLAN_END, EDGES]):
        edge = plan[at]
        field = edge[PLAN_EDGE_FIELD]
        limit = limit_of(edge, as_of_us, reached_us, key[SLOT_FOLD])
        aux[LIMITS, at] = limit
        aux[PASSED, at] = key[field + EDGE_POSITION]
    for at in range(plan[PLAN_BEGIN, EDGES], plan[PLAN_END, EDGES]):
        edge = plan[at]
        if edge[PLAN_EDGE_KIND] == EDGE_FOLD:
            continue
        if key[edge[PLAN_EDGE_FIELD] + EDGE_TIME] <= aux[LIMITS, at]:
            go_on(
                plan,
                slots,
                chunks,
                entries,
                aux,
                slot,
                at,
                aux[LIMITS, at],
            )
        elif not (on if edge[PLAN_EDGE_KIND] == EDGE_HIGH else further):
            go_back(plan, slots, chunks, entries, aux, slot, at, aux[LIMITS, at])
    key[SLOT_AS_OF] = as_of_us
    key[SLOT_REACHED] = reached_us
    for at in range(plan[PLAN_BEGIN, EXTREMES], plan[PLAN_END, EXTREMES]):
        extreme = plan[at]
        low, high = extreme[PLAN_EXTREME_LOW], extreme[PLAN_EXTREME_HIGH]
        if aux[LIMITS, high] <= aux[LIMITS, low]:
            # Nothing is between them; with all of history, what is folded is read beside it.
            key[extreme[PLAN_EXTREME_FIELD]] = UNKNOWN
        elif key[extreme[PLAN_EXTREME_FIELD]] == UNKNOWN:
            key[extreme[PLAN_EXTREME_FIELD]] = greatest(
                chunks,
                entries,
                key[plan[low, PLAN_EDGE_FIELD] + EDGE_POSITION],
                key[plan[high, PLAN_EDGE_FIELD] + EDGE_POSITION],
                extreme[PLAN_EXTREME_COLUMN],
                extreme[PLAN_EXTREME_CHUNK],
                extreme[PLAN_EXTREME_SIGN],
            )
    if plan[PLAN_END, TALLIES] > plan[PLAN_BEGIN, TALLIES]:
        stand_tallies(plan, slots, chunks, entries, values, aux, slot, on, further)
    if plan[PLAN_END, DECAYS] > plan[PLAN_BEGIN, DECAYS]:
        stand_decays(plan, slots, chunks, entries, aux, slot, on, as_of_us)


@kernel(inline=True)
def find_words(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    as_of_us: int,
    horizon_us: int,
    row: int,
    fields: NDArray[np.int64],
    words: NDArray[np.int64],
    place: int,
) -> None:
    """Write what a key that stands has: ``core.shape`` says which word is what.

    fields  int64[fields, n], of which column ``row`` is the event itself
    words   int64[NUMBER_WORDS, n], of which column ``place`` is written
    """
    key = slots[slot]
    # Up to the horizon no window is turned inside out.
    whole = horizon_us <= as_of_us
    for at in range(plan[PLAN_BEGIN, WINDOWS], plan[PLAN_END, WINDOWS]):
        one = plan[at]
        total = key[one[FIND_HIGH]] - key[one[FIND_LOW]]
        if not (whole or aux[LIMITS, one[FIND_HIGH_EDGE]] > aux[LIMITS, one[FIND_LOW_EDGE]]):
            total = 0
        words[one[FIND_WORD], place] = total
    for at in range(plan[PLAN_BEGIN, EXTREMES], plan[PLAN_END, EXTREMES]):
        extreme = plan[at]
        best = key[extreme[PLAN_EXTREME_FIELD]]
        if best == UNKNOWN:  # nothing lies between the ends
            best = LOWEST
        words[extreme[PLAN_EXTREME_WORD], place] = max(best, key[extreme[PLAN_EXTREME_FIELD] + 1])
    if plan[PLAN_NUMBERS, NUMBER_ANCHORED]:
        words[WORD_NEWEST, place] = _newest(
            plan, slots, chunks, entries, slot, as_of_us, horizon_us
        )
    if plan[PLAN_END, BELOW] > plan[PLAN_BEGIN, BELOW]:
        _find_histories(plan, slots, aux, slot, words, place)
    if plan[PLAN_END, TALLIES] > plan[PLAN_BEGIN, TALLIES]:
        _find_tallies(plan, slots, values, aux, slot, row, fields, words, place)
    if plan[PLAN_END, FINDS] > plan[PLAN_BEGIN, FINDS]:
        _find_ends(plan, slots, chunks, entries, aux, slot, words, place)
    if plan[PLAN_END, DECAYS] > plan[PLAN_BEGIN, DECAYS]:
        _find_decays(plan, slots, slot, as_of_us, words, place)


@kernel
def _newest(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    as_of_us: int,
    horizon_us: int,
) -> int:
    """Return the time of the newest entry at or before T; ``NO_TIME`` if there is none.

    Also for T below the horizon where an entry lies in (T, H]: below the horizon only the newest
    entry is sure to be held, and that one is not the newest at or before T.
    """
    key = slots[slot]
    field = plan[FIRST_EDGE, PLAN_EDGE_FIELD]
    if as_of_us < horizon_us and key[field + EDGE_TIME] <= horizon_us:
        return NO_TIME
    position = previous(slots, chunks, slot, key[field + EDGE_POSITION])
    return NO_TIME if position == END else int(entries[position, 0])


@kernel
def _find_histories(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    words: NDArray[np.int64],
    place: int,
) -> None:
    key = slots[slot]
    for at in range(plan[PLAN_BEGIN, BELOW], plan[PLAN_END, BELOW]):
        one = plan[at]
        under = aux[LIMITS, one[BELOW_HIGH_EDGE]] < key[one[BELOW_NEWEST]]
        words[one[BELOW_WORD], place] = FOREVER if under else 0
    for at in range(plan[PLAN_BEGIN, HISTORIES], plan[PLAN_END, HISTORIES]):
        one = plan[at]
        low = one[FIND_LOW]
        total = key[one[FIND_HIGH]] - key[low]
        rest = key[low + 2] + (total & WORD_LOW)
        words[one[FIND_WORD], place] = key[low + 1] + (total >> WORD_SHIFT) + (rest >> WORD_SHIFT)
        words[one[FIND_WORD] + 1, place] = rest & WORD_LOW


@kernel
def _find_tallies(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    values: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    row: int,
    fields: NDArray[np.int64],
    words: NDArray[np.int64],
    place: int,
) -> None:
    for at in range(plan[PLAN_BEGIN, TALLIES], plan[PLAN_END, TALLIES]):
        tally = plan[at]
        low, high = tally[PLAN_TALLY_LOW], tally[PLAN_TALLY_HIGH]
        empty = aux[LIMITS, high] <= aux[LIMITS, low]
        empty = empty and plan[low, PLAN_EDGE_KIND] != EDGE_FOLD
        word = tally[PLAN_TALLY_WORD]
        value = fields[tally[PLAN_TALLY_COLUMN] - 1, row]
        owner = owner_of(plan, slot, at)
        known = not empty and value != NULL and has(values, owner, value)
        words[word, place] = 0 if empty else slots[slot, tally[PLAN_TALLY_FIELD]]
        words[word + 1, place] = 0 if known else 1


@kernel
def _find_ends(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    words: NDArray[np.int64],
    place: int,
) -> None:
    """Find the values of the earliest and the latest member; ``NULL`` for none."""
    for at in range(plan[PLAN_BEGIN, FINDS], plan[PLAN_END, FINDS]):
        end = plan[at]
        if end[END_LAST]:
            words[end[END_WORD], place] = _last(plan, slots, chunks, entries, aux, slot, end)
        else:
            words[end[END_WORD], place] = _first(plan, slots, chunks, entries, aux, slot, end)


@kernel
def _last(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    end: NDArray[np.int64],
) -> int:
    key = slots[slot]
    field = plan[end[END_HIGH_EDGE], PLAN_EDGE_FIELD]
    low_us = aux[LIMITS, end[END_LOW_EDGE]]
    at = previous(slots, chunks, slot, key[field + EDGE_POSITION])
    while at != END and entries[at, 0] > low_us:
        if entries[at, end[END_COLUMN]] != NULL:
            return int(entries[at, end[END_COLUMN]])
        at = previous(slots, chunks, slot, at)
    frozen = end[END_FROZEN]
    if frozen >= 0 and key[frozen + 2] != NO_TIME:
        return int(key[frozen + 3])
    return NULL


@kernel
def _first(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    end: NDArray[np.int64],
) -> int:
    key = slots[slot]
    frozen = end[END_FROZEN]
    if frozen >= 0 and key[frozen] != NO_TIME:
        return int(key[frozen + 1])
    field = plan[end[END_LOW_EDGE], PLAN_EDGE_FIELD]
    high_us = aux[LIMITS, end[END_HIGH_EDGE]]
    at = key[field + EDGE_POSITION]
    while at != END and entries[at, 0] <= high_us:
        if entries[at, end[END_COLUMN]] != NULL:
            return int(entries[at, end[END_COLUMN]])
        at = next_of(chunks, at)
    return NULL


@kernel
def _find_decays(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    slot: int,
    as_of_us: int,
    words: NDArray[np.int64],
    place: int,
) -> None:
    """Find each decay's running value and its time; ``FOREVER`` for a T below what is folded."""
    key = slots[slot]
    for at in range(plan[PLAN_BEGIN, DECAYS], plan[PLAN_END, DECAYS]):
        decay = plan[at]
        field, word = decay[PLAN_DECAY_FIELD], decay[PLAN_DECAY_WORD]
        words[word, place] = key[field + DECAY_RUNNING]
        words[word + 1, place] = key[field + DECAY_RUNNING_TIME]
        if as_of_us < key[field + DECAY_FOLDED_TIME]:
            words[word + 1, place] = FOREVER
