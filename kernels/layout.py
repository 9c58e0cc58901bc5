"""Constants and shapes that kernels share: sentinels, flags, and where each field of state lies.

The state of one table (stream, entity) is a handful of arrays of int64. A *slot* is one key's
row in ``slots``; its entries lie in *chunks* of fixed capacity, taken from a pool and linked in
order of (time, order of insertion). An *edge* is a position in that order together with the
totals of everything before it, so a window's totals are the difference of two edges.

slots[slot]    the ``SLOT_*`` fields, then per edge ``EDGE_POSITION``, ``EDGE_COUNT``, per column
               a sum and, where the column is nullable, a number of non-null values; then one
               word per cached extreme. Slot 0 is always empty.
chunks[chunk]  ``CHUNK_PREVIOUS``, ``CHUNK_NEXT``, ``CHUNK_COUNT``, then per column sum, number
               of non-null values, minimum, maximum.
entries[chunk * CHUNK + i]   time in us, then one value per column (``NULL`` for a null).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NULL: Final = -(2**63)
"""The null of an int64 column."""
NO_TIME: Final = -(2**62)
"""The clock or horizon that does not exist yet; offsets can be subtracted without overflow."""
FOREVER: Final = 2**63 - 1
"""A ``valid_until`` that never comes."""
KEY_CAP: Final = 2**22
"""Entries one key may hold in one table."""

FLAG_LATE: Final = 1
FLAG_INCOMPLETE: Final = 2
FLAG_WARMING: Final = 4
FLAG_DEGRADED: Final = 8
FLAG_RETRIED: Final = 16
FLAG_CAPPED: Final = 32

# What is done with a record; given by ``judge`` to the tables.
MODE_DEAD: Final = 0
MODE_EVALUATE: Final = 1  # scored as of its own time, not aggregated
MODE_INSERT: Final = 2

# Kinds of statistics; equal to ``Stat`` of the plan.
OP_COUNT: Final = 0
OP_COUNT_VALUES: Final = 1
OP_SUM: Final = 2
OP_MEAN: Final = 3
OP_MIN: Final = 4
OP_MAX: Final = 5
OP_SINCE_LAST: Final = 6

CHUNK: Final = 32
"""Entries of a chunk, a power of two: small enough that a key with one entry stays cheap."""
CHUNK_SHIFT: Final = 5
CHUNK_MASK: Final = CHUNK - 1

END: Final = -1
"""The position after a key's last entry, and the end of every linked list."""

LOWEST: Final = -(2**62)
"""The maximum of nothing; its negative is the minimum of nothing."""
UNKNOWN: Final = 2**62
"""A cached extreme that must be found again."""

SLOT_LIVE: Final = 0  # 1 while the slot belongs to a key
SLOT_HASH: Final = 1
SLOT_KEY: Final = 2  # the int64 key, or where a string key starts in the key heap
SLOT_LENGTH: Final = 3  # bytes of a string key, 0 of an int64 key
SLOT_FIRST: Final = 4  # first chunk; of a free slot: the next free slot
SLOT_LAST: Final = 5
SLOT_COUNT: Final = 6  # entries held
SLOT_NEWEST: Final = 7  # greatest entry time
SLOT_AS_OF: Final = 8  # T for which the edges stand
SLOT_REACHED: Final = 9  # max(T, H) for which the edges stand
SLOT_PARTITION: Final = 10  # partition of the first inserted record
SLOT_MARKS: Final = 11  # MARK_* bits
SLOT_ROW_SEQ: Final = 12  # seq of the record last inserted
SLOT_ROW_HORIZON: Final = 13  # its horizon
SLOT_EDGES: Final = 14

MARK_CHANGED: Final = 1  # the row must be written
MARK_LISTED: Final = 2  # the slot stands in ``changed``
MARK_SPLIT: Final = 4  # reported as seen in two partitions
MARK_CAPPED: Final = 8  # reported as full, and nothing was inserted since

EDGE_POSITION: Final = 0
EDGE_COUNT: Final = 1
EDGE_SUMS: Final = 2

CHUNK_PREVIOUS: Final = 0
CHUNK_NEXT: Final = 1
CHUNK_COUNT: Final = 2
CHUNK_COLUMNS: Final = 3  # then 4 words per column: sum, non-null values, minimum, maximum

COUNTER_FREE_CHUNK: Final = 0  # head of the list of freed chunks
COUNTER_CHUNKS: Final = 1  # chunks ever taken
COUNTER_FREE_SLOT: Final = 2
COUNTER_SLOTS: Final = 3  # slots ever taken, slot 0 included
COUNTER_KEYS: Final = 4  # live keys
COUNTER_CHANGED: Final = 5  # length of ``changed``
COUNTER_REPORTS: Final = 6  # rows of ``reports``
COUNTER_HEAP: Final = 7  # bytes of the key heap in use, garbage included
COUNTER_GARBAGE: Final = 8  # bytes of the key heap that belong to no key
COUNTER_ENTRIES: Final = 9  # entries held
COUNTER_FREED_CHUNKS: Final = 10  # length of the list of freed chunks
COUNTERS: Final = 11

REPORT_SPLIT: Final = 0  # kind, slot, first partition, other partition, seq
REPORT_CAPPED: Final = 1  # kind, slot, partition, partition, seq
REPORT_WIDTH: Final = 5


PLAN_OFFSET: Final = 0  # edges: offset in us
PLAN_LOW: Final = 1  # edges: 1 for a low edge
PLAN_FIELD: Final = 2  # edges, extremes: their first field of a slot
PLAN_COLUMN_SUM: Final = 0  # columns: where an edge keeps the sum
PLAN_COLUMN_VALUES: Final = 1  # columns: where it keeps the number of values
PLAN_COLUMN_OWN: Final = 2  # columns: 1 if that is not simply the member count
PLAN_EXTREME_COLUMN: Final = 0
PLAN_EXTREME_SIGN: Final = 1  # 1: a maximum, -1: a minimum
PLAN_EXTREME_LOW: Final = 3  # the edges of its window
PLAN_EXTREME_HIGH: Final = 4
PLAN_OP_KIND: Final = 0
PLAN_OP_NODE: Final = 1
PLAN_OP_COLUMN: Final = 2
PLAN_OP_EXTREME: Final = 3
PLAN_OP_LOW: Final = 4
PLAN_OP_HIGH: Final = 5


class Shape(NamedTuple):
    """A table's plan as arrays (all int64) and numbers; never changed by a kernel.

    edges     int64[edges, 3]      offset, low or not, first field in a slot
    columns   int64[columns, 3]    places in an edge of the sum and of the number of non-null
                                   values (the member count itself where no null can occur)
    extremes  int64[extremes, 5]   one per different minimum or maximum
    ops       int64[ops, 6]
    row_ops   int64[stats]         ops of the entity's row
    windows   int64[windows, 2]    low and high edge

    The functions inside the kernels take the arrays they need, and never these tuples: Numba
    counts references for each array that it takes out of a tuple, which cost ten times the work.
    """

    edges: NDArray[np.int64]
    columns: NDArray[np.int64]
    extremes: NDArray[np.int64]
    ops: NDArray[np.int64]
    row_ops: NDArray[np.int64]
    windows: NDArray[np.int64]
    reach_us: int
    anchored: int
    primary: int
    strings: int
    key_cap: int


class State(NamedTuple):
    """A table's state: the arrays described above, changed in place and grown by the caller.

    lookup    int32[2^k]           hash table: slot, or -1
    slots     int64[slots, width]
    chunks    int64[chunks, 3 + 4 * columns]
    entries   int64[chunks * CHUNK, 1 + columns]
    heap      uint8[bytes]         string keys
    changed   int32[slots]         slots whose rows changed, in order of first change
    reports   int64[m, REPORT_WIDTH]
    counters  int64[COUNTERS]
    before    int64[edges]         scratch of one evaluation
    """

    lookup: NDArray[np.int32]
    slots: NDArray[np.int64]
    chunks: NDArray[np.int64]
    entries: NDArray[np.int64]
    heap: NDArray[np.uint8]
    changed: NDArray[np.int32]
    reports: NDArray[np.int64]
    counters: NDArray[np.int64]
    before: NDArray[np.int64]
