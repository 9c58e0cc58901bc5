"""Bookkeeping of offsets: what was delivered again, and which ranges were left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels.jit import kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel
def fresh(
    partition: NDArray[np.int32],
    offset: NDArray[np.int64],
    next_offset: NDArray[np.int64],
    out: NDArray[np.bool_],
) -> int:
    """Mark the records not delivered before; return how many there are.

    next_offset  int64[partitions]  next offset expected of each partition; mutated
    out          bool[n]            every element is written
    """
    kept = 0
    for i in range(len(offset)):
        out[i] = offset[i] >= next_offset[partition[i]]
        if out[i]:
            next_offset[partition[i]] = offset[i] + 1
            kept += 1
    return kept


@kernel
def before_stops(
    partition: NDArray[np.int32],
    offset: NDArray[np.int64],
    stop: NDArray[np.int64],
    out: NDArray[np.bool_],
) -> int:
    """Mark the records whose offset is below their partition's ``stop``; return how many."""
    kept = 0
    for i in range(len(offset)):
        out[i] = offset[i] < stop[partition[i]]
        if out[i]:
            kept += 1
    return kept
