"""The report of ``noskew check`` for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.table import Table
from rich.text import Text

from noskew.dataflows.commands.capacity import amount, rate_text, span
from noskew.dataflows.core.sizes import PARTITIONS, SNAPSHOTS

if TYPE_CHECKING:
    from rich.console import Console

    from noskew.dataflows.commands.capacity import CapacityReport
    from noskew.dataflows.commands.check import CheckReport, StreamReport

_WIDE: Final = 1_000

_LEGEND: Final = (
    "\nlocal: a function of one partition's records. ordered: other partitions or streams take "
    "part; equal to the bit in the same processing order, which the journal keeps.\n"
    "Bytes per key of a feature: what its state would take alone; features share what they can. Of "
    "a table: state without events; these come in chunks of {entries} and are held while a window, "
    "a late event or a revision can reach them.\n"
    "{key} is the key of topic {topic}: each of its values must live in one partition."
)


def render(report: CheckReport, console: Console) -> None:
    """Print the report for a person; where that is no terminal, lines are as long as needed."""
    if not console.is_terminal:
        console.width = _WIDE  # names must stay whole: they are searched for
    count = len(report.features)
    scored = report.streams[0]
    console.print(Text(f"{report.definition}: pipeline {report.pipeline}, {count} features"))
    console.print(_features(report))
    if report.tables:
        console.print(_tables(report))
    for stream in report.streams:
        _render_stream(stream, console)
    for name, value in (
        ("model", report.model or "none (features only)"),
        ("semantics", report.semantics),
        ("fingerprint", report.fingerprint),
    ):
        console.print(Text(f"  {name:12}{value}"), soft_wrap=True)
    entries = report.tables[0].entries_per_chunk if report.tables else 0
    legend = _LEGEND.format(key=scored.key, topic=scored.topic, entries=entries)
    console.print(Text(legend), soft_wrap=True)
    if report.capacity is not None:
        _render_capacity(report.capacity, console)


def _features(report: CheckReport) -> Table:
    table = _table("#", ("feature", "what", "order", "kept by", "bytes/key"), right=(5,))
    for place, one in enumerate(report.features):
        kept = zip(one.streams, one.entities, strict=True)
        table.add_row(
            str(place),
            one.name,
            one.what,
            "ordered" if one.ordered else "local",
            ", ".join(f"{stream} by {entity}" for stream, entity in kept) or "-",
            f"{one.bytes_per_key:,}" if one.entities else "-",
        )
    return table


def _tables(report: CheckReport) -> Table:
    heads = ("key", "held for", "bytes/key", "bytes/event", "Redis row")
    table = _table("state", heads, right=(3, 4, 5))
    for one in report.tables:
        table.add_row(
            f"{one.stream} by {one.entity}",
            f"{one.key_type}, primary" if one.primary else one.key_type,
            one.held_for,
            f"{one.bytes_per_key:,} + chunks of {one.bytes_per_chunk:,}",
            f"{one.bytes_per_entry:,}",
            f"{one.row_bytes:,}",
        )
    return table


def _render_stream(stream: StreamReport, console: Console) -> None:
    name = f"{stream.name} (scored)" if stream.scored else stream.name
    lines = [
        f"stream {name}: topic {stream.topic}, schema {stream.schema}",
        f"  order       {stream.available} says when a record is known; {stream.id} identifies it",
        f"  lateness    allowed {stream.allowed_lateness}, skew of partitions {stream.max_skew}",
    ]
    if stream.dedupe is not None:
        lines.append(f"  duplicates  dropped within {stream.dedupe}")
    if stream.revise:
        lines.append(f"  revisions   a record with the {stream.id} of an open one replaces it")
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    table = _table("field", ("type", "read as", "null", "max_abs", "quantum"))
    for one in stream.fields:
        limit = "" if one.max_abs is None else f"{one.max_abs:,}"
        table.add_row(one.name, one.type, ", ".join(one.roles), one.null, limit, one.quantum or "")
    console.print(table)


def _render_capacity(found: CapacityReport, console: Console) -> None:
    rates = ", ".join(f"{rate_text(rate)} of {stream}" for stream, rate in found.rates.items())
    assumed = [
        f"{name} as the scored stream" if name in found.rates else f"{found.keys[name]:,} {name}"
        for name in found.assumed
    ]
    text = f" (assumed: {', '.join(assumed)}; give --at and --keys)" if assumed else ""
    console.print(Text(f"\nAt {rates}{text}:"), soft_wrap=True)
    heads = ("held for", "held", "keys", "bytes/key", "bytes/event", "memory")
    table = _table("state", heads, right=(2, 3, 4, 5, 6))
    for one in found.tables:
        table.add_row(
            f"{one.stream} by {one.entity}",
            span(one.held_us),
            f"{one.held:,}",
            f"{one.keys:,}",
            f"{one.rows.key:,}",
            f"{one.rows.entry:,}",
            amount(one.reserved),
        )
    for ids in found.ids:
        table.add_row(
            f"ids of {ids.stream}", span(ids.held_us), f"{ids.held:,}", "", "", "",
            amount(ids.reserved),
        )  # fmt: skip
    for name, size in (
        ("rows for Redis", found.rows_bytes),
        ("the process itself", found.process_bytes),
        ("in all", found.memory),
    ):
        table.add_row(
            name, "", f"{found.held:,}" if name == "in all" else "", "", "", "", amount(size)
        )
    console.print(table)
    verdict = "fits" if found.advice is None else "does not fit"
    journal = (
        f"journal about {amount(found.journal_day)} a day with {PARTITIONS} partitions a topic"
    )
    for line in (
        f"  memory      {amount(found.memory)} {verdict}: {found.limit_of} {amount(found.limit)}",
        f"  disk        {journal}; {SNAPSHOTS} snapshots {amount(found.snapshots)}",
    ):
        console.print(Text(line), soft_wrap=True)


def _table(first: str, others: tuple[str, ...], right: tuple[int, ...] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, heading in enumerate((first, *others)):
        table.add_column(heading, justify="right" if place in right else "left", overflow="fold")
    return table
