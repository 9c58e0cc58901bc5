"""``noskew replay``: the features of history, with the engine that runs live, into Parquet."""

from __future__ import annotations

import datetime as dt
import json
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from noskew.dataflows.core import history
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.history import History
from noskew.dataflows.core.resolver import Resolver
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import UsageError
from noskew.dataflows.kafka import subjects
from noskew.dataflows.kafka.history import ORDERS, TopicHistory
from noskew.dataflows.model.bundle import Bundle
from noskew.dataflows.model.scoring import Scorer
from noskew.schemas.columns import NULL, Strings
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from rich.console import Console

    from noskew.dataflows.core.batch import Batch, Turn
    from noskew.dataflows.core.engine import Features
    from noskew.dataflows.definition.plan import Plan
    from noskew.dataflows.settings import Settings
    from noskew.schemas.columns import Column

ROW_GROUP = 65_536

SWEEP_TURNS: Final = 64
"""Turns between two sweeps: a quarter of a million records, as often as a run's flush comes."""


@dataclass(slots=True)
class Report:
    """What a replay did; counts are over all streams.

    dead     could not be used; reasons: how many of them why
    late     not aggregated, because too late or a revision of what was closed; scored all the same
    """

    out: Path
    order: str
    read: int
    written: int
    dead: int
    late: int
    duplicate: int
    seconds: float
    reasons: dict[str, int] = field(default_factory=dict)

    def count(self, turn: Turn, features: Features) -> None:
        """Count what became of the records of a turn."""
        fates = np.bincount(np.concatenate(features.fates), minlength=4).tolist()
        self.read += len(turn)
        self.dead += fates[1]
        self.late += fates[2]
        self.duplicate += fates[3]
        for batch in turn.batches:
            found, numbers = np.unique(batch.reason[batch.reason > 0], return_counts=True)
            for reason, number in zip(found.tolist(), numbers.tolist(), strict=True):
                name = Reason(reason).name.lower()
                self.reasons[name] = self.reasons.get(name, 0) + number

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "out": str(self.out),
            "order": self.order,
            "read": self.read,
            "written": self.written,
            "dead": self.dead,
            "dead_reasons": dict(sorted(self.reasons.items())),
            "late": self.late,
            "duplicate": self.duplicate,
            "seconds": round(self.seconds, 3),
            "events_per_s": round(self.read / max(self.seconds, 1e-9)),
        }


def replay(
    definition: Path,
    inputs: list[str],
    out: Path,
    settings: Settings,
    *,
    begin: str | None = None,
    end: str | None = None,
    order: str = "auto",
    score: bool = False,
    console: Console | None = None,
) -> Report:
    """Compute the features of every event of ``inputs`` and write those in [begin, end).

    inputs       "kafka", or files as ``[STREAM=]FILE.parquet``
    begin, end   ISO event times; what comes before ``begin`` warms the state up
    order        of a topic: "auto", "journal" or "canonical"; a file says its own
    score        add margins and scores of the bundle ``settings.model``
    console      where warnings go

    Raises UsageError, UnsafeResumeError.
    """
    if order not in ORDERS:
        raise UsageError(f"--order {order!r} is not one of {', '.join(ORDERS)}")
    plan = compile_plan(load(definition))
    directory = settings.model if score else None
    bundle = None if directory is None else Bundle.load(directory, plan, definition=str(definition))
    scorer = None if bundle is None else Scorer(bundle, settings.threads)
    span = (_time(begin, "from", NULL), _time(end, "to", 2**63 - 1))
    if span[0] >= span[1]:
        raise UsageError(f"--from {begin} is not before --to {end}: no event lies between them")
    if out.is_dir() or not out.name:
        raise UsageError(f"--out {out} is a folder: give the Parquet file to write in it")
    part = out.with_name(f".{out.name}.part")
    with ExitStack() as opened:
        source, warnings = _source(plan, inputs, settings, order, opened)
        if console is not None:
            for one in warnings:
                console.print(f"warning: {one}", markup=False, highlight=False, soft_wrap=True)
        metadata = {
            "noskew.fingerprint": plan.fingerprint.hex(),
            "noskew.order": source.order,
            "noskew.future_times": "refused" if source.stamped else "unchecked",
            "noskew.sources": json.dumps(inputs),
            "noskew.model": "" if bundle is None else bundle.sha256.hex(),
        }
        began_s = time.monotonic()
        report = Report(out, source.order, 0, 0, 0, 0, 0, 0.0)
        _refuse_other(out, metadata)
        opened.callback(_remove, part)
        engine = Engine(plan, source.partitions)
        bar = opened.enter_context(_bar(console))
        task = bar.add_task("events", total=getattr(source, "rows", None))
        try:
            with _writer(part, out, _schema(plan, metadata, scored=scorer is not None)) as writer:
                for table in _tables(plan, engine, scorer, source.turns(), span, report):
                    writer.write_table(table.cast(writer.schema), row_group_size=ROW_GROUP)
                    bar.update(task, completed=report.read)
            part.replace(out)
        except OSError as error:
            raise UsageError(
                f"{out} cannot be written ({error.strerror}): make room or choose another --out; "
                "nothing of it was kept"
            ) from error
    report.seconds = time.monotonic() - began_s
    return report


def _bar(console: Console | None) -> Progress:
    """Return a progress bar that shows on a terminal only."""
    shown = console is not None and console.is_terminal
    return Progress(console=console, transient=True, disable=not shown)


def render(report: Report, console: Console) -> None:
    """Print the report as a table."""
    table = Table(title=escape(f"replay: {report.out}"), show_header=False)
    for name, value in report.to_json().items():
        if name != "dead_reasons":
            table.add_row(name.replace("_", " "), str(value))
        for reason, number in value.items() if name == "dead_reasons" else ():
            table.add_row(f"  {reason}", str(number))
    console.print(table)


def _source(
    plan: Plan, inputs: list[str], settings: Settings, order: str, opened: ExitStack
) -> tuple[History | TopicHistory, list[str]]:
    """Return where history comes from, and warnings; ``opened`` gets what must be closed."""
    named = [_named(one, plan) for one in inputs]
    topics = [name for name, path in named if path == "kafka"]
    names = [stream.name for stream in plan.streams]
    # The topics of all streams are one input, which may bear the name of an only stream.
    whole = {"", names[0]} if len(names) == 1 else {""}
    if not named or (topics and (len(named) > 1 or topics[0] not in whole)):
        raise UsageError(
            f"inputs {', '.join(inputs) or '(none)'} cannot be read together: give --input kafka "
            "once, for the topics of all streams, or files: --input [STREAM=]FILE.parquet, of "
            f"{', '.join(names)}"
        )
    if not topics:
        files = history.read([(name, Path(path)) for name, path in named], plan)
        return (files.by_event_time() if plan.peers else files), []
    registry = subjects.connect(settings.registry, settings.state_dir / "schemas")
    opened.callback(registry.close)
    resolver = Resolver(registry)
    opened.callback(resolver.close)
    source = TopicHistory(plan, settings.brokers, resolver, order)
    warnings: list[str] = []
    subjects.learn(plan, registry, resolver, warnings, declare=False)
    if plan.peers:
        # All of it is held: who comes first by time is known at the end only.
        held = History.of(source.order, source.turns(), source.partitions)
        return held.by_event_time(), warnings
    return source, warnings


def _named(given: str, plan: Plan) -> tuple[str, str]:
    """Return stream and file of an input; a file's own path may have a "=" too."""
    stream, equals, path = given.partition("=")
    known = stream in [one.name for one in plan.streams]
    if not equals or (not known and Path(given).exists()):
        return "", given
    return stream, path


def _tables(
    plan: Plan,
    engine: Engine,
    scorer: Scorer | None,
    turns: Iterator[Turn],
    span: tuple[int, int],
    report: Report,
) -> Iterator[pa.Table]:
    """Yield the rows to write, a row group at a time."""
    parts: list[pa.Table] = []
    rows = 0
    for number, turn in enumerate(turns):
        features = engine.process(turn)
        if number % SWEEP_TURNS == SWEEP_TURNS - 1:
            engine.sweep()
            engine.forget_changes()  # nobody reads rows of the past
        engine.splits()
        engine.caps()
        report.count(turn, features)
        batch = turn.scored
        keep = np.flatnonzero(
            ~features.dead & (batch.time_us >= span[0]) & (batch.time_us < span[1])
        )
        if not len(keep):
            continue
        parts.append(_table(plan, batch, features, scorer, keep))
        rows += len(keep)
        report.written += len(keep)
        if rows >= ROW_GROUP:
            yield pa.concat_tables(parts)
            parts, rows = [], 0
    if parts:
        yield pa.concat_tables(parts)


def _table(
    plan: Plan, batch: Batch, features: Features, scorer: Scorer | None, keep: NDArray[np.int64]
) -> pa.Table:
    columns: dict[str, pa.Array] = {
        history.PARTITION: pa.array(batch.partition[keep]),
        history.OFFSET: pa.array(batch.offset[keep]),
    }
    for name in _identity(plan):
        column = batch.columns[name]
        columns[name] = _arrow(column.take(keep) if isinstance(column, Strings) else column[keep])
    for name, values in zip(plan.names, features.vectors, strict=True):
        columns[name] = pa.array(values[keep])
    if scorer is not None:
        margin, score = scorer.score(features.vectors)
        columns["margin"], columns["score"] = pa.array(margin[keep]), pa.array(score[keep])
    columns["flags"] = pa.array(features.flags[keep])
    return pa.table(columns)


def _schema(plan: Plan, metadata: dict[str, str], *, scored: bool) -> pa.Schema:
    stream = plan.scored
    fields = [(history.PARTITION, pa.int32()), (history.OFFSET, pa.int64())]
    for name in _identity(plan):
        kind = pa.string() if stream.fields[name] == "string" else pa.int64()
        fields.append((name, pa.timestamp("us") if name == stream.time else kind))
    fields += [(name, pa.float64()) for name in plan.names]
    if scored:
        fields += [("margin", pa.float64()), ("score", pa.float64())]
    fields.append(("flags", pa.int32()))
    names = [name for name, _ in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"features {', '.join(map(repr, twice))} are named like a field of the event: give "
            "them another name with .named(...)"
        )
    return pa.schema(fields, metadata=metadata)


def _identity(plan: Plan) -> list[str]:
    return list(dict.fromkeys((plan.scored.id, plan.scored.key, plan.scored.time)))


def _arrow(column: Column) -> pa.Array:
    if isinstance(column, Strings):
        return pa.array(column.to_list(), pa.string())
    return pa.array(column, mask=column == NULL)


def _time(text: str | None, flag: str, default: int) -> int:
    if text is None:
        return default
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--{flag} {text!r} is not an ISO time such as 2026-11-23T08:00:00"
        ) from error
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (at - epoch) // dt.timedelta(microseconds=1)


def _remove(part: Path) -> None:
    with suppress(OSError):  # it is gone, or never came into being
        part.unlink()


def _writer(part: Path, out: Path, schema: pa.Schema) -> pq.ParquetWriter:
    try:
        return pq.ParquetWriter(part, schema)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error}") from error


def _refuse_other(out: Path, metadata: dict[str, str]) -> None:
    """Refuse to overwrite a file that is not this replay's own earlier output."""
    if not out.exists():
        return
    try:
        found = pq.read_schema(out).metadata or {}
    except (OSError, pa.ArrowException):
        found = {}
    for key, value in metadata.items():
        was = found.get(key.encode(), b"").decode()
        if was != value:
            raise UsageError(
                f"{out} exists and is of another {key.removeprefix('noskew.')} ({was or 'none'!r}, "
                f"this replay's is {value!r}): remove it, or give another --out"
            )
