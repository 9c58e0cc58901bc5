"""Ids that are remembered: of accepted records (``dedupe``) and of open entries (``revise``).

One open-addressing table of rows (used, hash, input, id, length, time, handle) per stream. An id is
an int64, or a string that stands in ``heap``; see ``keys`` for how ids are given. Rows are only
added; what is to be forgotten is left out when the caller makes the table anew (``keep``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from noskew.kernels.jit import kernel
from noskew.kernels.keys import hash_bytes, hash_int
from noskew.kernels.layout import NULL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ID_STATE: Final = 0  # 0: free, 1: remembered, 2: no longer open, kept so that others are found
ID_HASH: Final = 1
ID_INPUT: Final = 2
ID_VALUE: Final = 3  # the id, or where it starts in the heap
ID_LENGTH: Final = 4
ID_TIME: Final = 5
ID_HANDLE: Final = 6
ID_WIDTH: Final = 7


@kernel
def hash_of(strings: int, heap: NDArray[np.uint8], value: int, length: int) -> int:
    """Return the hash of an id."""
    return hash_bytes(heap, value, length) if strings else hash_int(value)


@kernel
def same_id(
    ids: NDArray[np.int64],
    own: NDArray[np.uint8],
    at: int,
    strings: int,
    hashed: int,
    heap: NDArray[np.uint8],
    value: int,
    length: int,
) -> bool:
    """Return whether row ``at`` has this id; ``own`` is the table's heap."""
    if ids[at, ID_HASH] != hashed:
        return False
    if not strings:
        return bool(ids[at, ID_VALUE] == value)
    if ids[at, ID_LENGTH] != length:
        return False
    start = ids[at, ID_VALUE]
    for i in range(length):  # noqa: SIM110 - generators do not compile
        if own[start + i] != heap[value + i]:
            return False
    return True


@kernel
def near(
    ids: NDArray[np.int64],
    own: NDArray[np.uint8],
    strings: int,
    hashed: int,
    heap: NDArray[np.uint8],
    value: int,
    length: int,
    partition: int,
    time_us: int,
    span_us: int,
) -> bool:
    """Return whether an id was accepted in a partition within ``span_us`` of a time."""
    mask = ids.shape[0] - 1
    at = hashed & mask
    while ids[at, ID_STATE] != 0:
        if (
            ids[at, ID_INPUT] == partition
            and abs(ids[at, ID_TIME] - time_us) <= span_us
            and same_id(ids, own, at, strings, hashed, heap, value, length)
        ):
            return True
        at = (at + 1) & mask
    return False


@kernel
def open_row(
    ids: NDArray[np.int64],
    own: NDArray[np.uint8],
    strings: int,
    hashed: int,
    heap: NDArray[np.uint8],
    value: int,
    length: int,
) -> int:
    """Return the row of an id, or -1."""
    mask = ids.shape[0] - 1
    at = hashed & mask
    while ids[at, ID_STATE] != 0:
        if same_id(ids, own, at, strings, hashed, heap, value, length):
            return int(at)
        at = (at + 1) & mask
    return -1


@kernel
def remember(
    ids: NDArray[np.int64],
    own: NDArray[np.uint8],
    counters: NDArray[np.int64],
    strings: int,
    hashed: int,
    heap: NDArray[np.uint8],
    value: int,
    length: int,
    partition: int,
    time_us: int,
    handle: int,
) -> None:
    """Add a row. ``counters``: rows used, bytes of the heap used; there must be room."""
    mask = ids.shape[0] - 1
    at = hashed & mask
    while ids[at, ID_STATE] != 0:
        at = (at + 1) & mask
    ids[at, ID_STATE] = 1
    ids[at, ID_HASH] = hashed
    ids[at, ID_INPUT] = partition
    ids[at, ID_VALUE] = value
    ids[at, ID_LENGTH] = length
    ids[at, ID_TIME] = time_us
    ids[at, ID_HANDLE] = handle
    if strings:
        start = counters[1]
        for i in range(length):
            own[start + i] = heap[value + i]
        ids[at, ID_VALUE] = start
        counters[1] = start + length
    counters[0] += 1


@kernel
def codes_of(
    ids: NDArray[np.int64],
    own: NDArray[np.uint8],
    counters: NDArray[np.int64],
    free: NDArray[np.int64],
    heap: NDArray[np.uint8],
    start: NDArray[np.int64],
    length: NDArray[np.int64],
    out: NDArray[np.int64],
) -> int:
    """Write the number of each of n texts, a new one for a new text, ``NULL`` for a null.

    Returns n, or the first text that finds no room.
    """
    for row in range(start.shape[0]):
        if length[row] < 0:
            out[row] = NULL
            continue
        hashed = hash_bytes(heap, start[row], length[row])
        at = open_row(ids, own, 1, hashed, heap, start[row], length[row])
        if at >= 0:
            out[row] = ids[at, ID_HANDLE]
            continue
        if 2 * (counters[0] + 1) > ids.shape[0] or counters[1] + length[row] > own.shape[0]:
            return row
        out[row] = take_handle(counters, free)
        remember(ids, own, counters, 1, hashed, heap, start[row], length[row], 0, 0, out[row])
    return int(start.shape[0])


@kernel
def take_handle(counters: NDArray[np.int64], free: NDArray[np.int64]) -> int:
    """Return a number that is free, or one that never was given."""
    count = free[0]
    if count > 0:
        free[0] = count - 1
        return int(free[count])
    counters[2] += 1
    return int(counters[2] - 1)


@kernel
def keep(
    old: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    old_heap: NDArray[np.uint8],
    new: NDArray[np.int64],
    new_heap: NDArray[np.uint8],
    counters: NDArray[np.int64],
    strings: int,
) -> None:
    """Copy the chosen rows to an empty table; ``counters`` begin at 0."""
    for at in range(old.shape[0]):
        if old[at, ID_STATE] == 1 and chosen[at]:
            remember(
                new, new_heap, counters, strings, old[at, ID_HASH], old_heap, old[at, ID_VALUE],
                old[at, ID_LENGTH], old[at, ID_INPUT], old[at, ID_TIME], old[at, ID_HANDLE],
            )  # fmt: skip
