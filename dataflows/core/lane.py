"""A lane: the records one table is concerned with, in processing order, as its kernel takes them.

The table of the scored stream sees that stream's records; a table of another stream sees that
stream's records, which change it, and the scored ones, which read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from noskew.schemas.columns import Column


@dataclass(slots=True)
class Lane:
    """m records for one table.

    key          the entity column's values, int64 or ``Strings``
    columns      the table's value columns, in order: int64 with NULL, or ``Strings`` of a "text"
    bits         int64[m]  bit f: the record passes filter f of the table
    action       uint8[m]  bits of ``kernels.layout``: INSERT, EVALUATE, OWN; 0: nothing (a dead
                 letter, a duplicate)
    time_us      int64[m]  event time
    horizon_us   int64[m]  horizon as of before the record
    fold_us      int64[m]  fold line of the table's stream as of before the record
    partition    int32[m]
    seq          int64[m]
    target       int64[m]  evaluated records: their column of ``nodes`` and place in ``flags``
    handle       int64[m]  the record's open id (streams with ``revise``), else -1
    old_us       int64[m]  the time of the open entry it replaces, NULL if it replaces none
    """

    key: Column
    columns: tuple[Column, ...]
    bits: NDArray[np.int64]
    action: NDArray[np.uint8]
    time_us: NDArray[np.int64]
    horizon_us: NDArray[np.int64]
    fold_us: NDArray[np.int64]
    partition: NDArray[np.int32]
    seq: NDArray[np.int64]
    target: NDArray[np.int64]
    handle: NDArray[np.int64]
    old_us: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time_us)
