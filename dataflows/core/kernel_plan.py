"""A table's layout as the one array its kernels read; ``kernels.layout`` names each row's fields.

Rows speak of other rows, such as the edges of a window, by their place in the array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.shape import NEEDS, Need, sign_of
from noskew.dataflows.definition.plan import Stat
from noskew.kernels import layout
from noskew.kernels.layout import (
    CHUNK_TOTALS,
    EDGE_FOLD,
    EDGE_NEWEST,
    EDGE_TOTALS,
    FIRST_EDGE,
    FOLD_TOTALS,
    FOLD_WORDS,
    PLAN_BEGIN,
    PLAN_END,
    PLAN_NUMBERS,
    PLAN_PARTS,
    PLAN_WIDTH,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.shape import Layout, Total
    from noskew.dataflows.definition.plan import Op

_Rows = list[tuple[int, ...]]


def kernel_plan(made: Layout) -> NDArray[np.int64]:
    """Return int64[rows, PLAN_WIDTH]: the numbers, where each part begins and ends, the parts."""
    kept = [made.needed[edge] for edge in made.edges.values()]
    kept_at = FIRST_EDGE + len(made.edges)
    watched_at = kept_at + sum(map(len, kept))
    watched = _watched(made)
    extremes_at = (
        watched_at + sum(map(len, watched)) + len(made.totals) + len(made.bounds)
    )  # in the order of the parts
    edges: _Rows = []
    for (edge, at), own, seen in zip(made.edges.items(), kept, watched, strict=True):
        ends = (kept_at, kept_at + len(own), watched_at, watched_at + len(seen))
        edges.append((*edge, made.edge_field[at], *ends))
        kept_at, watched_at = ends[1], ends[3]
    parts: dict[int, _Rows] = {
        layout.EDGES: edges,
        layout.KEPT: [_total(made, total) for own in kept for total in own],
        layout.WATCHED: [(extremes_at + which, low) for seen in watched for which, low in seen],
        layout.TOTALS: [_total(made, total) for total in made.totals],
        layout.BOUNDS: [(column, _bound(made, column)) for column in made.bounds],
        layout.EXTREMES: _extremes(made),
        **_others(made),
    }
    rows = np.zeros((PLAN_PARTS + sum(map(len, parts.values())), PLAN_WIDTH), np.int64)
    numbers = _numbers(made)
    rows[PLAN_NUMBERS, : len(numbers)] = numbers
    at = PLAN_PARTS
    for part, own_rows in parts.items():
        rows[PLAN_BEGIN, part], rows[PLAN_END, part] = at, at + len(own_rows)
        for row in own_rows:
            rows[at, : len(row)] = row
            at += 1
    ops = int(rows[PLAN_BEGIN, layout.OPS])
    rows[rows[PLAN_BEGIN, layout.ROW] : rows[PLAN_END, layout.ROW], 0] += ops
    return rows


def _numbers(made: Layout) -> list[int]:
    plan = made.plan
    folds = [offset for kind, offset, *_ in made.edges if kind == EDGE_FOLD]
    return [
        made.handle, plan.reach_us, bool(folds), max(folds, default=0), made.keep_us,
        any(op.stat is Stat.SINCE_LAST for op in plan.ops), plan.primary,
        plan.key_type == "string", made.key_cap, made.words, made.gone_us,
    ]  # fmt: skip


def _watched(made: Layout) -> list[list[tuple[int, int]]]:
    """Return, edge by edge, the extremes it bounds and whether as their low edge."""
    return [
        [
            (which, int(edge == low))
            for (_, low, high, _), which in made.extremes.items()
            if edge in (low, high)
        ]
        for edge in made.edges.values()
    ]


def _others(made: Layout) -> dict[int, _Rows]:
    line = made.edges.get((EDGE_FOLD, 0, 0, 0), -1)
    return {
        layout.TALLIES: [
            (*one, made.tally_field[i], made.tally_word[i]) for one, i in made.tallies.items()
        ],
        layout.ENDS: [(*one, made.ends_field[i]) for one, i in made.frozen_ends.items()],
        layout.DECAYS: [
            (
                column, half_life, made.decay_field[i], line, counted, made.scale(column),
                made.decay_word[i],
            )
            for (column, half_life, counted), i in made.decays.items()
        ],
        layout.WINDOWS: [_found(made, one, made.window_word[i]) for one, i in made.windows.items()],
        layout.HISTORIES: [
            _found(made, one, made.history_word[i]) for one, i in made.histories.items()
        ],
        layout.FINDS: [_end(made, one, i) for one, i in made.ends.items()],
        layout.BELOW: [
            (made.edge_field[low] + EDGE_NEWEST, high, made.below_word[i])
            for (low, high), i in made.below.items()
        ],
        layout.OPS: [_op(made, op) for op in made.plan.ops],
        layout.ROW: [(op,) for op in made.plan.row],
    }  # fmt: skip


def _total(made: Layout, total: Total) -> tuple[int, ...]:
    return (*total, CHUNK_TOTALS + made.totals[total])


def _bound(made: Layout, column: int) -> int:
    """Return the field of a chunk with a column's least value."""
    return CHUNK_TOTALS + len(made.totals) + 2 * made.bounds[column]


def _extremes(made: Layout) -> _Rows:
    return [
        (
            column, sign, made.extreme_field[i], low, high, _bound(made, column) + (sign > 0),
            made.extreme_word[i],
        )
        for (column, low, high, sign), i in made.extremes.items()
    ]  # fmt: skip


def _total_field(made: Layout, edge: int, total: Total) -> int:
    """Return the field of a slot where an edge keeps a total."""
    place = made.needed[edge][total]
    if list(made.edges)[edge - FIRST_EDGE][0] == EDGE_FOLD:
        return made.edge_field[edge] + FOLD_TOTALS + FOLD_WORDS * place
    return made.edge_field[edge] + EDGE_TOTALS + place


def _found(made: Layout, thing: tuple[int, int, Total], word: int) -> tuple[int, ...]:
    low, high, total = thing
    return _total_field(made, low, total), _total_field(made, high, total), low, high, word


def _end(made: Layout, end: tuple[int, int, int, int], place: int) -> tuple[int, ...]:
    column, low, high, last = end
    frozen = made.frozen_ends.get((column, low))
    field = -1 if frozen is None else made.ends_field[frozen]
    return column, low, high, made.end_word[place], last, field


def _op(made: Layout, op: Op) -> tuple[int, ...]:
    """Return an op's row: of which words its value is made."""
    column, history = made.column(op), made.history(op)
    low, high = [made.edges[edge] for edge in made.ends_of(op)] or (-1, -1)
    words = [-1, -1, -1]
    itself, span = op.include_self, op.half_life_us
    if op.window >= 0:
        window = made.plan.windows[op.window]
        # Behind a delay or an open end no event is in its own window.
        itself = itself and window.delay_us + window.high_open == 0
        span = window.over_us or 0
        for place, total in enumerate(made.totals_of(op)[:3]):
            words[place] = _word(made, (low, high, total), history=history)
    weights = -1
    if op.stat is Stat.EWMA:
        weights = made.decay_word[made.decays[column, op.half_life_us, 1]]
    return (
        op.stat, op.node, column, itself, history,
        made.below_word[made.below[low, high]] if history else -1, *words,
        _part(made, op, low, high), weights, made.scale(column), op.ddof, span, low, high,
        int(np.float64(op.empty).view(np.int64)), sign_of(op),
    )  # fmt: skip


def _word(made: Layout, thing: tuple[int, int, Total], *, history: bool) -> int:
    if history:
        return made.history_word[made.histories[thing]]
    return made.window_word[made.windows[thing]]


def _part(made: Layout, op: Op, low: int, high: int) -> int:
    """Return the word of an op's extreme, tally, end or decay; -1 if it has none."""
    need, column = NEEDS[op.stat], made.column(op)
    if need & Need.BOUND:
        return made.extreme_word[made.extremes[column, low, high, sign_of(op)]]
    if need & Need.TALLY:
        return made.tally_word[made.tallies[column, low, high]]
    if need & Need.ENDS:
        return made.end_word[made.ends[column, low, high, int(op.stat is Stat.LAST)]]
    if need & Need.DECAY:
        return made.decay_word[made.decays[column, op.half_life_us, 0]]
    return -1
