"""Constants and shapes that kernels share: sentinels, flags, and where each field of state lies.

The state of one table (stream, entity) is a handful of arrays of int64. A *slot* is one key's
row in ``slots``; its entries lie in *chunks* of fixed capacity, taken from a pool and linked in
order of (time, order of insertion). A *total* is a number every entry adds to, such as a column's
value. An *edge* is a position in that order together with the totals of everything before it, so
a window's totals are the difference of two edges.

slots[slot]    the ``SLOT_*`` fields, then per edge ``EDGE_POSITION``, ``EDGE_TIME`` and its totals
               (a fold edge: each total, and two words of what is frozen); then two words per
               extreme (cached, frozen), the frozen ends, distinct counts and decays. Slot 0 is
               always empty.
chunks[chunk]  the ``CHUNK_*`` fields, then the table's totals, then per bound (column, filter) the
               least and the greatest value.
entries[chunk * CHUNK + i]   time in us; one value per pair of column and filter that is read,
               ``NULL`` for a null and where the filter is not passed (1 for what has no column);
               and the handle of a revisable record, where the table has them.
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
"""A ``valid_until`` that never comes; the time of the entry after the last."""
KEY_CAP: Final = 2**22
"""Entries one key may hold in one table."""

FLAG_LATE: Final = 1
FLAG_INCOMPLETE: Final = 2
FLAG_WARMING: Final = 4
FLAG_DEGRADED: Final = 8
FLAG_RETRIED: Final = 16
FLAG_CAPPED: Final = 32

# What became of a record, given by ``judge``.
FATE_APPLIED: Final = 0
FATE_DEAD: Final = 1
FATE_LATE: Final = 2
FATE_DUPLICATE: Final = 3

# What a table does with a record: bits.
INSERT: Final = 1
EVALUATE: Final = 2
OWN: Final = 4

# Kinds of statistics; equal to ``Stat`` of the plan.
OP_COUNT: Final = 0
OP_COUNT_VALUES: Final = 1
OP_SUM: Final = 2
OP_MEAN: Final = 3
OP_MIN: Final = 4
OP_MAX: Final = 5
OP_SINCE_LAST: Final = 6
OP_VAR: Final = 7
OP_STD: Final = 8
OP_FIRST: Final = 9
OP_LAST: Final = 10
OP_DISTINCT: Final = 11
OP_RATE: Final = 12
OP_DECAYED_SUM: Final = 13
OP_DECAYED_COUNT: Final = 14
OP_EWMA: Final = 15

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
SLOT_OLDEST: Final = 8  # greatest time in the first chunk; ``FOREVER`` where no other follows
SLOT_AS_OF: Final = 9  # T for which the edges stand
SLOT_REACHED: Final = 10  # max(T, H) for which the edges stand
SLOT_FOLD: Final = 11  # F for which the fold edges stand
SLOT_PARTITION: Final = 12  # partition of the first inserted record
SLOT_MARKS: Final = 13  # MARK_* bits
SLOT_ROW_SEQ: Final = 14  # seq of the record that changed the key last
SLOT_ROW_HORIZON: Final = 15  # its horizon
SLOT_ROW_FOLD: Final = 16  # its fold line
SLOT_EDGES: Final = 17

MARK_CHANGED: Final = 1  # the row must be written
MARK_LISTED: Final = 2  # the slot stands in ``changed``
MARK_SPLIT: Final = 4  # reported as seen in two partitions
MARK_CAPPED: Final = 8  # reported as full, and nothing was inserted since

EDGE_POSITION: Final = 0  # of the first entry later than the edge's limit
EDGE_TIME: Final = 1  # its time, ``FOREVER`` at the end: an edge that stays is not looked at
EDGE_TOTALS: Final = 2
EDGE_NEWEST: Final = 2  # of a fold edge: newest time folded; its totals begin after it
FOLD_TOTALS: Final = 3
FOLD_WORDS: Final = 3  # of a fold edge's total: the total, frozen high, frozen low

CHUNK_PREVIOUS: Final = 0
CHUNK_NEXT: Final = 1
CHUNK_COUNT: Final = 2
CHUNK_SERIAL: Final = 3  # greater than that of every chunk taken before it; ``FOREVER``: free
CHUNK_JUMP: Final = 4  # a chunk of the key further back, valid while its serial is the smaller
CHUNK_DEPTH: Final = 5  # how many chunks stood before it along its jumps when it was taken
CHUNK_OWNER: Final = 6  # its key's slot
CHUNK_TOTALS: Final = 7

COUNTER_FREE_CHUNK: Final = 0  # head of the list of freed chunks
COUNTER_CHUNKS: Final = 1  # chunks ever taken
COUNTER_FREE_SLOT: Final = 2
COUNTER_SLOTS: Final = 3  # slots ever taken, slot 0 included
COUNTER_KEYS: Final = 4  # live keys
COUNTER_CHANGED: Final = 5  # length of ``changed``
COUNTER_REPORTS: Final = 6  # rows of ``reports``
COUNTER_HEAP: Final = 7  # bytes of the key heap in use, also those of keys that are gone
COUNTER_ENTRIES: Final = 8  # entries held
COUNTER_FREED_CHUNKS: Final = 9  # length of the list of freed chunks
COUNTER_USED: Final = 10  # values of ``distinct`` in use
COUNTER_SERIAL: Final = 11  # the next chunk's
COUNTER_END: Final = 12

REPORT_SPLIT: Final = 0  # kind, slot, first partition, other partition, seq
REPORT_CAPPED: Final = 1  # kind, slot, partition, partition, seq
REPORT_WIDTH: Final = 5

# What an entry adds to a total.
TOTAL_COUNT: Final = 0  # 1 (of a column: where it is not null)
TOTAL_SUM: Final = 1
TOTAL_SQUARES_HIGH: Final = 2  # x * x >> 40
TOTAL_SQUARES_LOW: Final = 3  # x * x & (2^40 - 1)
SQUARES_SHIFT: Final = 40

# -- the plan: one array a part, one row a thing ---------------------------------------------------

NUMBER_HANDLE: Final = 0  # field of an entry with a revisable record's handle, -1: there is none
NUMBER_REACH: Final = 1  # how far back windows reach, in us
NUMBER_FOLDS: Final = 2  # 1 where the table has fold edges
NUMBER_FOLD_REACH: Final = 3  # their greatest offset
NUMBER_KEEP: Final = 4  # how far below the horizon an entry can be open to revision
NUMBER_ANCHORED: Final = 5  # 1 where since_last remembers for ever
NUMBER_PRIMARY: Final = 6
NUMBER_STRINGS: Final = 7
NUMBER_MOST: Final = 8  # entries of one key
NUMBER_WORDS: Final = 9  # words that are found of a key
NUMBER_GONE: Final = 10  # how far the horizon must pass a key's newest entry before it is gone

EDGE_HIGH: Final = 0  # limit: T - offset
EDGE_LOW: Final = 1  # floor_r(max(T, H) - offset) - extra
EDGE_FOLD: Final = 2  # F - offset
# edges: in this order of kinds; edge 0 is the high edge of offset 0
PLAN_EDGE_KIND: Final = 0
PLAN_EDGE_OFFSET: Final = 1
PLAN_EDGE_RESOLUTION: Final = 2
PLAN_EDGE_EXTRA: Final = 3
PLAN_EDGE_FIELD: Final = 4  # its first field of a slot
PLAN_EDGE_KEPT: Final = 5  # its totals are ``kept[begin:end]``
PLAN_EDGE_KEPT_END: Final = 6
PLAN_EDGE_WATCHED: Final = 7  # the extremes that it bounds are ``watched[begin:end]``
PLAN_EDGE_WATCHED_END: Final = 8
# totals, and what an edge keeps; a column is a field of an entry, -1 for none
PLAN_TOTAL_KIND: Final = 0
PLAN_TOTAL_COLUMN: Final = 1
PLAN_TOTAL_CHUNK: Final = 2  # its field of a chunk
# bounds, of which chunks keep the least and greatest value
PLAN_BOUND_COLUMN: Final = 0
PLAN_BOUND_CHUNK: Final = 1  # field of a chunk with the least value; the greatest is next to it
# extremes of windows
PLAN_EXTREME_COLUMN: Final = 0
PLAN_EXTREME_SIGN: Final = 1  # 1: a maximum, -1: a minimum
PLAN_EXTREME_FIELD: Final = 2  # of the cached value; next to it: the frozen one
PLAN_EXTREME_LOW: Final = 3  # the edges of its window
PLAN_EXTREME_HIGH: Final = 4
PLAN_EXTREME_CHUNK: Final = 5  # field of a chunk with the bound
PLAN_EXTREME_WORD: Final = 6
# tallies of distinct values
PLAN_TALLY_COLUMN: Final = 0
PLAN_TALLY_LOW: Final = 1
PLAN_TALLY_HIGH: Final = 2
PLAN_TALLY_FIELD: Final = 3  # of the number of values
PLAN_TALLY_WORD: Final = 4  # the number; then 1 where the event's own value is not among them
# frozen ends of all of history
PLAN_ENDS_COLUMN: Final = 0
PLAN_ENDS_EDGE: Final = 1
PLAN_ENDS_FIELD: Final = 2  # of first time, value, last time, value
# decays
PLAN_DECAY_COLUMN: Final = 0  # or -1: each entry counts 1
PLAN_DECAY_HALF_LIFE: Final = 1
PLAN_DECAY_FIELD: Final = 2  # of the ``DECAY_*`` words
PLAN_DECAY_EDGE: Final = 3  # the fold edge of offset 0
PLAN_DECAY_COUNTED: Final = 4  # 1: x is 1 where the column is not null (the count of an ewma)
PLAN_DECAY_SCALE: Final = 5  # 10^k of a quantum, else 1
PLAN_DECAY_WORD: Final = 6  # the running value and its time
DECAY_FOLDED: Final = 0  # float64: the recursion over folded entries, as of
DECAY_FOLDED_TIME: Final = 1  # their newest time; NO_TIME: none
DECAY_RUNNING: Final = 2  # float64: over all entries before edge 0, as of
DECAY_RUNNING_TIME: Final = 3  # their newest time
DECAY_STALE: Final = 4  # 1: to be computed again from what is folded
DECAY_WORDS: Final = 5

# What is found of a key beside the above. Windows: a total is the difference of two edges'.
FIND_LOW: Final = 0  # fields of a slot: the total at the low edge, at the high edge
FIND_HIGH: Final = 1
FIND_LOW_EDGE: Final = 2
FIND_HIGH_EDGE: Final = 3
FIND_WORD: Final = 4
# All of history: a total in two words of base 2^40, high and low; ``FIND_*`` as above.
# First and last values: column, low edge, high edge, word; then
END_COLUMN: Final = 0
END_LOW_EDGE: Final = 1
END_HIGH_EDGE: Final = 2
END_WORD: Final = 3
END_LAST: Final = 4  # 1: the last value, 0: the first
END_FROZEN: Final = 5  # field of its frozen ends; -1 of a window
# Readers of all of history: ``FOREVER`` where one stands below what has been folded, else 0.
BELOW_NEWEST: Final = 0  # field of the newest time folded
BELOW_HIGH_EDGE: Final = 1
BELOW_WORD: Final = 2
WORD_NEWEST: Final = 0  # word 0: the newest entry's time at or before T, as ``newest`` says

# ops: how a statistic is made of words
PLAN_OP_KIND: Final = 0
PLAN_OP_NODE: Final = 1
PLAN_OP_COLUMN: Final = 2
PLAN_OP_SELF: Final = 3  # 1: the event itself can be a member
PLAN_OP_HISTORY: Final = 4  # 1: of all of history, totals are two words
PLAN_OP_BELOW: Final = 5  # word that says whether it could be read whole, -1: it always is
PLAN_OP_COUNT: Final = 6  # words of the number of members, the sum, the squares
PLAN_OP_SUM: Final = 7
PLAN_OP_SQUARES: Final = 8
PLAN_OP_WORD: Final = 9  # of the extreme, tally, end or decay
PLAN_OP_WEIGHTS: Final = 10  # EWMA: word of the decay that counts
PLAN_OP_SCALE: Final = 11  # 10^k of a quantum, else 1
PLAN_OP_DDOF: Final = 12
PLAN_OP_SPAN: Final = 13  # the window's width in us; of a decay the half-life
PLAN_OP_LOW: Final = 14  # edges of the window, -1 without one
PLAN_OP_HIGH: Final = 15
PLAN_OP_EMPTY: Final = 16  # the value of an empty window, as bits
PLAN_OP_SIGN: Final = 17  # of an extreme
PLAN_OP_WIDTH: Final = 18


# A plan is one array, so that kernels can hand it on at little cost: row 0 has its numbers, rows 1
# and 2 say where each part begins and ends.
PLAN_NUMBERS: Final = 0
PLAN_BEGIN: Final = 1
PLAN_END: Final = 2
PLAN_PARTS: Final = 3
PLAN_WIDTH: Final = PLAN_OP_WIDTH
FIRST_EDGE: Final = PLAN_PARTS  # the high edge of offset 0

EDGES: Final = 0
KEPT: Final = 1  # totals that edges keep, edge by edge
WATCHED: Final = 2  # extremes that edges bound, edge by edge: which, 1 if the edge is its low one
TOTALS: Final = 3
BOUNDS: Final = 4
EXTREMES: Final = 5
TALLIES: Final = 6
ENDS: Final = 7
DECAYS: Final = 8
WINDOWS: Final = 9
HISTORIES: Final = 10
FINDS: Final = 11  # first and last values
BELOW: Final = 12
OPS: Final = 13
ROW: Final = 14  # ops of the entity's row

# Rows of ``aux``.
COUNTERS: Final = 0
LIMITS: Final = 1  # scratch: the limits that edges were moved to
PASSED: Final = 2  # scratch: where edges stood before they were moved
AUX_ROWS: Final = 3


class State(NamedTuple):
    """A table's state: the arrays described above, changed in place and grown by the caller.

    lookup    int32[2^k]           hash table: slot, or -1
    slots     int64[slots, width]
    chunks    int64[chunks, CHUNK_TOTALS + totals + 2 * bounds]
    entries   int64[chunks * CHUNK, 1 + pairs + handle]
    heap      uint8[bytes]         string keys
    values    int64[2^k, 3]        the multiset of ``distinct``
    changed   int32[slots]         slots whose rows changed, in order of first change
    reports   int64[m, REPORT_WIDTH]
    aux       int64[AUX_ROWS, at least COUNTER_END, and FIRST_EDGE + edges]
    big       int64[ROWS, LIMBS]   scratch of ``wide``
    blank     int64[width]         an empty slot
    """

    lookup: NDArray[np.int32]
    slots: NDArray[np.int64]
    chunks: NDArray[np.int64]
    entries: NDArray[np.int64]
    heap: NDArray[np.uint8]
    values: NDArray[np.int64]
    changed: NDArray[np.int32]
    reports: NDArray[np.int64]
    aux: NDArray[np.int64]
    big: NDArray[np.int64]
    blank: NDArray[np.int64]


class Records(NamedTuple):
    """m records of one table in processing order, as ``advance`` takes them (see ``core.lane``).

    heap, key, length   the keys, as ``keys`` has them
    hashes, found       int64[m]  as ``locate`` leaves them
    action              uint8[m]  INSERT, EVALUATE, OWN
    time_us, horizon_us, fold_us, seq, target, old_us   int64[m];  partition: int32[m]
    fields              int64[fields, m]  a value a pair, handle: entries without their times
    """

    heap: NDArray[np.uint8]
    key: NDArray[np.int64]
    length: NDArray[np.int64]
    hashes: NDArray[np.int64]
    found: NDArray[np.int64]
    action: NDArray[np.uint8]
    time_us: NDArray[np.int64]
    horizon_us: NDArray[np.int64]
    fold_us: NDArray[np.int64]
    partition: NDArray[np.int32]
    seq: NDArray[np.int64]
    target: NDArray[np.int64]
    old_us: NDArray[np.int64]
    fields: NDArray[np.int64]
