"""Plans made by hand from a ``Meaning``: the engine is tested without the compiler."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from meaning import And, Arithmetic, Calendar, Compare, Field, Literal, Or, Statistic

from noskew.dataflows.definition.plan import (
    Both,
    ColumnPlan,
    Comparison,
    Either,
    Is,
    Negated,
    Op,
    Plan,
    Row,
    RowNode,
    Stat,
    StreamPlan,
    TablePlan,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meaning import Condition, Expression, Meaning

    from noskew.dataflows.definition.plan import Filter

_SIGNS: Final = {"+": Row.ADD, "-": Row.SUBTRACT, "*": Row.MULTIPLY, "/": Row.DIVIDE}
_CALENDAR: Final = {"hour": Row.HOUR, "weekday": Row.WEEKDAY}
_IS: Final = {
    "==": Is.EQUAL, "!=": Is.NOT_EQUAL, "<": Is.LESS, "<=": Is.LESS_EQUAL, ">": Is.GREATER,
    ">=": Is.GREATER_EQUAL, "isin": Is.IN, "is_null": Is.NULL,
}  # fmt: skip
_ZERO: Final = {
    Stat.COUNT, Stat.COUNT_VALUES, Stat.SUM, Stat.DISTINCT, Stat.RATE, Stat.DECAYED_SUM,
    Stat.DECAYED_COUNT,
}  # fmt: skip
"""Statistics that are 0 of nothing; the others are NaN."""


def plan_of(meaning: Meaning, fields: Mapping[str, str], nullable: frozenset[str]) -> Plan:
    """Return the plan of a definition.

    fields    field -> "int", "float" or "string", of every stream
    nullable  those that may be null
    """
    nodes: dict[Expression, int] = {
        expression: i for i, expression in enumerate(meaning.features.values())
    }
    rows: list[RowNode] = []
    count = len(meaning.features)
    for i, expression in enumerate(meaning.features.values()):
        count = _add(expression, i, nodes, rows, count)
    streams = tuple(
        StreamPlan(
            place=place,
            name=f"stream{place}",
            topic=f"stream{place}",
            schema={},
            schema_text="",
            id=source.id,
            key=source.key,
            time="event_time",
            available="event_time",
            fields=dict(fields),
            nullable=nullable,
            max_abs={},
            allowed_lateness_us=source.allowed_lateness_us,
            max_skew_us=source.max_skew_us,
            quantum=source.quantum,
            dedupe_us=source.dedupe_us,
            revise=source.revise,
        )
        for place, source in enumerate(meaning.streams)
    )
    tables = tuple(
        _table(meaning, entity, stream, nodes, fields)
        for entity in meaning.entities()
        for stream in meaning.streams_of(entity)
    )
    return Plan(
        name="meant",
        streams=streams,
        tables=tables,
        rows=tuple(rows),
        names=tuple(meaning.features),
        nodes=count,
        ordered=(True,) * len(meaning.features),
        fingerprint=bytes(32),
        model=None,
    )


def _add(
    expression: Expression,
    node: int,
    nodes: dict[Expression, int],
    rows: list[RowNode],
    count: int,
) -> int:
    """Append what computes ``node``, operands first; return how many nodes there are."""
    match expression:
        case Literal(value):
            rows.append(RowNode(node, Row.LITERAL, value=value))
        case Field(column):
            rows.append(RowNode(node, Row.COLUMN, field=column))
        case Calendar(part, offset_s):
            rows.append(RowNode(node, _CALENDAR[part], field="event_time", value=float(offset_s)))
        case Arithmetic(sign, left, right):
            operands = []
            for operand in (left, right):
                at = count
                count += 1
                if isinstance(operand, Statistic):  # a table computes it once
                    at = nodes.setdefault(operand, at)
                count = _add(operand, at, nodes, rows, count)
                operands.append(at)
            rows.append(RowNode(node, _SIGNS[sign], left=operands[0], right=operands[1]))
    return count


def _table(
    meaning: Meaning,
    entity: str,
    stream: int,
    nodes: dict[Expression, int],
    fields: Mapping[str, str],
) -> TablePlan:
    stats = meaning.of(entity, stream)
    quantum = meaning.streams[stream].quantum
    columns = sorted({stat.column for stat in stats if stat.column})
    filters = list(dict.fromkeys(stat.where for stat in stats if stat.where is not None))
    windows = list(dict.fromkeys(_window(stat) for stat in stats if not stat.windowless))
    row = meaning.row(entity)
    of_row = [(name, stat) for name, stat in row.items() if stat.stream == stream]
    return TablePlan(
        stream=stream,
        entity=entity,
        key_type=fields[entity],
        primary=stream == 0 and entity == meaning.scored.key,
        columns=tuple(_column(name, fields[name], quantum) for name in columns),
        filters=tuple(_filter(one) for one in filters),
        windows=tuple(windows),
        ops=tuple(
            Op(
                stat=stat.stat,
                node=nodes[stat],
                window=-1 if stat.windowless else windows.index(_window(stat)),
                column=columns.index(stat.column) if stat.column else -1,
                filter=-1 if stat.where is None else filters.index(stat.where),
                include_self=stat.include_self,
                empty=_empty(stat),
                ddof=stat.ddof,
                half_life_us=stat.half_life_us,
            )
            for stat in stats
        ),
        row=tuple(stats.index(stat) for _, stat in of_row),
        row_at=tuple(list(row).index(name) for name, _ in of_row),
        row_names=tuple(name for name, _ in of_row),
    )


def _column(name: str, kind: str, quantum: Mapping[str, int]) -> ColumnPlan:
    if kind == "float":
        return ColumnPlan(name, "quantum", quantum[name])
    return ColumnPlan(name, "text" if kind == "string" else "int")


def _window(stat: Statistic) -> Window:
    return Window(
        over_us=stat.over_us,
        delay_us=stat.delay_us,
        low_closed=stat.closed in {"left", "both"},
        high_open=stat.closed in {"left", "neither"},
        resolution_us=stat.resolution_us,
    )


def _empty(stat: Statistic) -> float:
    if stat.empty is not None:
        return stat.empty
    return 0.0 if stat.stat in _ZERO else math.nan


def _filter(condition: Condition) -> Filter:
    match condition:
        case Compare(column, sign, values):
            return Comparison(column, _IS[sign], values)
        case And(left, right):
            return Both(_filter(left), _filter(right))
        case Or(left, right):
            return Either(_filter(left), _filter(right))
    return Negated(_filter(condition.inner))
