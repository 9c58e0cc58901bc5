"""``noskew check``: what a definition means, before anything runs. Asks no server."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from noskew.dataflows.definition import sizes
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.durations import show
from noskew.dataflows.definition.expression import Statistic, describe, leaves
from noskew.dataflows.definition.load import load
from noskew.dataflows.definition.plan import Row
from noskew.dataflows.store import rows
from noskew.kernels.layout import CHUNK

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from noskew.dataflows.definition.plan import Plan, TablePlan
    from noskew.dataflows.definition.stream import Pipeline


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """One feature: what it is, of which entities, and whether other partitions take part."""

    name: str
    what: str
    entities: tuple[str, ...]
    ordered: bool


@dataclass(frozen=True, slots=True)
class EntityReport:
    """One entity's state.

    bytes_per_key    without entries (and without the text of string keys)
    bytes_per_entry  per event held: as long as any window, and the horizon, can reach it
    bytes_per_chunk  memory is taken in chunks of ``entries_per_chunk``, at least one per key
    row_bytes        a row in Redis, without its key
    held_for         how long an event is held at least: max(delay + over)
    """

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


@dataclass(frozen=True, slots=True)
class StreamReport:
    """The scored stream's settings."""

    name: str
    topic: str
    schema: str
    id: str
    key: str
    time: str
    available: str
    allowed_lateness: str
    max_skew: str
    fields: tuple[FieldReport, ...]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All that ``check`` finds."""

    definition: str
    pipeline: str
    model: str | None
    fingerprint: str
    stream: StreamReport
    features: tuple[FeatureReport, ...]
    entities: tuple[EntityReport, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)


def check(definition: Path) -> CheckReport:
    """Load and compile a definition; raises DefinitionError, saying what to write instead."""
    pipeline = load(definition)
    plan = compile_plan(pipeline)
    return CheckReport(
        definition=str(definition),
        pipeline=plan.name,
        model=plan.model,
        fingerprint=plan.fingerprint.hex(),
        stream=_stream(pipeline, plan),
        features=tuple(
            FeatureReport(
                name=feature.name,
                what=describe(feature.expression),
                entities=tuple(
                    dict.fromkeys(
                        leaf.entity
                        for leaf in leaves(feature.expression)
                        if isinstance(leaf, Statistic)
                    )
                ),
                ordered=ordered,
            )
            for feature, ordered in zip(pipeline.features, plan.ordered, strict=True)
        ),
        entities=tuple(_entity(table, plan) for table in plan.tables),
    )


def render(report: CheckReport, console: Console) -> None:
    """Print the report for a person; where that is no terminal, lines are as long as needed."""
    if not console.is_terminal:
        console.width = _WIDE  # names must stay whole: they are searched for
    count = len(report.features)
    model = report.model or "none (features only)"
    console.print(Text(f"{report.definition}: pipeline {report.pipeline}, {count} features"))
    for table in (_features(report), _entities(report), _fields(report.stream)):
        console.print(table)
    stream = report.stream
    for name, value in (
        ("stream", f"{stream.name}, topic {stream.topic}, schema {stream.schema}"),
        ("order", f"{stream.available} says when a record is known; {stream.id} identifies it"),
        ("lateness", f"allowed {stream.allowed_lateness}, skew of partitions {stream.max_skew}"),
        ("model", model),
        ("fingerprint", report.fingerprint),
    ):
        console.print(Text(f"  {name:12}{value}"), soft_wrap=True)
    console.print(Text(_LEGEND.format(key=stream.key, entries=CHUNK)), soft_wrap=True)


_WIDE: Final = 1_000

_LEGEND: Final = (
    "\nlocal: a function of one partition's records. ordered: other partitions take part; equal to "
    "the bit in the same processing order, which the journal keeps.\n"
    "Bytes per key are state without entries; entries come in chunks of {entries} and are held "
    "while a window or a late event can reach them.\n"
    "{key} is the topic's key: each of its values must live in one partition."
)


def _features(report: CheckReport) -> Table:
    table = _table("#", ("feature", "what", "order", "entity"))
    for place, one in enumerate(report.features):
        table.add_row(
            str(place),
            one.name,
            one.what,
            "ordered" if one.ordered else "local",
            ", ".join(one.entities) or "-",
        )
    return table


def _entities(report: CheckReport) -> Table:
    table = _table("entity", ("key", "held for", "bytes/key", "bytes/entry", "Redis row"), right=2)
    for one in report.entities:
        table.add_row(
            one.entity,
            f"{one.key_type}, primary" if one.primary else one.key_type,
            one.held_for,
            f"{one.bytes_per_key:,} + chunks of {one.bytes_per_chunk:,}",
            f"{one.bytes_per_entry:,}",
            f"{one.row_bytes:,}",
        )
    return table


def _fields(stream: StreamReport) -> Table:
    table = _table("field", ("type", "read as", "null", "max_abs"))
    for one in stream.fields:
        limit = "" if one.max_abs is None else f"{one.max_abs:,}"
        table.add_row(one.name, one.type, ", ".join(one.roles), one.null, limit)
    return table


def _table(first: str, others: tuple[str, ...], right: int | None = None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, heading in enumerate((first, *others)):
        at_right = right is not None and place >= right
        table.add_column(heading, justify="right" if at_right else "left", overflow="fold")
    return table


def _entity(table: TablePlan, plan: Plan) -> EntityReport:
    return EntityReport(
        entity=table.entity,
        key_type=table.key_type,
        primary=table.primary,
        features=len(table.row_names),
        columns=table.columns,
        held_for="newest" if table.reach_us == 0 else show(table.reach_us),
        bytes_per_key=sizes.bytes_per_key(table, plan.scored.nullable),
        bytes_per_entry=sizes.bytes_per_entry(table),
        bytes_per_chunk=sizes.bytes_per_chunk(table),
        entries_per_chunk=CHUNK,
        row_bytes=rows.dtype(rows.width(table)).itemsize,
    )


def _stream(pipeline: Pipeline, plan: Plan) -> StreamReport:
    stream = pipeline.score
    return StreamReport(
        name=stream.name,
        topic=stream.topic,
        schema=stream.record.origin,
        id=stream.id,
        key=stream.key,
        time=stream.time,
        available=stream.available,
        allowed_lateness=show(stream.allowed_lateness_us),
        max_skew=show(stream.max_skew_us),
        fields=tuple(_field(name, pipeline, plan) for name in plan.scored.fields),
    )


def _field(name: str, pipeline: Pipeline, plan: Plan) -> FieldReport:
    stream, scored = pipeline.score, plan.scored
    entities = {table.entity for table in plan.tables}
    aggregated = {column for table in plan.tables for column in table.columns}
    read = {node.field for node in plan.rows if node.op is Row.COLUMN}
    timed = {stream.time, stream.available}
    roles = {
        "id": name == stream.id,
        "key": name == stream.key,
        "time": name == stream.time,
        "available": name == stream.available != stream.time,
        "entity": name in entities,
        "aggregated": name in aggregated,
        "column": name in read,
    }
    if name == stream.id or name in timed or name not in scored.nullable:
        null = "dead letter"
    elif name in entities:
        null = "empty history"
    else:
        uses = (("skipped", "aggregated"), ("NaN", "column"))
        null = ", ".join(text for text, role in uses if roles[role])
    return FieldReport(
        name=name,
        type=stream.record.fields[name].shown,
        roles=tuple(role for role, holds in roles.items() if holds),
        null=null,
        max_abs=scored.max_abs.get(name),
    )
