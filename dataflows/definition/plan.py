"""The plan: a definition compiled to arrays, which is all that the engine and the kernels see.

Nothing here names a kernel's implementation: a plan says what to compute. Values are computed
into *nodes*, one float64 column each. Nodes ``0 .. len(names) - 1`` are the vector, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Stat(IntEnum):
    """What a windowed statistic computes. Persisted in fingerprints: append, never renumber."""

    COUNT = 0
    COUNT_VALUES = 1  # members whose column is not null
    SUM = 2
    MEAN = 3
    MIN = 4
    MAX = 5
    SINCE_LAST = 6


class Row(IntEnum):
    """What a row function or an arithmetic node computes from columns and other nodes."""

    COLUMN = 0
    HOUR = 1
    WEEKDAY = 2
    LITERAL = 3
    ADD = 4
    SUBTRACT = 5
    MULTIPLY = 6
    DIVIDE = 7


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One stream: where its fields are and which of them the plan reads.

    place                which input of the pipeline it is; the scored stream is 0
    schema               the reader schema as parsed JSON; ``schema_text`` the text of its file
    fields               every field to decode -> "int" (int64 column), "float" or "string"
    nullable             fields whose schema allows null
    id, key, time, available   fields; times are "us" or "ms" on the wire, columns always us
    max_abs              largest absolute value of int columns that features read (2^40 where they
                         are aggregated, else 2^53); beyond it: dead letter
    """

    place: int
    name: str
    topic: str
    schema: dict[str, Any]
    schema_text: str
    id: str
    key: str
    time: str
    available: str
    fields: dict[str, str]
    nullable: frozenset[str]
    max_abs: dict[str, int]
    allowed_lateness_us: int
    max_skew_us: int


@dataclass(frozen=True, slots=True)
class TablePlan:
    """State kept by one entity column of one stream, and the statistics read from it.

    A window of width W and delay d holds members with T - d - W < t <= T - d. Its two ends are
    *edges*: an edge stands before the first entry with ``t > T - offset``. A low edge (offset
    d + W) also honours the horizon H: it uses max(T, H) for T. A high edge (offset d) does not.
    Edge 0 is always the high edge of offset 0.

    stream       place of the stream
    entity       the field state is kept by; ``key_type`` is "int" or "string"
    primary      the entity is the stream's key column (split keys are looked for)
    columns      aggregated value columns (int64, NULL-able), in order
    edge_offset_us   int64[edges];  edge_low  bool[edges]
    window_low, window_high  int32[windows]: indexes of edges
    op_kind (Stat), op_window, op_column, op_node  int32[ops]; -1 where there is none
    row_ops      int32[stats]: the ops stored in this entity's Redis row, in vector order
    row_names    their feature names
    reach_us     max(d + W), 0 without windows;  anchored: has a ``since_last``
    """

    stream: int
    entity: str
    key_type: str
    primary: bool
    columns: tuple[str, ...]
    edge_offset_us: NDArray[np.int64]
    edge_low: NDArray[np.bool_]
    window_low: NDArray[np.int32]
    window_high: NDArray[np.int32]
    op_kind: NDArray[np.int32]
    op_window: NDArray[np.int32]
    op_column: NDArray[np.int32]
    op_node: NDArray[np.int32]
    row_ops: NDArray[np.int32]
    row_names: tuple[str, ...]
    reach_us: int
    anchored: bool


@dataclass(frozen=True, slots=True)
class RowNode:
    """A node computed per row: ``node = op(field or operands)``.

    field    COLUMN, HOUR, WEEKDAY: the field read (HOUR and WEEKDAY read the stream's time)
    value    LITERAL: the number; HOUR, WEEKDAY: the fixed offset from UTC in seconds
    left, right  operand nodes of arithmetic; -1 where there is none
    """

    node: int
    op: Row
    field: str = ""
    value: float = 0.0
    left: int = -1
    right: int = -1


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole pipeline. ``rows`` is in the order of evaluation, after all tables.

    fingerprint  32 bytes, DESIGN section 3.9
    names        feature names, in vector order;  nodes: how many node columns there are
    ordered      per feature: other partitions take part in its value (else it is local)
    model        the model's name, None for features only
    """

    name: str
    streams: tuple[StreamPlan, ...]
    tables: tuple[TablePlan, ...]
    rows: tuple[RowNode, ...]
    names: tuple[str, ...]
    nodes: int
    ordered: tuple[bool, ...]
    fingerprint: bytes
    model: str | None

    @property
    def scored(self) -> StreamPlan:
        """Return the stream whose events are scored."""
        return self.streams[0]

    @property
    def reach_us(self) -> int:
        """Return how far back the longest window reaches: max(d + W) over all tables."""
        return max((table.reach_us for table in self.tables), default=0)
