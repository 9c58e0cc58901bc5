"""``Rows``: what a table hands to the store, the entity rows that changed and the keys gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from noskew.schemas.columns import Column


@dataclass(frozen=True, slots=True)
class Rows:
    """k changed rows of one entity and the keys that are gone, since the last drain; copies.

    entity    the field state is kept by
    slot      int32[k]         the key's place in its table; distinct within one drain
    key       k keys, int64 or ``Strings``; never null
    time_us   int64[k]         time of the entity's greatest (time, seq) entry
    until_us  int64[k]         first moment at which a member enters or leaves; int64 max: never
    seq       int64[k]         seq of the record that rewrote the row
    words     int64[k, width]  bit patterns in row order: a float64, or for an anchored
                               statistic two words: anchor (int64 us), value (float64)
    gone      keys freed since the last drain and not reborn: none of them is in ``key``
    """

    entity: str
    slot: NDArray[np.int32]
    key: Column
    time_us: NDArray[np.int64]
    until_us: NDArray[np.int64]
    seq: NDArray[np.int64]
    words: NDArray[np.int64]
    gone: Column

    def __len__(self) -> int:
        return len(self.slot)
