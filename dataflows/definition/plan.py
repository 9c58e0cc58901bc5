"""The plan: a definition compiled to values, which is all that the engine and the kernels see.

A plan says what to compute, not how: windows, filters and statistics here, arrays in the engine.
Values are computed into *nodes*, one float64 column each. Nodes ``0 .. len(names) - 1`` are the
vector, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias


class Stat(IntEnum):
    """What a statistic computes. Persisted in fingerprints: append, never renumber."""

    COUNT = 0
    COUNT_VALUES = 1  # members whose column is not null
    SUM = 2
    MEAN = 3
    MIN = 4
    MAX = 5
    SINCE_LAST = 6
    VAR = 7
    STD = 8
    FIRST = 9
    LAST = 10
    DISTINCT = 11
    RATE = 12
    DECAYED_SUM = 13
    DECAYED_COUNT = 14
    EWMA = 15


MOVING = frozenset({Stat.SINCE_LAST, Stat.DECAYED_SUM, Stat.DECAYED_COUNT})
"""Statistics whose value moves with the time of reading: rows store them by anchor."""
WINDOWLESS = frozenset({Stat.SINCE_LAST, Stat.DECAYED_SUM, Stat.DECAYED_COUNT, Stat.EWMA})
"""Statistics without a window."""
DECAYS = frozenset({Stat.DECAYED_SUM, Stat.DECAYED_COUNT, Stat.EWMA})
"""Statistics by recursion over all entries."""


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


class Is(IntEnum):
    """How a filter compares a field with its literals. Persisted in fingerprints."""

    EQUAL = 0
    NOT_EQUAL = 1
    LESS = 2
    LESS_EQUAL = 3
    GREATER = 4
    GREATER_EQUAL = 5
    IN = 6
    NULL = 7


@dataclass(frozen=True, slots=True)
class Comparison:
    """``field <is> values``: one literal, several of IN, none of NULL.

    A null compares false with everything (``NULL`` asks for it). Enums are compared by the index
    of their symbol in the reader schema, booleans by 0 and 1.
    """

    field: str
    op: Is
    values: tuple[int | float | str, ...] = ()


@dataclass(frozen=True, slots=True)
class Both:
    """``left & right``."""

    left: Filter
    right: Filter


@dataclass(frozen=True, slots=True)
class Either:
    """``left | right``."""

    left: Filter
    right: Filter


@dataclass(frozen=True, slots=True)
class Negated:
    """``~inner``: true exactly where ``inner`` is false, so also for a compared null."""

    inner: Filter


Filter: TypeAlias = "Comparison | Both | Either | Negated"


@dataclass(frozen=True, slots=True)
class Window:
    """Members as of T: from ``low(T)`` to ``T - delay_us``.

    over_us        W; None: all of history
    delay_us       d
    low_closed     False: t > T - d - W;   True: t >= T - d - W
    high_open      False: t <= T - d;      True: t < T - d
    resolution_us  0, or r: T - d - W is rounded down to a whole multiple of r (since the epoch)

    With times in whole microseconds each end is one *edge*, which stands before the first entry
    later than its limit: ``floor_r(max(T, H) - (d + W)) - low_closed`` for the old end, where H is
    the horizon (what it has closed is no member, whatever T), ``T - d - high_open`` for the new.
    """

    over_us: int | None
    delay_us: int = 0
    low_closed: bool = False
    high_open: bool = False
    resolution_us: int = 0

    @property
    def reach_us(self) -> int:
        """Return how far below T (or H) a member can lie; 0 for all of history."""
        if self.over_us is None:
            return 0
        rounded = max(self.resolution_us - 1, 0)
        return self.over_us + self.delay_us + int(self.low_closed) + rounded


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """A value column a table aggregates.

    kind   "int" (integers, booleans 0/1, enum index), "quantum" (a float64 column whose integer is
           ``rint(x * 10**power)``), "text" (only counted and told apart)
    power  decimal places of a quantum
    """

    field: str
    kind: str = "int"
    power: int = 0


@dataclass(frozen=True, slots=True)
class Op:
    """One statistic of a table.

    node          where its value goes
    window        place in ``TablePlan.windows``; -1 for WINDOWLESS ones
    column        place in ``TablePlan.columns``, -1 for none
    filter        place in ``TablePlan.filters``, -1 for none
    include_self  the scored event counts as a member if its time is inside the window
    empty         value of a window without members (of the column); NaN or a number
    ddof          VAR, STD
    half_life_us  DECAYED_*, EWMA
    """

    stat: Stat
    node: int
    window: int = -1
    column: int = -1
    filter: int = -1
    include_self: bool = True
    empty: float = 0.0
    ddof: int = 1
    half_life_us: int = 0


@dataclass(frozen=True, slots=True)
class TablePlan:
    """State kept by one entity column of one stream, and the statistics read from it.

    An entity's table of the scored stream always exists and stands before those of other streams
    (with no ops, if need be): it knows when the entity was last seen.

    stream     place of the stream whose records are aggregated
    entity     the field state is kept by, in this stream and in the scored one
    key_type   "int" or "string"
    primary    the entity is the scored stream's key and this is its table (split keys are looked
               for)
    row        places in ``ops`` of what the entity's Redis row stores, in vector order
    row_at     for each of ``row``: its place in the whole row of the entity (all streams' tables)
    row_names  their feature names
    """

    stream: int
    entity: str
    key_type: str
    primary: bool
    columns: tuple[ColumnPlan, ...]
    filters: tuple[Filter, ...]
    windows: tuple[Window, ...]
    ops: tuple[Op, ...]
    row: tuple[int, ...]
    row_at: tuple[int, ...]
    row_names: tuple[str, ...]

    @property
    def reach_us(self) -> int:
        """Return how far back the longest window reaches, max(d + W); 0 without windows."""
        return max((window.reach_us for window in self.windows), default=0)

    @property
    def endless(self) -> bool:
        """Return whether a key is never forgotten: all of history, decays, ``since_last``."""
        return any(
            op.stat in WINDOWLESS or self.windows[op.window].over_us is None for op in self.ops
        )


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One stream: where its fields are and which of them the plan reads.

    place                which input of the pipeline it is; the scored stream is 0
    schema               the reader schema as parsed JSON; ``schema_text`` the text of its file
    fields               every field to decode -> "int" (int64 column), "float" or "string"
    nullable             fields whose schema allows null
    id, key, time, available   fields; times are "us" or "ms" on the wire, columns always us.
                         ``available`` may be RECORD_TIMESTAMP: Kafka's own
    max_abs              largest absolute value of int columns that features read (2^40 where they
                         are aggregated, else 2^53), and of a quantum's integers; beyond it: dead
    quantum              float field -> decimal places k: aggregated as ``rint(x * 10**k)``
    dedupe_us            span within which an id is accepted once per partition; 0: never dropped
    revise               a record with the id of an open entry replaces it
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
    quantum: dict[str, int]
    dedupe_us: int = 0
    revise: bool = False


RECORD_TIMESTAMP = "record_timestamp"


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

    streams      the scored one first, then as they occur in the definition
    fingerprint  32 bytes, DESIGN section 3.9
    names        feature names, in vector order;  nodes: how many node columns there are
    ordered      per feature: other partitions or streams take part (else it is local)
    model        the model's name, None for features only
    peers        records of one event time see each other, whichever came first: only a replay,
                 which takes events in the order of their times, can do that
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
    peers: bool = False

    @property
    def scored(self) -> StreamPlan:
        """Return the stream whose events are scored."""
        return self.streams[0]

    @property
    def reach_us(self) -> int:
        """Return how far back the longest window reaches: max(d + W) over all tables."""
        return max((table.reach_us for table in self.tables), default=0)
