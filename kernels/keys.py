"""Hash tables from keys to slots: int64 keys, and string keys interned in one heap.

Open addressing with linear probing; ``index`` holds slots and the keys stand in the slots, which
an event touches anyway. Removal shifts later entries back, so there are no tombstones. All hash
arithmetic stays below 2^63: uncompiled NumPy scalars would otherwise warn of overflow.

Keys are given as two int64 columns: the key, or a string's start in ``heap``; and a string's
length in bytes (-1 is a null). An int64 key of ``NULL`` is a null; its length is not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.kernels.jit import kernel, prefetch
from noskew.kernels.layout import (
    COUNTER_FREE_SLOT,
    COUNTER_HEAP,
    COUNTER_KEYS,
    COUNTER_SLOTS,
    COUNTERS,
    END,
    MARK_LISTED,
    NULL,
    SLOT_FIRST,
    SLOT_HASH,
    SLOT_KEY,
    SLOT_LENGTH,
    SLOT_LIVE,
    SLOT_MARKS,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.kernels.layout import State

_APART: Final = 8
"""How many keys lie between the steps of a look-up: what a step asks for is there by the next."""


@kernel(inline=True)
def hash_int(key: int) -> int:
    """Return a hash of an int64 key, 0 .. 2^62."""
    low = key & 0xFFFFFFFF
    high = (key >> 32) & 0xFFFFFFFF
    mixed = (low * 0x5BD1E995) ^ (high * 0x27D4EB2F)
    mixed = mixed ^ (mixed >> 31)
    mixed = (mixed & 0xFFFFFFFF) * 0x045D9F3B + (mixed >> 32)
    return mixed ^ (mixed >> 29)


@kernel
def hash_bytes(heap: NDArray[np.uint8], start: int, length: int) -> int:
    """Return a hash of ``heap[start : start + length]``: 32-bit FNV-1a, then mixed."""
    mixed = np.int64(0x811C9DC5)
    for at in range(start, start + length):
        mixed = ((mixed ^ np.int64(heap[at])) * 0x01000193) & 0xFFFFFFFF
    return hash_int(int(mixed))


@kernel
def locate(
    strings: int,
    state: State,
    heap: NDArray[np.uint8],
    key: NDArray[np.int64],
    length: NDArray[np.int64],
    hashes: NDArray[np.int64],
    found: NDArray[np.int64],
) -> None:
    """Look up n keys, a separate pass in which the loads of many keys overlap.

    heap, key, length   the keys, see above
    hashes  int64[n]    written: the key's hash, -1 for a null
    found   int64[n]    written: the key's slot, -1 where it has none
    """
    index, slots, own = state.lookup, state.slots, state.heap
    count, mask = key.shape[0], index.shape[0] - 1
    # A key is hashed, its place in the table asked for; later its slot; and later looked up.
    for ahead in range(count + 2 * _APART):
        if ahead < count:
            hashes[ahead] = -1
            if (length[ahead] >= 0) if strings else (key[ahead] != NULL):
                if strings:
                    hashes[ahead] = hash_bytes(heap, key[ahead], length[ahead])
                else:
                    hashes[ahead] = hash_int(key[ahead])
                prefetch(index, hashes[ahead] & mask)
        soon = ahead - _APART
        if 0 <= soon < count and hashes[soon] >= 0:
            slot = int(index[hashes[soon] & mask])
            if slot > 0:
                prefetch(slots, slot)
        row = soon - _APART
        if row >= 0:
            found[row] = -1
            if hashes[row] >= 0:
                found[row] = find(
                    index, slots, own, strings, hashes[row], heap, key[row], length[row]
                )


@kernel(inline=True)
def find(
    index: NDArray[np.int32],
    slots: NDArray[np.int64],
    own: NDArray[np.uint8],
    strings: int,
    hashed: int,
    heap: NDArray[np.uint8],
    key: int,
    length: int,
) -> int:
    """Return the slot of a key that is not null, or -1; ``own`` is the table's key heap."""
    mask = index.shape[0] - 1
    at = hashed & mask
    while True:
        slot = int(index[at])
        if slot < 0:
            return -1
        if slots[slot, SLOT_HASH] == hashed:
            if strings == 0:
                if slots[slot, SLOT_KEY] == key:
                    return slot
            elif _same(slots, slot, own, heap, key, length):
                return slot
        at = (at + 1) & mask


@kernel
def add(
    index: NDArray[np.int32],
    slots: NDArray[np.int64],
    own: NDArray[np.uint8],
    counters: NDArray[np.int64],
    blank: NDArray[np.int64],
    strings: int,
    hashed: int,
    heap: NDArray[np.uint8],
    key: int,
    length: int,
) -> int:
    """Give a key that has no slot an empty one, and return it. There must be room."""
    slot = counters[COUNTER_FREE_SLOT]
    if slot != END:
        counters[COUNTER_FREE_SLOT] = slots[slot, SLOT_FIRST]
    else:
        slot = counters[COUNTER_SLOTS]
        counters[COUNTER_SLOTS] = slot + 1
    clear(blank, slots, slot)
    slots[slot, SLOT_LIVE] = 1
    slots[slot, SLOT_HASH] = hashed
    slots[slot, SLOT_KEY] = key
    if strings:
        start = counters[COUNTER_HEAP]
        for at in range(length):
            own[start + at] = heap[key + at]
        counters[COUNTER_HEAP] = start + length
        slots[slot, SLOT_KEY] = start
        slots[slot, SLOT_LENGTH] = length
    _place(index, slots, slot)
    counters[COUNTER_KEYS] += 1
    return int(slot)


@kernel
def clear(blank: NDArray[np.int64], slots: NDArray[np.int64], slot: int) -> None:
    """Empty a slot, except for its key and ``MARK_LISTED``; its chunks are not freed."""
    listed = slots[slot, SLOT_MARKS] & MARK_LISTED
    for field in range(SLOT_FIRST, slots.shape[1]):
        slots[slot, field] = blank[field]
    slots[slot, SLOT_MARKS] = listed


@kernel
def remove(state: State, slot: int) -> None:
    """Take a key out of the table and put its slot on the free list. Its chunks are not freed."""
    index, slots, counters = state.lookup, state.slots, state.aux[COUNTERS]
    mask = index.shape[0] - 1
    hole = slots[slot, SLOT_HASH] & mask
    while index[hole] != slot:
        hole = (hole + 1) & mask
    at = (hole + 1) & mask
    while index[at] >= 0:
        home = slots[index[at], SLOT_HASH] & mask
        # An entry may move back into the hole if its home does not lie between the two.
        if ((at - home) & mask) >= ((at - hole) & mask):
            index[hole] = index[at]
            hole = at
        at = (at + 1) & mask
    index[hole] = -1
    counters[COUNTER_KEYS] -= 1
    slots[slot, SLOT_LIVE] = 0
    slots[slot, SLOT_MARKS] = slots[slot, SLOT_MARKS] & MARK_LISTED
    slots[slot, SLOT_FIRST] = counters[COUNTER_FREE_SLOT]
    counters[COUNTER_FREE_SLOT] = slot


@kernel
def rehash(state: State, index: NDArray[np.int32]) -> None:
    """Enter every live slot into ``index``, an empty (-1) table of another size."""
    for slot in range(1, state.aux[COUNTERS, COUNTER_SLOTS]):
        if state.slots[slot, SLOT_LIVE] == 1:
            _place(index, state.slots, slot)


@kernel
def copy_keys(
    heap: NDArray[np.uint8],
    start: NDArray[np.int64],
    length: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Copy n strings one after another into ``out`` and set ``start`` to where each now is."""
    used = 0
    for row in range(start.shape[0]):
        for at in range(length[row]):
            out[used + at] = heap[start[row] + at]
        start[row] = used
        used += length[row]


@kernel(inline=True)
def _same(
    slots: NDArray[np.int64],
    slot: int,
    own: NDArray[np.uint8],
    heap: NDArray[np.uint8],
    start: int,
    length: int,
) -> bool:
    if slots[slot, SLOT_LENGTH] != length:
        return False
    first = slots[slot, SLOT_KEY]
    for at in range(length):  # noqa: SIM110 - generators do not compile
        if own[first + at] != heap[start + at]:
            return False
    return True


@kernel
def _place(index: NDArray[np.int32], slots: NDArray[np.int64], slot: int) -> None:
    mask = index.shape[0] - 1
    at = slots[slot, SLOT_HASH] & mask
    while index[at] >= 0:
        at = (at + 1) & mask
    index[at] = slot
