"""``noskew check``: what a definition means and takes, before anything runs. Asks no server."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from noskew.dataflows.commands.capacity import DoesNotFitError, capacity, span
from noskew.dataflows.core import sizes
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.condition import comparisons
from noskew.dataflows.definition.durations import show
from noskew.dataflows.definition.expression import Statistic, describe, leaves
from noskew.dataflows.definition.load import load
from noskew.dataflows.definition.plan import RECORD_TIMESTAMP, Row
from noskew.dataflows.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from noskew.dataflows.commands.capacity import CapacityReport
    from noskew.dataflows.definition.plan import Plan, StreamPlan, TablePlan
    from noskew.dataflows.definition.stream import Pipeline, Stream


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """One feature: what it is, of which entities, and whether others take part.

    streams, entities  those its statistics are kept by, in pairs; none for row functions
    ordered            other partitions or streams take part; False: local
    bytes_per_key      of state, if it were alone: features share what they can
    """

    name: str
    what: str
    streams: tuple[str, ...]
    entities: tuple[str, ...]
    ordered: bool
    bytes_per_key: int


@dataclass(frozen=True, slots=True)
class TableReport:
    """State kept by one entity of one stream.

    held_for         how long an event is held: as long as anything can reach it
    bytes_per_key    without entries (and without the text of string keys)
    bytes_per_entry  per event held
    bytes_per_chunk  memory is taken in chunks of ``entries_per_chunk``, at least one per key
    row_bytes        the entity's row in Redis, without its key: of all its tables together
    """

    stream: str
    entity: str
    key_type: str
    primary: bool
    features: int
    columns: tuple[str, ...]
    held_for: str
    bytes_per_key: int
    bytes_per_entry: int
    bytes_per_chunk: int
    entries_per_chunk: int
    row_bytes: int


@dataclass(frozen=True, slots=True)
class FieldReport:
    """One field that is read: its type in the schema, what for, what a null in it does."""

    name: str
    type: str
    roles: tuple[str, ...]
    null: str
    max_abs: int | None
    quantum: str | None


@dataclass(frozen=True, slots=True)
class StreamReport:
    """One stream's settings; ``dedupe`` is None where duplicates are not looked for."""

    name: str
    scored: bool
    topic: str
    schema: str
    id: str
    key: str
    time: str
    available: str
    allowed_lateness: str
    max_skew: str
    dedupe: str | None
    revise: bool
    fields: tuple[FieldReport, ...]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All that ``check`` finds; ``capacity`` is None unless rates are given."""

    definition: str
    pipeline: str
    model: str | None
    semantics: str
    fingerprint: str
    streams: tuple[StreamReport, ...]
    features: tuple[FeatureReport, ...]
    tables: tuple[TableReport, ...]
    capacity: CapacityReport | None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)

    def require_fit(self) -> None:
        """Raise DoesNotFitError if rates were given and the pipeline takes too much memory."""
        if self.capacity is not None and self.capacity.advice is not None:
            raise DoesNotFitError(self.capacity.advice)


def check(
    definition: Path,
    *,
    at: Sequence[str] = (),
    keys: Sequence[str] = (),
    memory: str | None = None,
) -> CheckReport:
    """Load and compile a definition, and predict what it takes at rates (see ``capacity``).

    Raises DefinitionError, saying what to write instead; UsageError for rates, keys or a size that
    cannot be read. That it does not fit is for ``require_fit``.
    """
    if (keys or memory is not None) and not at:
        message = "--keys and --memory are for --at: give the rate of the scored stream too"
        raise UsageError(message)
    pipeline = load(definition)
    plan = compile_plan(pipeline)
    return CheckReport(
        definition=str(definition),
        pipeline=plan.name,
        model=plan.model,
        semantics=pipeline.semantics,
        fingerprint=plan.fingerprint.hex(),
        streams=tuple(
            _stream(stream, streamed, plan)
            for stream, streamed in zip(pipeline.streams, plan.streams, strict=True)
        ),
        features=_features(pipeline, plan),
        tables=tuple(_table(table, plan) for table in plan.tables),
        capacity=capacity(plan, at, keys, memory) if at else None,
    )


def _features(pipeline: Pipeline, plan: Plan) -> tuple[FeatureReport, ...]:
    found = []
    taken = zip(pipeline.features, plan.ordered, sizes.feature_bytes(plan), strict=True)
    for feature, ordered, bytes_per_key in taken:
        kept = dict.fromkeys(
            (leaf.stream.name, leaf.entity)
            for leaf in leaves(feature.expression)
            if isinstance(leaf, Statistic)
        )
        found.append(
            FeatureReport(
                name=feature.name,
                what=describe(feature.expression),
                streams=tuple(stream for stream, _ in kept),
                entities=tuple(entity for _, entity in kept),
                ordered=ordered,
                bytes_per_key=bytes_per_key,
            )
        )
    return tuple(found)


def _table(table: TablePlan, plan: Plan) -> TableReport:
    stream = plan.streams[table.stream]
    rows = sizes.row_bytes(table, stream)
    return TableReport(
        stream=stream.name,
        entity=table.entity,
        key_type=table.key_type,
        primary=table.primary,
        features=len(table.row_names),
        columns=tuple(column.field for column in table.columns),
        held_for=span(sizes.held_us(plan, table)),
        bytes_per_key=rows.key,
        bytes_per_entry=rows.entry,
        bytes_per_chunk=rows.chunk,
        entries_per_chunk=rows.entries,
        row_bytes=sizes.redis_bytes(plan, table.entity),
    )


def _stream(stream: Stream, streamed: StreamPlan, plan: Plan) -> StreamReport:
    return StreamReport(
        name=stream.name,
        scored=streamed.place == 0,
        topic=stream.topic,
        schema=stream.record.origin,
        id=stream.id,
        key=stream.key,
        time=stream.time,
        available=stream.available,
        allowed_lateness=show(stream.allowed_lateness_us),
        max_skew=show(stream.max_skew_us),
        dedupe=show(stream.dedupe_us) if stream.dedupe_us else None,
        revise=stream.revise,
        fields=tuple(_field(name, stream, streamed, plan) for name in streamed.fields),
    )


def _field(name: str, stream: Stream, streamed: StreamPlan, plan: Plan) -> FieldReport:
    scored = streamed.place == 0
    # The scored stream's field is read by the tables of other streams too: as of whom.
    tables = [table for table in plan.tables if scored or table.stream == streamed.place]
    own = [table for table in tables if table.stream == streamed.place]
    entities = {table.entity for table in tables}
    compared = {one.field for table in own for where in table.filters for one in comparisons(where)}
    read = {node.field for node in plan.rows if scored and node.op is Row.COLUMN}
    timed = {stream.time, stream.available} - {RECORD_TIMESTAMP}
    roles = {
        "id": name == stream.id,
        "key": name == stream.key,
        "time": name == stream.time,
        "available": name == stream.available != stream.time,
        "entity": name in entities,
        "aggregated": any(column.field == name for table in own for column in table.columns),
        "where": name in compared,
        "column": name in read,
    }
    nullable = name in streamed.nullable or streamed.fields[name] == "float"  # NaN is a null
    if name == stream.id or name in timed or not nullable:
        null = "dead letter"
    elif name in entities:
        null = "empty history"
    else:
        uses = (("skipped", "aggregated"), ("false", "where"), ("NaN", "column"))
        null = ", ".join(text for text, role in uses if roles[role])
    power = streamed.quantum.get(name)
    return FieldReport(
        name=name,
        type=stream.record.fields[name].shown,
        roles=tuple(role for role, holds in roles.items() if holds),
        null=null,
        max_abs=streamed.max_abs.get(name),
        quantum=None if power is None else f"1e-{power}",
    )
