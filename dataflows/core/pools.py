"""The arrays of one table's state: made, grown when a kernel stops for want of room, and shrunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.dataflows.core.mapped import resized
from noskew.kernels import values
from noskew.kernels.compaction import compact
from noskew.kernels.keys import clear, copy_keys, rehash
from noskew.kernels.layout import (
    AUX_ROWS,
    CHUNK,
    COUNTER_CHUNKS,
    COUNTER_END,
    COUNTER_FREE_CHUNK,
    COUNTER_FREE_SLOT,
    COUNTER_FREED_CHUNKS,
    COUNTER_HEAP,
    COUNTER_KEYS,
    COUNTER_SLOTS,
    COUNTER_USED,
    COUNTERS,
    END,
    FIRST_EDGE,
    REPORT_WIDTH,
    SLOT_COUNT,
    SLOT_KEY,
    SLOT_LENGTH,
    SLOT_LIVE,
    State,
)
from noskew.kernels.wide import LIMBS, ROWS
from noskew.kernels.windows import BLOCK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.shape import Layout

_FIRST_ROWS: Final = 1024
"""Slots and chunks a table starts with."""
_REPORTS: Final = 4 * BLOCK
"""Reports a table holds: each record makes two at most."""
_SPARE: Final = 4096
"""Free chunks that are not worth giving back."""


def empty(made: Layout) -> State:
    """Return the state of a table without keys."""
    strings = made.plan.key_type == "string"
    state = State(
        lookup=np.full(4 * _FIRST_ROWS, -1, np.int32),
        slots=np.zeros((_FIRST_ROWS, made.width), np.int64),
        chunks=np.zeros((_FIRST_ROWS, made.chunk_width), np.int64),
        entries=np.zeros((_FIRST_ROWS * CHUNK, made.fields), np.int64),
        heap=np.zeros(_FIRST_ROWS if strings else 0, np.uint8),
        values=_empty_values(_FIRST_ROWS if made.tallies else 8),
        changed=np.zeros(_FIRST_ROWS, np.int32),
        reports=np.zeros((_REPORTS, REPORT_WIDTH), np.int64),
        aux=np.zeros((AUX_ROWS, max(COUNTER_END, FIRST_EDGE + len(made.edges))), np.int64),
        big=np.zeros((ROWS, LIMBS), np.int64),
        blank=made.blank,
    )
    counters = state.aux[COUNTERS]
    counters[COUNTER_FREE_CHUNK] = END
    counters[COUNTER_FREE_SLOT] = END
    counters[COUNTER_SLOTS] = 1  # slot 0: the key without entries
    clear(state.blank, state.slots, 0)
    return state


def grow(made: Layout, state: State, key_bytes: int) -> State:
    """Make room for a block of records more, the first of whose keys has ``key_bytes`` bytes."""
    counters = state.aux[COUNTERS]
    chunks, slots = len(state.chunks), len(state.slots)
    if counters[COUNTER_FREED_CHUNKS] + chunks - counters[COUNTER_CHUNKS] < BLOCK:
        state = _with_chunks(state, _more(chunks))
    if slots - 1 - counters[COUNTER_KEYS] < BLOCK:
        more = _more(slots)
        state = state._replace(
            slots=resized(state.slots, more), changed=resized(state.changed, more)
        )
    if 2 * (counters[COUNTER_KEYS] + BLOCK) > len(state.lookup):
        index = np.full(2 * len(state.lookup), -1, np.int32)
        rehash(state, index)
        state = state._replace(lookup=index)
    if made.tallies and len(state.values) < _value_rows(made, state):
        state = _with_values(state, _value_rows(made, state))
    if made.plan.key_type == "string" and counters[COUNTER_HEAP] + key_bytes > len(state.heap):
        state = _rebuild_heap(state, key_bytes)
    return state


def shrink(made: Layout, state: State) -> State:
    """Give chunks and counts of values back where more than half of them are free.

    Slots stay: they are reused, and are small beside what they hold.
    """
    counters = state.aux[COUNTERS]
    if 2 * counters[COUNTER_FREED_CHUNKS] > counters[COUNTER_CHUNKS] + _SPARE:
        compact(made.edge_positions, state, np.full(counters[COUNTER_CHUNKS], END))
        state = _with_chunks(state, max(_more(int(counters[COUNTER_CHUNKS])), _FIRST_ROWS))
    if made.tallies and len(state.values) >= 4 * _value_rows(made, state):
        state = _with_values(state, _value_rows(made, state))
    return state


def _with_chunks(state: State, count: int) -> State:
    return state._replace(
        chunks=resized(state.chunks, count), entries=resized(state.entries, count * CHUNK)
    )


def _value_rows(made: Layout, state: State) -> int:
    """Return the rows for all that the fullest key's tallies may count anew, to three quarters."""
    most = int(state.slots[: state.aux[COUNTERS, COUNTER_SLOTS], SLOT_COUNT].max()) + 1
    needed = int(state.aux[COUNTERS, COUNTER_USED]) + 2 * len(made.tallies) * most
    return max(_FIRST_ROWS, 1 << (4 * needed // 3).bit_length())


def _with_values(state: State, rows: int) -> State:
    found = _empty_values(rows)
    values.rehash(state.values, found)
    return state._replace(values=found)


def _empty_values(rows: int) -> NDArray[np.int64]:
    found = np.zeros((rows, values.WIDTH), np.int64)
    found[:, values.OWNER] = values.FREE
    return found


def _rebuild_heap(state: State, key_bytes: int) -> State:
    """Copy the live keys into a new heap, twice as large as they and the next key need."""
    live = np.flatnonzero(state.slots[: state.aux[COUNTERS, COUNTER_SLOTS], SLOT_LIVE] == 1)
    start = state.slots[live, SLOT_KEY]
    length = state.slots[live, SLOT_LENGTH]
    used = int(length.sum())
    heap = np.empty(2 * (used + key_bytes) + _FIRST_ROWS, np.uint8)
    copy_keys(state.heap, start, length, heap)
    state.slots[live, SLOT_KEY] = start
    state.aux[COUNTERS, COUNTER_HEAP] = used
    return state._replace(heap=heap)


def _more(rows: int) -> int:
    return rows + max(rows // 4, _FIRST_ROWS)
