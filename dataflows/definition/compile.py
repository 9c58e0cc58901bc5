"""A pipeline compiled to the arrays of a plan.

Equal expressions share one node, equal statistics one op, equal windows and edges one place. The
vector's nodes come first, in order; then helpers, which only arithmetic reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.definition.checks import EXACT, MOST_ABS
from noskew.dataflows.definition.expression import (
    Arithmetic,
    Number,
    RowFunction,
    Statistic,
    leaves,
)
from noskew.dataflows.definition.fingerprint import fingerprint
from noskew.dataflows.definition.plan import Plan, Row, RowNode, Stat, StreamPlan, TablePlan
from noskew.dataflows.errors import DefinitionError
from noskew.schemas.resolve import wanted_fields
from noskew.schemas.safety import screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noskew.dataflows.definition.expression import Expression, Feature
    from noskew.dataflows.definition.stream import Pipeline, Stream


def compile_plan(pipeline: Pipeline) -> Plan:
    """Return the plan of a pipeline; raises DefinitionError where its schema is no Avro."""
    expressions = [feature.expression for feature in pipeline.features]
    stream = _stream_plan(pipeline.score, expressions)
    nodes = _Nodes(pipeline.score, expressions)
    entities = dict.fromkeys(
        leaf.entity for one in expressions for leaf in leaves(one) if isinstance(leaf, Statistic)
    )
    tables = [_Table(pipeline.score, entity, nodes) for entity in entities]
    return Plan(
        name=pipeline.name,
        streams=(stream,),
        tables=tuple(table.plan(pipeline.features) for table in tables),
        rows=tuple(nodes.rows),
        names=tuple(feature.name for feature in pipeline.features),
        nodes=len(nodes.number),
        ordered=tuple(is_ordered(one, pipeline.score) for one in expressions),
        fingerprint=fingerprint(stream, expressions),
        model=pipeline.model.name if pipeline.model else None,
    )


def is_ordered(expression: Expression, scored: Stream) -> bool:
    """Return whether other partitions take part: a statistic of another entity than the key."""
    return any(
        isinstance(leaf, Statistic) and leaf.entity != scored.key for leaf in leaves(expression)
    )


def _stream_plan(stream: Stream, expressions: Sequence[Expression]) -> StreamPlan:
    read = {stream.id, stream.key, stream.time, stream.available}
    limits: dict[str, int] = {}
    given = stream.max_abs
    for leaf in (leaf for one in expressions for leaf in leaves(one)):
        column = leaf.column
        read |= {leaf.entity, column} if isinstance(leaf, Statistic) else {column}
        if column and stream.record.fields[column].avro in ("int", "long"):
            aggregated = isinstance(leaf, Statistic)
            default = MOST_ABS if aggregated else EXACT
            own = given.get(column, default) if not isinstance(given, int) else given
            # A number given for the stream is for what is aggregated; column() alone is not.
            limit = default if isinstance(given, int) and not aggregated else own
            limits[column] = min(limit, limits.get(column, limit))
    unread = sorted(set(given) - set(limits)) if not isinstance(given, int) else []
    if unread:
        message = (
            f"stream {stream.name!r}: max_abs is given for {', '.join(map(repr, unread))}, which "
            "no feature reads; leave it out"
        )
        raise DefinitionError(message)
    fields = {name: one for name, one in stream.record.fields.items() if name in read}
    kinds = {name: one.kind for name, one in fields.items()}
    _check_schema(stream, kinds)
    return StreamPlan(
        place=0,
        name=stream.name,
        topic=stream.topic,
        schema=stream.record.schema,
        schema_text=stream.record.text,
        id=stream.id,
        key=stream.key,
        time=stream.time,
        available=stream.available,
        fields=kinds,
        nullable=frozenset(name for name, one in fields.items() if one.nullable),
        max_abs={name: limits[name] for name in fields if name in limits},
        allowed_lateness_us=stream.allowed_lateness_us,
        max_skew_us=stream.max_skew_us,
    )


def _check_schema(stream: Stream, kinds: dict[str, str]) -> None:
    """Let the decoder's own parts judge the schema, so that ``run`` cannot fail on it later."""
    problem = screen(stream.record.schema)
    if problem is None:
        try:
            found = {one.name: one.kind for one in wanted_fields(stream.record.schema, kinds)}
        except Exception as error:  # noqa: BLE001 -- fastavro raises many kinds for a bad schema
            problem = f"{type(error).__name__}: {error}"
        else:
            wrong = [f"{name} as {found[name]}" for name in kinds if found[name] != kinds[name]]
            problem = f"the decoder reads {', '.join(wrong)}" if wrong else None
    if problem is not None:
        message = (
            f"stream {stream.name!r}: the schema {stream.record.origin} cannot be read with: "
            f"{problem}; correct the schema"
        )
        raise DefinitionError(message)


class _Nodes:
    """The numbering of nodes, and the row nodes in order of evaluation.

    number  expression -> node
    """

    def __init__(self, stream: Stream, expressions: Sequence[Expression]) -> None:
        self.number: dict[Expression, int] = {one: node for node, one in enumerate(expressions)}
        self.rows: list[RowNode] = []
        self._time = stream.time
        self._done: set[int] = set()
        for one in expressions:
            self._visit(one)

    def _visit(self, expression: Expression) -> int:
        """Number an expression after what it is made of; no deeper than MOST_OPERATIONS."""
        node = self.number.setdefault(expression, len(self.number))
        if node in self._done:
            return node
        self._done.add(node)
        match expression:
            case Arithmetic(row=row, left=left, right=right):
                a, b = self._visit(left), self._visit(right)
                self.rows.append(RowNode(node, row, left=a, right=b))
            case Number(value=value):
                self.rows.append(RowNode(node, Row.LITERAL, value=value))
            case RowFunction(row=Row.COLUMN, column=column):
                self.rows.append(RowNode(node, Row.COLUMN, field=column))
            case RowFunction(row=row, utc_offset_s=offset_s):
                self.rows.append(RowNode(node, row, field=self._time, value=float(offset_s)))
            case Statistic():
                pass
        return node


@dataclass
class _Table:
    """The table of one entity in the making.

    places of: edges (offset us, low), windows (low edge, high edge), columns, ops (statistics)
    """

    stream: Stream
    entity: str
    nodes: _Nodes
    edges: dict[tuple[int, bool], int] = field(default_factory=lambda: {(0, False): 0})
    windows: dict[tuple[int, int], int] = field(default_factory=dict)
    columns: dict[str, int] = field(default_factory=dict)
    ops: dict[Statistic, int] = field(default_factory=dict)
    op_window: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for one in self.nodes.number:
            if isinstance(one, Statistic) and one.entity == self.entity:
                self.ops[one] = len(self.ops)
                self.op_window.append(self._window(one))
                if one.column:
                    self.columns.setdefault(one.column, len(self.columns))

    def _window(self, one: Statistic) -> int:
        if one.stat is Stat.SINCE_LAST:
            return -1
        ends = [
            self.edges.setdefault(edge, len(self.edges))
            for edge in ((one.delay_us + one.over_us, True), (one.delay_us, False))
        ]
        return self.windows.setdefault((ends[0], ends[1]), len(self.windows))

    def plan(self, features: Sequence[Feature]) -> TablePlan:
        """Return the table's plan; ``features`` is the vector."""
        direct = [one for one in features if one.expression in self.ops]
        ops = list(self.ops)
        return TablePlan(
            stream=0,
            entity=self.entity,
            key_type=self.stream.record.fields[self.entity].kind,
            primary=self.entity == self.stream.key,
            columns=tuple(self.columns),
            edge_offset_us=np.array([offset for offset, _ in self.edges], np.int64),
            edge_low=np.array([low for _, low in self.edges], np.bool_),
            window_low=np.array([low for low, _ in self.windows], np.int32),
            window_high=np.array([high for _, high in self.windows], np.int32),
            op_kind=np.array([one.stat for one in ops], np.int32),
            op_window=np.array(self.op_window, np.int32),
            op_column=np.array([self.columns.get(one.column, -1) for one in ops], np.int32),
            op_node=np.array([self.nodes.number[one] for one in ops], np.int32),
            row_ops=np.array([self.ops[_statistic(one)] for one in direct], np.int32),
            row_names=tuple(one.name for one in direct),
            reach_us=max((one.over_us + one.delay_us for one in ops), default=0),
            anchored=any(one.stat is Stat.SINCE_LAST for one in ops),
        )


def _statistic(feature: Feature) -> Statistic:
    assert isinstance(feature.expression, Statistic)
    return feature.expression
