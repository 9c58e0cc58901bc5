"""Plans made by hand from a ``Meaning``: the engine is tested without the compiler.

Where the compiler is tested, its plan is compared with what these say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from meaning import Arithmetic, Calendar, Field, Literal, SinceLast
from meaning import Stat as MeantStat
from strategies import AMOUNT, CUSTOMER, MAX_ABS, ONLINE, TERMINAL

from noskew.dataflows.definition.plan import Plan, Row, RowNode, Stat, StreamPlan, TablePlan

if TYPE_CHECKING:
    from meaning import Expression, Meaning

_SIGNS = {"+": Row.ADD, "-": Row.SUBTRACT, "*": Row.MULTIPLY, "/": Row.DIVIDE}
_CALENDAR = {"hour": Row.HOUR, "weekday": Row.WEEKDAY}


def plan_of(meaning: Meaning, strings: frozenset[str]) -> Plan:
    """Return the plan of a definition over the strategies' one stream."""
    nodes = dict.fromkeys(meaning.features.values(), -1)
    nodes.update({expression: i for i, expression in enumerate(meaning.features.values())})
    rows: list[RowNode] = []
    count = len(meaning.features)
    for i, expression in enumerate(meaning.features.values()):
        count = _add(expression, i, nodes, rows, count)
    tables = tuple(_table(meaning, entity, nodes, strings) for entity in meaning.entities())
    return Plan(
        name="meant",
        streams=(_stream(meaning, strings),),
        tables=tables,
        rows=tuple(rows),
        names=tuple(meaning.features),
        nodes=count,
        ordered=(True,) * len(meaning.features),
        fingerprint=bytes(32),
        model=None,
    )


def _stream(meaning: Meaning, strings: frozenset[str]) -> StreamPlan:
    kinds = {name: "string" if name in strings else "int" for name in (CUSTOMER, TERMINAL)}
    return StreamPlan(
        place=0,
        name="payments",
        topic="payments",
        schema={},
        schema_text="",
        id="payment_id",
        key=meaning.primary,
        time="event_time",
        available="event_time",
        fields={**kinds, AMOUNT: "int", ONLINE: "int"},
        nullable=frozenset({CUSTOMER, TERMINAL, AMOUNT}),
        max_abs={AMOUNT: MAX_ABS, ONLINE: MAX_ABS},
        allowed_lateness_us=meaning.allowed_lateness_us,
        max_skew_us=meaning.max_skew_us,
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
                if isinstance(operand, MeantStat):  # a table computes it once
                    at = nodes.setdefault(operand, at)
                count = _add(operand, at, nodes, rows, count)
                operands.append(at)
            rows.append(RowNode(node, _SIGNS[sign], left=operands[0], right=operands[1]))
    return count


def _table(
    meaning: Meaning, entity: str, nodes: dict[Expression, int], strings: frozenset[str]
) -> TablePlan:
    stats = [s for s in dict.fromkeys(meaning.stats()) if s.entity == entity]
    windowed = list(dict.fromkeys(meaning.windowed(entity)))
    columns = sorted({stat.column for stat in windowed if stat.column})
    windows = sorted({(stat.delay_us, stat.delay_us + stat.window_us) for stat in windowed})
    edges = [(0, False)]
    edges += sorted({(high, False) for high, _ in windows} - {(0, False)})
    edges += sorted({(low, True) for _, low in windows})
    row = meaning.row(entity)
    return TablePlan(
        stream=0,
        entity=entity,
        key_type="string" if entity in strings else "int",
        primary=entity == meaning.primary,
        columns=tuple(columns),
        edge_offset_us=np.array([offset for offset, _ in edges], np.int64),
        edge_low=np.array([low for _, low in edges], np.bool_),
        window_low=np.array([edges.index((low, True)) for _, low in windows], np.int32),
        window_high=np.array([edges.index((high, False)) for high, _ in windows], np.int32),
        op_kind=np.array([_kind(stat) for stat in stats], np.int32),
        op_window=np.array([_window(stat, windows) for stat in stats], np.int32),
        op_column=np.array([_column(stat, columns) for stat in stats], np.int32),
        op_node=np.array([nodes[stat] for stat in stats], np.int32),
        row_ops=np.array([stats.index(stat) for stat in row.values()], np.int32),
        row_names=tuple(row),
        reach_us=meaning.reach_us(entity),
        anchored=meaning.anchored(entity),
    )


def _kind(stat: MeantStat) -> Stat:
    return Stat.SINCE_LAST if isinstance(stat, SinceLast) else Stat[stat.stat.upper()]


def _window(stat: MeantStat, windows: list[tuple[int, int]]) -> int:
    if isinstance(stat, SinceLast):
        return -1
    return windows.index((stat.delay_us, stat.delay_us + stat.window_us))


def _column(stat: MeantStat, columns: list[str]) -> int:
    return -1 if isinstance(stat, SinceLast) or not stat.column else columns.index(stat.column)
