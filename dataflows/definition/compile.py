"""A pipeline compiled to a plan.

Equal expressions share one node, equal statistics one op, equal windows, filters and columns one
place. The vector's nodes come first, in order; then helpers, which only arithmetic reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from noskew.dataflows.definition import checks
from noskew.dataflows.definition.condition import comparisons
from noskew.dataflows.definition.expression import (
    Arithmetic,
    Number,
    RowFunction,
    Statistic,
    leaves,
)
from noskew.dataflows.definition.fingerprint import fingerprint
from noskew.dataflows.definition.plan import (
    DECAYS,
    RECORD_TIMESTAMP,
    ColumnPlan,
    Op,
    Plan,
    Row,
    RowNode,
    StreamPlan,
    TablePlan,
)
from noskew.dataflows.definition.semantics import preset
from noskew.dataflows.errors import DefinitionError
from noskew.schemas.resolve import wanted_fields
from noskew.schemas.safety import screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noskew.dataflows.definition.expression import Expression
    from noskew.dataflows.definition.plan import Filter, Window
    from noskew.dataflows.definition.stream import Pipeline, Stream

MOST_FILTERS: Final = 62
"""Different conditions of one entity and stream: a record has a bit for each."""


def compile_plan(pipeline: Pipeline) -> Plan:
    """Return the plan of a pipeline.

    Raises DefinitionError where a schema is no Avro, or a limit of the engine is passed.
    """
    expressions = [feature.expression for feature in pipeline.features]
    streams = tuple(
        _stream_plan(place, stream, pipeline) for place, stream in enumerate(pipeline.streams)
    )
    nodes = _Nodes(pipeline.score, expressions)
    peers = preset(pipeline.semantics).peers
    return Plan(
        name=pipeline.name,
        streams=streams,
        tables=tuple(_tables(pipeline, nodes)),
        rows=tuple(nodes.rows),
        names=tuple(feature.name for feature in pipeline.features),
        nodes=len(nodes.number),
        ordered=tuple(is_ordered(one, pipeline.score) for one in expressions),
        fingerprint=fingerprint(streams, expressions, peers=peers),
        model=pipeline.model.name if pipeline.model else None,
        peers=peers,
    )


def is_ordered(expression: Expression, scored: Stream) -> bool:
    """Return whether other partitions or streams take part in a value.

    They do in a statistic of another entity than the scored stream's key, or of another stream;
    and in a decay: where its recursion stands when an entry comes late depends on the fold line,
    which is of all partitions.
    """
    return any(
        isinstance(leaf, Statistic)
        and (leaf.entity != scored.key or leaf.stream is not scored or leaf.stat in DECAYS)
        for leaf in leaves(expression)
    )


def _stream_plan(place: int, stream: Stream, pipeline: Pipeline) -> StreamPlan:
    parts = [leaf for feature in pipeline.features for leaf in leaves(feature.expression)]
    own = [leaf for leaf in parts if leaf.stream is stream]
    read = {stream.id, stream.key, stream.time, stream.available} - {RECORD_TIMESTAMP}
    read |= {leaf.column for leaf in own}
    # Another stream's table is read as of scored records: by their value of its entity.
    kept = parts if stream is pipeline.score else own
    read |= {leaf.entity for leaf in kept if isinstance(leaf, Statistic)}
    conditions = [leaf.where for leaf in own if isinstance(leaf, Statistic) and leaf.where]
    read |= {part.field for one in conditions for part in comparisons(one)}
    fields = {name: one for name, one in stream.record.fields.items() if name in read}
    kinds = {name: one.kind for name, one in fields.items()}
    aggregated = {leaf.column for leaf in own if isinstance(leaf, Statistic)}
    _check_schema(stream, kinds)
    return StreamPlan(
        place=place,
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
        max_abs=_limits(stream, own),
        allowed_lateness_us=stream.allowed_lateness_us,
        max_skew_us=stream.max_skew_us,
        quantum={name: k for name, k in stream.quantum.items() if name in aggregated},
        dedupe_us=stream.dedupe_us,
        revise=stream.revise,
    )


def _limits(stream: Stream, own: Sequence[Statistic | RowFunction]) -> dict[str, int]:
    """Return the limit of each column that has one: the smallest that any use of it needs."""
    limits: dict[str, int] = {}
    for leaf in own:
        if leaf.column:
            one = stream.record.fields[leaf.column]
            limit = checks.limit(stream, one, aggregated=isinstance(leaf, Statistic))
            if limit is not None:
                limits[one.name] = min(limit, limits.get(one.name, limit))
    given = stream.max_abs
    unread = [] if isinstance(given, int) else sorted(set(given) - set(limits))
    if unread:
        message = (
            f"stream {stream.name!r}: max_abs is given for {', '.join(map(repr, unread))}, which "
            "no feature reads; leave it out"
        )
        raise DefinitionError(message)
    return {name: limits[name] for name in stream.record.fields if name in limits}


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


def _tables(pipeline: Pipeline, nodes: _Nodes) -> list[TablePlan]:
    """Return the tables, entity by entity: the scored stream's first, then those of others."""
    places = {stream: place for place, stream in enumerate(pipeline.streams)}
    kept: dict[str, set[int]] = {}
    for one in nodes.number:
        if isinstance(one, Statistic):
            kept.setdefault(one.entity, {0}).add(places[one.stream])
    found = []
    for entity, of in kept.items():
        direct = [
            (feature.expression, feature.name)
            for feature in pipeline.features
            if isinstance(feature.expression, Statistic) and feature.expression.entity == entity
        ]
        for place in sorted(of):
            table = _Table(pipeline.streams[place], place, entity, nodes)
            found.append(table.plan(direct, primary=place == 0 and entity == pipeline.score.key))
    return found


@dataclass
class _Table:
    """The table of one entity and stream in the making: places of windows, columns, filters."""

    stream: Stream
    place: int
    entity: str
    nodes: _Nodes
    windows: dict[Window, int] = field(default_factory=dict)
    columns: dict[str, int] = field(default_factory=dict)
    filters: dict[Filter, int] = field(default_factory=dict)
    ops: dict[Statistic, Op] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one, node in self.nodes.number.items():
            if not isinstance(one, Statistic):
                continue
            if one.entity == self.entity and one.stream is self.stream:
                self.ops[one] = self._op(one, node)
        if len(self.filters) > MOST_FILTERS:
            message = (
                f"{self.stream.name}.by({self.entity!r}): its statistics have {len(self.filters)} "
                f"different where=; write at most {MOST_FILTERS}"
            )
            raise DefinitionError(message)

    def _op(self, one: Statistic, node: int) -> Op:
        window, column, chosen = -1, -1, -1
        if one.window is not None:
            window = self.windows.setdefault(one.window, len(self.windows))
        if one.column:
            column = self.columns.setdefault(one.column, len(self.columns))
        if one.where is not None:
            chosen = self.filters.setdefault(one.where, len(self.filters))
        return Op(
            stat=one.stat,
            node=node,
            window=window,
            column=column,
            filter=chosen,
            include_self=one.include_self is not False,
            empty=float("nan") if one.empty is None else one.empty,
            ddof=one.ddof,
            half_life_us=one.half_life_us,
        )

    def _column(self, name: str) -> ColumnPlan:
        kind = self.stream.record.fields[name].kind
        if kind == "float":
            return ColumnPlan(name, "quantum", self.stream.quantum[name])
        return ColumnPlan(name, "text" if kind == "string" else "int")

    def plan(self, direct: Sequence[tuple[Statistic, str]], *, primary: bool) -> TablePlan:
        """Return the table's plan.

        direct  statistics of the entity that are features, of any stream, and their names: its row
        """
        places = {one: place for place, one in enumerate(self.ops)}
        own = [(at, one, name) for at, (one, name) in enumerate(direct) if one in places]
        return TablePlan(
            stream=self.place,
            entity=self.entity,
            key_type=self.stream.record.fields[self.entity].kind,
            primary=primary,
            columns=tuple(self._column(name) for name in self.columns),
            filters=tuple(self.filters),
            windows=tuple(self.windows),
            ops=tuple(self.ops.values()),
            row=tuple(places[one] for _, one, _ in own),
            row_at=tuple(at for at, _, _ in own),
            row_names=tuple(name for _, _, name in own),
        )
