"""Rows: what readers get of an entity, and how its statistics stand in one row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noskew.dataflows.definition.plan import MOVING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import Op, TablePlan
    from noskew.schemas.columns import Column


@dataclass(frozen=True, slots=True)
class RowField:
    """One statistic of an entity's row.

    at     its place in the row, among the statistics of all tables
    words  int64 words it takes: a float64, or anchor (int64 us) and value (float64) where it moves
           with the reader's time
    """

    at: int
    name: str
    op: Op

    @property
    def words(self) -> int:
        """Return how many words it takes."""
        return 1 + (self.op.stat in MOVING)


def fields_of(tables: Iterable[TablePlan]) -> tuple[RowField, ...]:
    """Return the statistics of an entity's row, in its order, given all tables of the entity."""
    found = [
        RowField(at, name, table.ops[op])
        for table in tables
        for op, at, name in zip(table.row, table.row_at, table.row_names, strict=True)
    ]
    return tuple(sorted(found, key=lambda field: field.at))


@dataclass(frozen=True, slots=True)
class Rows:
    """k changed rows of one entity and the keys that are gone, since the last drain; copies.

    entity    the field state is kept by
    slot      int32[k]         the key's place in its table; distinct within one drain
    key       k keys, int64 or ``Strings``; never null
    time_us   int64[k]         time of the entity's greatest (time, seq) scored entry
    until_us  int64[k]         first moment at which a member enters or leaves; int64 max: never
    seq       int64[k]         seq of the record, of any stream, that rewrote the row
    words     int64[k, width]  bit patterns in row order (see ``RowField``)
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
