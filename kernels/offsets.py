"""Bookkeeping of offsets: which records were delivered before."""

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
