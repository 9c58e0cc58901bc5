"""A table's plan as the arrays its kernels read: what each edge keeps, and where in a slot it lies.

Ops that need the same total, bound, edge or recursion share it. One row a statistic says what it
needs: ``NEEDS``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Flag, auto
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from noskew.dataflows.definition.plan import Stat
from noskew.kernels import layout
from noskew.kernels.layout import (
    CHUNK_TOTALS,
    DECAY_FOLDED_TIME,
    DECAY_RUNNING_TIME,
    DECAY_WORDS,
    EDGE_FOLD,
    EDGE_HIGH,
    EDGE_LOW,
    EDGE_NEWEST,
    EDGE_POSITION,
    EDGE_TIME,
    EDGE_TOTALS,
    END,
    FIRST_EDGE,
    FOLD_TOTALS,
    FOLD_WORDS,
    FOREVER,
    LOWEST,
    NO_TIME,
    SLOT_AS_OF,
    SLOT_EDGES,
    SLOT_FIRST,
    SLOT_FOLD,
    SLOT_LAST,
    SLOT_NEWEST,
    SLOT_OLDEST,
    SLOT_REACHED,
    TOTAL_COUNT,
    TOTAL_SQUARES_HIGH,
    TOTAL_SQUARES_LOW,
    TOTAL_SUM,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import Op, StreamPlan, TablePlan


_Key = TypeVar("_Key")


class Need(Flag):
    """What a statistic is computed from, beside the number of members."""

    COUNT = auto()
    SUM = auto()
    SQUARES = auto()
    BOUND = auto()
    ENDS = auto()
    TALLY = auto()
    DECAY = auto()
    NEWEST = auto()


NEEDS: Final = {
    Stat.COUNT: Need.COUNT,
    Stat.COUNT_VALUES: Need.COUNT,
    Stat.RATE: Need.COUNT,
    Stat.SUM: Need.COUNT | Need.SUM,
    Stat.MEAN: Need.COUNT | Need.SUM,
    Stat.VAR: Need.COUNT | Need.SUM | Need.SQUARES,
    Stat.STD: Need.COUNT | Need.SUM | Need.SQUARES,
    Stat.MIN: Need.BOUND,
    Stat.MAX: Need.BOUND,
    Stat.FIRST: Need.ENDS,
    Stat.LAST: Need.ENDS,
    Stat.DISTINCT: Need.TALLY,
    Stat.DECAYED_SUM: Need.DECAY,
    Stat.DECAYED_COUNT: Need.DECAY,
    Stat.EWMA: Need.DECAY,
    Stat.SINCE_LAST: Need.NEWEST,
}

_Edge = tuple[int, int, int, int]
"""Kind, offset, resolution, extra."""
Total = tuple[int, int]
"""Kind, and field of an entry or -1."""
_NOW: Final[_Edge] = (EDGE_HIGH, 0, 0, 0)
_FOLD_LINE: Final[_Edge] = (EDGE_FOLD, 0, 0, 0)


@dataclass
class Layout:
    """A table's arrays in the making: what its ops need, shared, and where each thing lies.

    width        int64 words of a slot;  chunk_width: of a chunk, its entries apart
    pairs        (column or -1, filter or -1) -> which value of an entry it is: the column's, null
                 where the filter is not passed
    fields       int64 words of an entry, its time included
    words        what is found of a key: int64 words
    blank        int64[width]: an empty slot
    """

    plan: TablePlan
    stream: StreamPlan
    key_cap: int
    keep_us: int
    gone_us: int
    edges: dict[_Edge, int] = field(init=False)
    totals: dict[Total, int] = field(default_factory=dict)
    bounds: dict[int, int] = field(default_factory=dict)
    extremes: dict[tuple[int, int, int, int], int] = field(default_factory=dict)
    tallies: dict[tuple[int, int, int], int] = field(default_factory=dict)
    frozen_ends: dict[tuple[int, int], int] = field(default_factory=dict)
    ends: dict[tuple[int, int, int, int], int] = field(default_factory=dict)
    decays: dict[tuple[int, int, int], int] = field(default_factory=dict)
    windows: dict[tuple[int, int, Total], int] = field(default_factory=dict)
    histories: dict[tuple[int, int, Total], int] = field(default_factory=dict)
    below: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pairs: dict[tuple[int, int], int] = {}
        self.edges = self._edges()
        self.needed: dict[int, dict[Total, int]] = {at: {} for at in self.edges.values()}
        for op in self.plan.ops:
            self._need(op)
        self.handle = 1 + len(self.pairs) if self.stream.revise else -1
        self.fields = 1 + len(self.pairs) + self.stream.revise
        self.chunk_width = CHUNK_TOTALS + len(self.totals) + 2 * len(self.bounds)
        self._place_fields()
        self._place_words()

    def _edges(self) -> dict[_Edge, int]:
        """Return all edges with their rows of the plan: high ones, then low, then fold edges."""
        found = {_NOW}
        for op in self.plan.ops:
            found.update(self.ends_of(op))
            if NEEDS[op.stat] & Need.DECAY:
                found.add(_FOLD_LINE)
        others = sorted(found - {_NOW})
        return {edge: FIRST_EDGE + at for at, edge in enumerate([_NOW, *others])}

    def ends_of(self, op: Op) -> tuple[_Edge, ...]:
        """Return the low and the high edge of an op's window; none without a window."""
        if op.window < 0:
            return ()
        window = self.plan.windows[op.window]
        late = window.delay_us + window.high_open
        if window.over_us is None:
            return (EDGE_FOLD, late, 0, 0), (EDGE_HIGH, late, 0, 0)
        reach = window.over_us + window.delay_us
        low = (EDGE_LOW, reach, window.resolution_us, int(window.low_closed))
        return low, (EDGE_HIGH, late, 0, 0)

    def _need(self, op: Op) -> None:
        """Enter what an op needs."""
        need, column = NEEDS[op.stat], self.column(op)
        if need & Need.DECAY:
            for counted in (0, 1) if op.stat is Stat.EWMA else (0,):
                _number(self.decays, (column, op.half_life_us, counted))
        if op.window < 0:
            return
        low, high = (self.edges[edge] for edge in self.ends_of(op))
        history = self.history(op)
        for total in self.totals_of(op):
            _number(self.totals, total)
            _number(self.histories if history else self.windows, (low, high, total))
            _number(self.needed[low], total)
            _number(self.needed[high], total)
        if history:
            _number(self.below, (low, high))
        if need & Need.BOUND:
            _number(self.bounds, column)
            _number(self.extremes, (column, low, high, sign_of(op)))
        if need & Need.TALLY:
            _number(self.tallies, (column, low, high))
        if need & Need.ENDS:
            _number(self.ends, (column, low, high, int(op.stat is Stat.LAST)))
            if history:
                _number(self.frozen_ends, (column, low))

    def history(self, op: Op) -> bool:
        """Return whether an op is over all of history."""
        return op.window >= 0 and self.plan.windows[op.window].over_us is None

    def column(self, op: Op) -> int:
        """Return the field of an entry that an op reads; -1 where each entry counts."""
        column = op.column
        if op.stat is Stat.COUNT_VALUES and not self._nullable(op):
            column = -1  # the number of values is the number of members
        if column < 0 and op.filter < 0:
            return -1
        return 1 + self.pairs.setdefault((column, op.filter), len(self.pairs))

    def _nullable(self, op: Op) -> bool:
        """Return whether an op's column may have a null: NaN is that of a float column."""
        column = self.plan.columns[op.column]
        return column.field in self.stream.nullable or column.kind == "quantum"

    def totals_of(self, op: Op) -> list[Total]:
        """Return the totals an op needs, the two of squares side by side."""
        need, column = NEEDS[op.stat], self.column(op)
        kinds: list[Total] = []
        if need & Need.COUNT:
            known = op.column < 0 or self._nullable(op) or op.filter >= 0
            kinds.append((TOTAL_COUNT, column if known else -1))
        if need & Need.SUM:
            kinds.append((TOTAL_SUM, column))
        if need & Need.SQUARES:
            kinds += [(kind, column) for kind in (TOTAL_SQUARES_HIGH, TOTAL_SQUARES_LOW)]
        return kinds

    def scale(self, field_: int) -> int:
        """Return what an integer of a column, given by its field of an entry, is a multiple of."""
        column = -1 if field_ < 0 else list(self.pairs)[field_ - 1][0]
        return 10 ** self.plan.columns[column].power if column >= 0 else 1

    def _place_fields(self) -> None:
        """Give every part its field of a slot, and find out what an empty slot holds."""
        at = SLOT_EDGES
        self.edge_field: dict[int, int] = {}
        blank: dict[int, int] = {
            SLOT_FIRST: END, SLOT_LAST: END, SLOT_NEWEST: NO_TIME, SLOT_OLDEST: FOREVER,
            SLOT_AS_OF: NO_TIME, SLOT_REACHED: NO_TIME, SLOT_FOLD: NO_TIME,
        }  # fmt: skip
        for (kind, *_), edge in self.edges.items():
            needed = self.needed[edge]
            self.edge_field[edge] = at
            blank |= {at + EDGE_POSITION: END, at + EDGE_TIME: FOREVER}
            fold = kind == EDGE_FOLD
            if fold:
                blank[at + EDGE_NEWEST] = NO_TIME
            at += FOLD_TOTALS + FOLD_WORDS * len(needed) if fold else EDGE_TOTALS + len(needed)
        self.extreme_field, at = _fields(at, 2, len(self.extremes))
        for place in self.extreme_field:
            blank |= {place: LOWEST, place + 1: LOWEST}
        self.tally_field, at = _fields(at, 1, len(self.tallies))
        self.ends_field, at = _fields(at, 4, len(self.frozen_ends))
        for place in self.ends_field:
            blank |= {place: NO_TIME, place + 2: NO_TIME}
        self.decay_field, at = _fields(at, DECAY_WORDS, len(self.decays))
        for place in self.decay_field:
            blank |= {place + DECAY_FOLDED_TIME: NO_TIME, place + DECAY_RUNNING_TIME: NO_TIME}
        self.width = at
        self.blank = np.zeros(at, np.int64)
        self.blank[list(blank)] = list(blank.values())

    def _place_words(self) -> None:
        """Give every thing that is found its word; word 0 is the newest time."""
        self.window_word, at = _fields(1, 1, len(self.windows))
        self.history_word, at = _fields(at, 2, len(self.histories))
        self.below_word, at = _fields(at, 1, len(self.below))
        self.extreme_word, at = _fields(at, 1, len(self.extremes))
        self.tally_word, at = _fields(at, 2, len(self.tallies))
        self.end_word, at = _fields(at, 1, len(self.ends))
        self.decay_word, at = _fields(at, 2, len(self.decays))
        self.words = at

    @property
    def edge_positions(self) -> NDArray[np.int64]:
        """Return the fields of a slot where edges have their positions."""
        return np.array(list(self.edge_field.values()), np.int64) + EDGE_POSITION

    def anchor(self, place: int) -> tuple[int, int]:
        """Return the words of a moving op: its value there (-1: none is kept) and the time."""
        op = self.plan.ops[place]
        if op.stat is Stat.SINCE_LAST:
            return -1, layout.WORD_NEWEST
        word = self.decay_word[self.decays[self.column(op), op.half_life_us, 0]]
        return word, word + 1


def sign_of(op: Op) -> int:
    """Return 1 for a maximum, -1 for a minimum (and for what is neither)."""
    return 1 if op.stat is Stat.MAX else -1


def _number(numbers: dict[_Key, int], key: _Key) -> None:
    """Give a thing the next number, if it has none."""
    numbers.setdefault(key, len(numbers))


def _fields(at: int, width: int, count: int) -> tuple[list[int], int]:
    """Return where ``count`` things of ``width`` words begin from ``at`` on, and where they end."""
    return list(range(at, at + width * count, width)), at + width * count
