"""Compaction: live chunks move to the front of the pool, so that its end can be given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels.jit import kernel
from noskew.kernels.layout import (
    CHUNK,
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
    COUNTERS,
    END,
    SLOT_FIRST,
    SLOT_LAST,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from noskew.kernels.layout import State


@kernel
def compact(positions: NDArray[np.int64], state: State, places: NDArray[np.int64]) -> None:
    """Move every live chunk as far to the front as there is room.

    positions  int64[edges]   fields of a slot that hold a position
    places     int64[chunks]  scratch, ``END`` everywhere
    """
    chunks, counters = state.chunks, state.aux[COUNTERS]
    taken = counters[COUNTER_CHUNKS]
    # A jump to a chunk that was freed since is not followed; now it could not be told any more.
    for chunk in range(taken):
        jump = chunks[chunk, CHUNK_JUMP]
        if jump != END and chunks[jump, CHUNK_SERIAL] >= chunks[chunk, CHUNK_SERIAL]:
            chunks[chunk, CHUNK_JUMP] = END
    live = 0
    for chunk in range(taken):
        if chunks[chunk, CHUNK_OWNER] != END:
            places[chunk] = live
            if live != chunk:
                for field in range(chunks.shape[1]):
                    chunks[live, field] = chunks[chunk, field]
                for at in range(CHUNK):
                    for field in range(state.entries.shape[1]):
                        state.entries[(live << CHUNK_SHIFT) + at, field] = state.entries[
                            (chunk << CHUNK_SHIFT) + at, field
                        ]
            live += 1
    for chunk in range(live):
        row = chunks[chunk]
        for field in (CHUNK_PREVIOUS, CHUNK_NEXT, CHUNK_JUMP):
            if row[field] != END:
                row[field] = places[row[field]]
        key = state.slots[row[CHUNK_OWNER]]
        if row[CHUNK_PREVIOUS] == END:
            # Once a key: at its first chunk.
            key[SLOT_FIRST] = chunk
            key[SLOT_LAST] = places[key[SLOT_LAST]]
            for at in range(positions.shape[0]):
                stands = key[positions[at]]
                if stands != END:
                    moved = places[stands >> CHUNK_SHIFT]
                    key[positions[at]] = (moved << CHUNK_SHIFT) + (stands & CHUNK_MASK)
    counters[COUNTER_CHUNKS] = live
    counters[COUNTER_FREE_CHUNK] = END
    counters[COUNTER_FREED_CHUNKS] = 0
