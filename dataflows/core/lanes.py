"""Lanes: a turn's records as each table's kernel takes them (see ``lane``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from noskew.dataflows.core.filters import passes
from noskew.dataflows.core.lane import Lane
from noskew.kernels.layout import EVALUATE, FATE_APPLIED, FATE_LATE, INSERT, OWN
from noskew.schemas.columns import NULL, Strings
from noskew.schemas.rules import quantised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch, Turn
    from noskew.dataflows.core.judge import Judged
    from noskew.dataflows.definition.plan import ColumnPlan, TablePlan
    from noskew.schemas.columns import Column

_Number = TypeVar("_Number", np.int32, np.int64)


def lane(
    table: TablePlan, turn: Turn, judged: Judged, *, insert: bool = True, evaluate: bool = True
) -> Lane:
    """Return the records of a turn that concern a table, in processing order.

    insert, evaluate   leave one of the two out: records of one time that see each other are all
                       inserted before any of them is evaluated
    """
    own, scored = turn.stream == table.stream, turn.stream == 0
    # Of one stream nothing is chosen and nothing copied.
    chosen = slice(None) if own.all() else np.flatnonzero(own | scored)
    stream, fate = turn.stream[chosen], judged.fate[chosen]
    mine, asks = stream == table.stream, stream == 0
    applied = fate == FATE_APPLIED
    action = np.uint8(INSERT) * (mine & applied) if insert else np.zeros(len(stream), np.uint8)
    if evaluate:
        usable = asks & (applied | (fate == FATE_LATE))
        action |= np.uint8(EVALUATE) * usable
        if insert:
            action |= np.uint8(OWN) * (usable & mine)
    places = (table.stream,) if table.stream == 0 else (0, table.stream)
    batches = [turn.batches[place] for place in places]
    at = [np.flatnonzero(stream == place) for place in places]
    count = len(stream)
    target = np.full(count, -1, np.int64)
    target[asks] = np.arange(len(turn.scored))
    source = turn.batches[table.stream]
    inserted = at[-1]
    columns = tuple(_spread(_values(source, one), inserted, count) for one in table.columns)
    bits = np.zeros(count if table.filters else 0, np.int64)
    if table.filters:
        bits[inserted] = passes(table.filters, source.columns, len(source))
    return Lane(
        key=_keys([batch.columns[table.entity] for batch in batches], at, count),
        columns=columns,
        bits=bits,
        action=action,
        time_us=_joined([batch.time_us for batch in batches], at, count),
        horizon_us=judged.horizon_us[chosen],
        fold_us=np.ascontiguousarray(judged.fold_us[table.stream][chosen]),
        partition=_joined([batch.partition for batch in batches], at, count),
        seq=_joined([batch.seq for batch in batches], at, count),
        target=target,
        handle=judged.handle[chosen],
        old_us=judged.old_us[chosen],
    )


def _values(batch: Batch, column: ColumnPlan) -> Column:
    found = batch.columns[column.field]
    if isinstance(found, Strings) or column.kind != "quantum":
        return found
    whole = quantised(found.astype(np.float64, copy=False), column.power)
    # NaN is a null; what is infinite or beyond int64 is of a dead letter, and never read.
    usable = np.abs(whole) < 2.0**62
    values = np.full(len(whole), NULL, np.int64)
    values[usable] = whole[usable].astype(np.int64)
    return values


def _spread(values: Column, at: NDArray[np.int64], count: int) -> Column:
    """Return values at their places among ``count`` records; elsewhere nulls, which none reads."""
    if len(at) == count:
        return values
    if isinstance(values, Strings):
        start, length = np.zeros(count, np.int64), np.full(count, -1, np.int64)
        start[at], length[at] = values.start, values.length
        return Strings(values.heap, start, length)
    found = np.full(count, NULL, np.int64)
    found[at] = values
    return found


def _joined(
    parts: list[NDArray[_Number]], at: list[NDArray[np.int64]], count: int
) -> NDArray[_Number]:
    if len(parts) == 1:
        return parts[0]
    found = np.empty(count, parts[0].dtype)
    for part, places in zip(parts, at, strict=True):
        found[places] = part
    return found


def _keys(parts: list[Column], at: list[NDArray[np.int64]], count: int) -> Column:
    if len(parts) == 1:
        return parts[0]
    numbers = [part.astype(np.int64, copy=False) for part in parts if isinstance(part, np.ndarray)]
    if numbers:
        return _joined(numbers, at, count)
    joined = Strings.concatenate([part for part in parts if isinstance(part, Strings)])
    # Where each of the ``count`` records stands in the parts, one after another.
    place = np.empty(count, np.int64)
    place[np.concatenate(at)] = np.arange(count)
    return joined.take(place)
