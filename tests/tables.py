"""Tables by themselves: plans, streams and lanes made by hand, and what was drawn put through."""

from __future__ import annotations

import itertools
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from slow_table import WINDOWS

from noskew.dataflows.core import pools
from noskew.dataflows.core.lane import Lane
from noskew.dataflows.core.table import Table
from noskew.dataflows.definition.plan import (
    MOVING,
    ColumnPlan,
    Comparison,
    Is,
    StreamPlan,
    TablePlan,
)
from noskew.kernels.layout import EVALUATE, FLAG_INCOMPLETE, INSERT, NO_TIME, NULL, OWN
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray
    from slow_table import Drawn, Entry, Read

    from noskew.dataflows.definition.plan import Op, Window


def plan_of(
    ops: tuple[Op, ...], windows: tuple[Window, ...], *, power: int = 0, key_type: str = "int"
) -> TablePlan:
    """Return a table with one column and one filter, whose every op is in the row."""
    column = ColumnPlan("a", "quantum" if power else "int", power)
    places = tuple(range(len(ops)))
    filters = (Comparison("f", Is.EQUAL, (1,)),)
    return TablePlan(0, "k", key_type, True, (column,), filters, windows, ops, places, places, ())


def stream_of(*, revise: bool = False) -> StreamPlan:
    fields = {"k": "int", "a": "int"}
    return StreamPlan(
        0, "s", "t", {}, "", "id", "k", "t", "t", fields, frozenset({"a"}), {}, 0, 0, {},
        revise=revise,
    )  # fmt: skip


def lane_of(
    keys: Sequence[int] | Sequence[str],
    times: ArrayLike,
    values: ArrayLike,
    *,
    first: int = 0,
    bits: ArrayLike = 1,
    action: ArrayLike = INSERT | EVALUATE | OWN,
    horizon_us: ArrayLike = NO_TIME,
    fold_us: ArrayLike = NO_TIME,
    handle: ArrayLike = -1,
    old_us: ArrayLike = NULL,
) -> Lane:
    """Return records ``first ..``; one value stands for all."""
    count = len(keys)
    places = np.arange(first, first + count)

    def column(given: ArrayLike) -> NDArray[np.int64]:
        return np.broadcast_to(np.asarray(given, np.int64), count).copy()

    return Lane(
        key=Strings.from_list(list(keys)) if isinstance(keys[0], str) else column(keys),  # type: ignore[arg-type]  # one text: all are
        columns=(column(values),),
        bits=column(bits),
        action=column(action).astype(np.uint8),
        time_us=column(times),
        horizon_us=column(horizon_us),
        fold_us=column(fold_us),
        partition=np.zeros(count, np.int32),
        seq=places,
        target=places,
        handle=column(handle),
        old_us=column(old_us),
    )


@contextmanager
def small_pools() -> Iterator[None]:
    """Have tables begin with next to nothing, and give back whatever they can."""
    before = pools._FIRST_ROWS, pools._SPARE
    pools._FIRST_ROWS, pools._SPARE = 2, -(2**40)  # type: ignore[misc]  # Final but for tests
    try:
        yield
    finally:
        pools._FIRST_ROWS, pools._SPARE = before  # type: ignore[misc]  # Final but for tests


def answers(table: Table, lane: Lane) -> NDArray[np.float64]:
    """Put a lane whose targets begin at 0 through a table; return its ops' values, one row each."""
    nodes = np.full((len(table.plan.ops), len(lane)), np.nan)
    table.process(lane, nodes, np.zeros(len(lane), np.int32))
    return nodes


def check(given: Drawn, between: Callable[[Table], None] = lambda _: None) -> None:
    """Put the records through a table, part by part, and compare all that comes out.

    between  called after each part
    """
    size = len(given.rows)
    table = Table(plan_of(given.ops, WINDOWS, power=given.power), stream_of(revise=given.revise))
    nodes = np.full((len(given.ops), size), np.nan)
    flags = np.zeros(size, np.int32)
    for begin, end in itertools.pairwise(given.cuts):
        for read in given.reads.get(begin, []):
            check_read(table, given.ops, read)
        table.process(lane_of_rows(given.rows[begin:end], begin), nodes, flags)
        expected = np.array(given.answers[begin:end]).T
        found = nodes[:, begin:end]
        wrong = np.argwhere((found != expected) & ~(np.isnan(found) & np.isnan(expected)))
        for place, row in wrong.tolist():
            pair = (found[place, row], expected[place, row])
            pytest.fail(f"{begin + row}: {pair} {given.rows[begin + row]} {given.ops[place]}")
        below = [flag & FLAG_INCOMPLETE != 0 for flag in flags[begin:end].tolist()]
        assert below == given.below[begin:end]
        between(table)


def check_read(table: Table, ops: tuple[Op, ...], read: Read) -> None:
    slots = table.slots_of(np.array([read.key], np.int64))
    times = [np.array([us], np.int64) for us in (read.at_us, read.horizon_us, read.fold_us)]
    until_us, words = table.read(slots, *times)
    found = iter(words[0].view(np.float64).tolist())
    for op, expected in zip(ops, read.values, strict=True):
        value = next(found)
        if op.stat in MOVING:
            next(found)  # an anchor and its value: tested with what reads them
        else:
            assert value == expected or (math.isnan(value) and math.isnan(expected)), (op, read)
    assert until_us[0] == read.until_us, read


def lane_of_rows(rows: list[tuple[Entry, int, int, int, int]], first: int) -> Lane:
    entries, action, horizon_us, fold_us, old_us = zip(*rows, strict=True)
    return lane_of(
        [entry.key for entry in entries],
        [entry.time_us for entry in entries],
        [NULL if entry.value is None else entry.value for entry in entries],
        first=first,
        bits=[entry.passes for entry in entries],
        action=action,
        horizon_us=horizon_us,
        fold_us=fold_us,
        handle=[entry.handle for entry in entries],
        old_us=old_us,
    )
