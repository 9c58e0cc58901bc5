"""What lies below the fold line: frozen extremes, first and last values, and decays.

When a key's fold edges move on, the entries they pass are added here in order of (time, order of
insertion); an entry inserted at or below the line is added at once. Nothing is taken out again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels.bits import real, word
from noskew.kernels.chunks import next_of
from noskew.kernels.decay import half_power
from noskew.kernels.edges import go_on, limit_of
from noskew.kernels.jit import kernel
from noskew.kernels.layout import (
    DECAY_FOLDED,
    DECAY_FOLDED_TIME,
    DECAY_RUNNING,
    DECAY_RUNNING_TIME,
    DECAY_STALE,
    DECAYS,
    EDGE_FOLD,
    EDGE_NEWEST,
    EDGE_POSITION,
    EDGE_TIME,
    EDGES,
    END,
    ENDS,
    EXTREMES,
    FIRST_EDGE,
    NO_TIME,
    NULL,
    PASSED,
    PLAN_BEGIN,
    PLAN_DECAY_COLUMN,
    PLAN_DECAY_COUNTED,
    PLAN_DECAY_EDGE,
    PLAN_DECAY_FIELD,
    PLAN_DECAY_HALF_LIFE,
    PLAN_DECAY_SCALE,
    PLAN_EDGE_FIELD,
    PLAN_EDGE_KIND,
    PLAN_END,
    PLAN_ENDS_COLUMN,
    PLAN_ENDS_EDGE,
    PLAN_ENDS_FIELD,
    PLAN_EXTREME_COLUMN,
    PLAN_EXTREME_FIELD,
    PLAN_EXTREME_LOW,
    PLAN_EXTREME_SIGN,
    SLOT_FOLD,
    UNKNOWN,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel
def fold(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    fold_us: int,
) -> int:
    """Let a key's fold edges stand at the fold line, which is later than where they stand.

    Returns 1 if anything is folded that was not, else 0.
    """
    key = slots[slot]
    passed = 0
    for at in range(plan[PLAN_BEGIN, EDGES], plan[PLAN_END, EDGES]):
        edge = plan[at]
        if edge[PLAN_EDGE_KIND] != EDGE_FOLD:
            continue
        limit = limit_of(edge, 0, 0, fold_us)
        field = edge[PLAN_EDGE_FIELD]
        if key[field + EDGE_TIME] > limit:
            continue
        passed = 1
        for one in range(plan[PLAN_BEGIN, EXTREMES], plan[PLAN_END, EXTREMES]):
            if plan[one, PLAN_EXTREME_LOW] == at:
                key[plan[one, PLAN_EXTREME_FIELD]] = UNKNOWN
        position = key[field + EDGE_POSITION]
        while position != END and entries[position, 0] <= limit:
            freeze_entry(plan, slots, entries, slot, at, position)
            position = next_of(chunks, position)
        go_on(plan, slots, chunks, entries, aux, slot, at, limit)
    key[SLOT_FOLD] = fold_us
    return passed


@kernel
def freeze_entry(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    at: int,
    position: int,
) -> None:
    """Add an entry to everything that is folded at fold edge ``at``, but for its totals."""
    key, entry = slots[slot], entries[position]
    time_us = entry[0]
    newest = plan[at, PLAN_EDGE_FIELD] + EDGE_NEWEST
    key[newest] = max(key[newest], time_us)
    for place in range(plan[PLAN_BEGIN, EXTREMES], plan[PLAN_END, EXTREMES]):
        extreme = plan[place]
        value = entry[extreme[PLAN_EXTREME_COLUMN]]
        if extreme[PLAN_EXTREME_LOW] == at and value != NULL:
            field = extreme[PLAN_EXTREME_FIELD] + 1
            key[field] = max(key[field], extreme[PLAN_EXTREME_SIGN] * value)
    for place in range(plan[PLAN_BEGIN, ENDS], plan[PLAN_END, ENDS]):
        end = plan[place]
        value = entry[end[PLAN_ENDS_COLUMN]]
        if end[PLAN_ENDS_EDGE] == at and value != NULL:
            field = end[PLAN_ENDS_FIELD]
            if key[field] == NO_TIME or time_us < key[field]:
                key[field] = time_us
                key[field + 1] = value
            if time_us >= key[field + 2]:
                key[field + 2] = time_us
                key[field + 3] = value
    for place in range(plan[PLAN_BEGIN, DECAYS], plan[PLAN_END, DECAYS]):
        decay = plan[place]
        if decay[PLAN_DECAY_EDGE] == at and _counts(decay, entry):
            _fold_decay(key, decay, time_us, _amount(decay, entry))


@kernel
def _counts(decay: NDArray[np.int64], entry: NDArray[np.int64]) -> bool:
    """Return whether an entry takes part in a decay: its column is not null."""
    column = decay[PLAN_DECAY_COLUMN]
    return bool(column < 0 or entry[column] != NULL)


@kernel
def _amount(decay: NDArray[np.int64], entry: NDArray[np.int64]) -> float:
    """Return the x of an entry that takes part in a decay, one rounding of its column's value."""
    column = decay[PLAN_DECAY_COLUMN]
    if column < 0 or decay[PLAN_DECAY_COUNTED]:
        return 1.0
    return float(entry[column]) / float(decay[PLAN_DECAY_SCALE])


@kernel
def _fold_decay(
    key: NDArray[np.int64], decay: NDArray[np.int64], time_us: int, amount: float
) -> None:
    field, half_life = decay[PLAN_DECAY_FIELD], decay[PLAN_DECAY_HALF_LIFE]
    folded_us = key[field + DECAY_FOLDED_TIME]
    folded = real(key[field + DECAY_FOLDED])
    if folded_us == NO_TIME:
        key[field + DECAY_FOLDED] = word(amount)
        key[field + DECAY_FOLDED_TIME] = time_us
    elif time_us >= folded_us:
        key[field + DECAY_FOLDED] = word(
            folded * half_power(time_us - folded_us, half_life) + amount
        )
        key[field + DECAY_FOLDED_TIME] = time_us
    else:
        key[field + DECAY_FOLDED] = word(
            folded + amount * half_power(folded_us - time_us, half_life)
        )
        key[field + DECAY_STALE] = 1


@kernel
def stand_decays(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    aux: NDArray[np.int64],
    slot: int,
    on: int,
    as_of_us: int,
) -> None:
    """Carry the running recursions on to edge 0, which stood at ``aux[PASSED, FIRST_EDGE]``.

    on  1 where it moved forward, or not at all
    """
    key = slots[slot]
    now, was = key[plan[FIRST_EDGE, PLAN_EDGE_FIELD] + EDGE_POSITION], aux[PASSED, FIRST_EDGE]
    for place in range(plan[PLAN_BEGIN, DECAYS], plan[PLAN_END, DECAYS]):
        decay = plan[place]
        stale = key[decay[PLAN_DECAY_FIELD] + DECAY_STALE]
        if stale or (now != was and not on):
            _start_again(
                plan,
                slots,
                chunks,
                entries,
                slot,
                decay,
                now,
                1 if as_of_us > key[SLOT_FOLD] else 0,
            )
        elif now != was:
            _run_on(slots, chunks, entries, slot, decay, was, now)


@kernel
def repair_decays(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    position: int,
    as_of_us: int,
) -> None:
    """Account a new entry in the decays of a key whose edges stand as of T."""
    key, entry = slots[slot], entries[position]
    time_us = entry[0]
    for place in range(plan[PLAN_BEGIN, DECAYS], plan[PLAN_END, DECAYS]):
        decay = plan[place]
        if time_us > as_of_us or not _counts(decay, entry):
            continue
        field = decay[PLAN_DECAY_FIELD]
        if time_us > key[SLOT_FOLD] and time_us >= key[field + DECAY_RUNNING_TIME]:
            _run_on(slots, chunks, entries, slot, decay, position, next_of(chunks, position))
        else:
            key[field + DECAY_STALE] = 1


@kernel
def _run_on(
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    decay: NDArray[np.int64],
    begin: int,
    end: int,
) -> None:
    """Carry a decay's running recursion on over the entries in [begin, end)."""
    key = slots[slot]
    field, half_life = decay[PLAN_DECAY_FIELD], decay[PLAN_DECAY_HALF_LIFE]
    value = real(key[field + DECAY_RUNNING])
    last_us = key[field + DECAY_RUNNING_TIME]
    while begin not in (end, END):
        entry = entries[begin]
        if _counts(decay, entry):
            amount = _amount(decay, entry)
            if last_us == NO_TIME:
                value = amount
            else:
                value = value * half_power(entry[0] - last_us, half_life) + amount
            last_us = entry[0]
        begin = next_of(chunks, begin)
    key[field + DECAY_RUNNING] = word(value)
    key[field + DECAY_RUNNING_TIME] = last_us


@kernel
def _start_again(
    plan: NDArray[np.int64],
    slots: NDArray[np.int64],
    chunks: NDArray[np.int64],
    entries: NDArray[np.int64],
    slot: int,
    decay: NDArray[np.int64],
    end: int,
    beyond: int,
) -> None:
    """Compute a decay's running recursion anew: what is folded, then up to position ``end``.

    beyond  1 where ``end`` lies after the fold edge (else nothing is added to what is folded)
    """
    key = slots[slot]
    field = decay[PLAN_DECAY_FIELD]
    key[field + DECAY_RUNNING] = key[field + DECAY_FOLDED]
    key[field + DECAY_RUNNING_TIME] = key[field + DECAY_FOLDED_TIME]
    # From behind the fold edge it cannot be carried on: what lies between is in it already.
    key[field + DECAY_STALE] = 1 - beyond
    if beyond:
        edge = plan[decay[PLAN_DECAY_EDGE], PLAN_EDGE_FIELD]
        _run_on(slots, chunks, entries, slot, decay, key[edge + EDGE_POSITION], end)
