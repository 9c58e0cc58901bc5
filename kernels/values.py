"""A multiset for ``distinct``: how often each value occurs in each window of each key.

One open-addressing table of rows (owner, value, count), where ``owner`` is ``slot * ops + op``.
Linear probing; what reaches count 0 is removed and later entries are shifted back, so there are no
tombstones. A count may be negative for a while: the ends of a window move one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from noskew.kernels.jit import kernel
from noskew.kernels.keys import hash_int
from noskew.kernels.layout import COUNTER_USED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OWNER: Final = 0
VALUE: Final = 1
COUNT: Final = 2
WIDTH: Final = 3
"""Fields of a row; ``OWNER`` is -1 where the row is free."""
FREE: Final = -1

_MASK: Final = 2**62 - 1


@kernel
def place_of(rows: NDArray[np.int64], owner: int, value: int) -> int:
    """Return the row of (owner, value), or the free row where it would go.

    rows  int64[2^k, WIDTH], at least one of them free
    """
    mask = rows.shape[0] - 1
    at = _hash(owner, value) & mask
    while rows[at, OWNER] != FREE and (rows[at, OWNER] != owner or rows[at, VALUE] != value):
        at = (at + 1) & mask
    return int(at)


@kernel
def change(
    rows: NDArray[np.int64], used: NDArray[np.int64], owner: int, value: int, by: int
) -> int:
    """Add ``by`` (1 or -1) to the count of (owner, value).

    used  where ``COUNTER_USED`` counts the rows in use, kept below three quarters by the caller

    Returns 1, 0 or -1: how the number of values with a positive count changes.
    """
    at = place_of(rows, owner, value)
    if rows[at, OWNER] == FREE:
        rows[at, OWNER] = owner
        rows[at, VALUE] = value
        rows[at, COUNT] = by
        used[COUNTER_USED] += 1
        return 1 if by > 0 else 0
    before = rows[at, COUNT]
    after = before + by
    rows[at, COUNT] = after
    if after == 0:
        _remove(rows, at)
        used[COUNTER_USED] -= 1
    if after > 0 and before <= 0:
        return 1
    return -1 if after <= 0 and before > 0 else 0


@kernel
def has(rows: NDArray[np.int64], owner: int, value: int) -> int:
    """Return 1 if the count of (owner, value) is positive, else 0."""
    at = place_of(rows, owner, value)
    return 1 if rows[at, OWNER] != FREE and rows[at, COUNT] > 0 else 0


@kernel
def rehash(old: NDArray[np.int64], new: NDArray[np.int64]) -> None:
    """Copy every row in use to ``new``, int64[2^k, WIDTH], whose rows are all free."""
    for row in range(old.shape[0]):
        if old[row, OWNER] != FREE:
            at = place_of(new, old[row, OWNER], old[row, VALUE])
            new[at, OWNER] = old[row, OWNER]
            new[at, VALUE] = old[row, VALUE]
            new[at, COUNT] = old[row, COUNT]


@kernel
def forget(rows: NDArray[np.int64], used: NDArray[np.int64], owner: int, value: int) -> None:
    """Remove (owner, value), whatever its count: its key is freed."""
    at = place_of(rows, owner, value)
    if rows[at, OWNER] != FREE:
        _remove(rows, at)
        used[COUNTER_USED] -= 1


@kernel
def _hash(owner: int, value: int) -> int:
    return hash_int((hash_int(owner) ^ (value & _MASK)) & _MASK)


@kernel
def _remove(rows: NDArray[np.int64], at: int) -> None:
    """Free a row and shift back those that had to go past it."""
    mask = rows.shape[0] - 1
    gap = at
    at = (at + 1) & mask
    while rows[at, OWNER] != FREE:
        home = _hash(rows[at, OWNER], rows[at, VALUE]) & mask
        # It may move into the gap unless its home lies between the gap and where it stands.
        if (at - home) & mask >= (at - gap) & mask:
            for field in range(WIDTH):
                rows[gap, field] = rows[at, field]
            gap = at
        at = (at + 1) & mask
    rows[gap, OWNER] = FREE
