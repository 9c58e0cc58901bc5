"""``noskew simulate``: payments and their labels, into topics as they happen or into files."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from noskew.dataflows.errors import UsageError
from noskew.dataflows.kafka import subjects
from noskew.dataflows.simulation.fraud import Scenario
from noskew.dataflows.simulation.labels import LabelQueue, labels_of
from noskew.dataflows.simulation.parquet import LABELS_SCHEMA, PAYMENTS_SCHEMA, ParquetStream
from noskew.dataflows.simulation.payments import BLOCK, LATE_SHARE, Simulation
from noskew.dataflows.simulation.timeline import DAY_US, SECOND_US, Timeline
from noskew.dataflows.simulation.topics import FRAUD_LABELS, PARTITIONS, TRANSACTIONS, Feed, Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from noskew.dataflows.simulation.columns import LabelColumns, PaymentColumns

PAYMENTS_A_DAY: Final = 2.0
"""What a customer pays in a simulated day, on average, where neither speed nor days are given."""

COUNT_LIMIT: Final = 10**12
DAYS_LIMIT: Final = 36_525

RHYTHM_LEAST_SPEED: Final = 8.0
"""Below this speed days have no rhythm: a busy hour would run ahead of the real clock."""

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(slots=True)
class Summary:
    """What was simulated; times are ISO in UTC, ``per_second`` counts payments."""

    payments: int = 0
    labels: int = 0
    frauds: dict[str, int] = field(default_factory=dict)
    first_event_time: str = ""
    last_event_time: str = ""
    simulated_days: float = 0.0
    seconds: float = 0.0
    per_second: float = 0.0
    payments_to: str = ""
    labels_to: str | None = None

    def to_json(self) -> str:
        """Return the summary as one JSON object."""
        return json.dumps(asdict(self))


def simulate(
    rate: float = 2_000.0,
    seconds: float = 60.0,
    *,
    seed: int = 0,
    speed: float | None = None,
    days: float | None = None,
    customers: int = 5_000,
    terminals: int = 10_000,
    partitions: int = PARTITIONS,
    late: float = LATE_SHARE,
    brokers: str | None = None,
    registry: str | None = None,
    out: Path | str | None = None,
    labels_out: Path | str | None = None,
    end: datetime | None = None,
    pending: LabelColumns | None = None,
    progress: bool | None = None,
) -> Summary:
    """Simulate ``rate`` x ``seconds`` payments whose time ends at ``end`` (default: about now).

    Event time runs ``speed`` times as fast as the clock, so it covers seconds x speed; ``days``
    says the same as simulated days (speed = days x 86,400 / seconds). With neither, every
    customer makes two payments a simulated day. 90 days of history with 300,000 payments are
    ``rate=2000, seconds=150, days=90, out="payments.parquet"``.

    Without ``out``, payments go to the topic ``transactions`` and labels to ``fraud_labels`` (made
    and registered if absent; ``brokers`` and ``registry`` needed), at ``rate`` a second and with
    Kafka's clock; a label is sent once its simulated time has come, days after its payment and so
    in no order of payments, and a few are corrected later. ``pending`` are labels of earlier
    payments that are sent likewise. With ``out`` (a Parquet file) nothing waits, and all labels go
    to ``labels_out`` if it is given. With ``end``, a file's content is a function of the arguments
    alone. ``progress`` shows a bar (default: on a terminal).

    Raises UsageError for values out of range and for servers that do not answer.
    """
    count = _count(rate, seconds)
    live = out is None
    if live and end is not None:
        message = "simulate: --end is for files; records of a topic end at now"
        raise UsageError(message)
    if live and labels_out is not None:
        message = "simulate: --labels-out needs --out; without it labels go to fraud_labels"
        raise UsageError(message)
    if out is not None and labels_out is not None and Path(out) == Path(labels_out):
        message = f"simulate: --out and --labels-out are both {out}: give the labels another file"
        raise UsageError(message)
    span_us = _span_us(count, seconds, speed, days, customers)
    speed = span_us / SECOND_US / seconds
    if live and speed < 1.0:
        message = (
            f"simulate: speed is {speed:g}; below 1 events would lie in the future of their "
            "records: give --speed 1 or more"
        )
        raise UsageError(message)
    simulation = Simulation(seed, customers, terminals, partitions, late=late)
    rhythm = not live or speed >= RHYTHM_LEAST_SPEED
    shown = Console(stderr=True).is_terminal if progress is None else progress
    with _bar(count, shown=shown) as advance:
        if out is not None:
            end_us = time.time_ns() // 1_000 if end is None else _micros(end)
            timeline = Timeline(end_us - span_us, end_us, count, rhythm=rhythm)
            return _to_files(simulation, timeline, Path(out), labels_out, advance)
        if brokers is None or registry is None:
            message = "simulate: give --brokers and --registry, or --out for a file"
            raise UsageError(message)
        subjects.connect(registry, None).close()  # before topics are made for nothing
        with Feed.open(brokers, registry, partitions) as feed:
            pace = Pace(rate)
            end_us = pace.began_us + int(seconds * SECOND_US)
            timeline = Timeline(end_us - span_us, end_us, count, rhythm=rhythm)
            queue = LabelQueue()
            if pending is not None:
                queue.push(pending)
            summary = _to_topics(simulation, timeline, feed, pace, queue, advance)
    return summary


def render(summary: Summary, console: Console) -> None:
    """Print what was simulated as a table."""
    table = Table(title="simulated", show_header=False)
    for name, one in json.loads(summary.to_json()).items():
        table.add_row(name.replace("_", " "), str(one))
    console.print(table)


class _Tally:
    """Counts what passes, for the summary."""

    def __init__(self, timeline: Timeline) -> None:
        self._began_s = time.monotonic()
        self._timeline = timeline
        self._scenarios = np.zeros(len(Scenario), np.int64)
        self._first_us = np.iinfo(np.int64).max
        self._last_us = 0
        self._labels = 0

    def payments(self, columns: PaymentColumns) -> None:
        self._scenarios += np.bincount(columns.scenario, minlength=len(Scenario))
        self._first_us = min(self._first_us, int(columns.event_time.min()))
        self._last_us = max(self._last_us, int(columns.event_time.max()))

    def labels(self, columns: LabelColumns) -> None:
        self._labels += len(columns)

    def summary(self, payments_to: str, labels_to: str | None) -> Summary:
        seconds = time.monotonic() - self._began_s
        count = int(self._scenarios.sum())
        return Summary(
            payments=count,
            labels=self._labels,
            frauds={kind.name.lower(): int(self._scenarios[kind]) for kind in Scenario if kind},
            first_event_time=_iso(self._first_us),
            last_event_time=_iso(self._last_us),
            simulated_days=(self._timeline.end_us - self._timeline.start_us) / DAY_US,
            seconds=round(seconds, 3),
            per_second=round(count / seconds, 1),
            payments_to=payments_to,
            labels_to=labels_to,
        )


def _to_files(
    simulation: Simulation,
    timeline: Timeline,
    out: Path,
    labels_out: Path | str | None,
    advance: Callable[[int], None],
) -> Summary:
    tally = _Tally(timeline)
    queue = LabelQueue()
    with ExitStack() as files:
        payments = files.enter_context(_open(out, PAYMENTS_SCHEMA, simulation.partitions))
        labels = None
        if labels_out is not None:
            path = Path(labels_out)
            labels = files.enter_context(_open(path, LABELS_SCHEMA, simulation.partitions))
        for columns in simulation.payments(timeline):
            payments.write(columns)
            tally.payments(columns)
            if labels is not None:
                queue.push(labels_of(columns, simulation.seed))
                known = queue.pop(int(columns.record_time_us[-1]))
                labels.write(known)
                tally.labels(known)
            advance(len(columns))
        if labels is not None:
            rest = queue.pop()
            labels.write(rest)
            tally.labels(rest)
    return tally.summary(str(out), None if labels_out is None else str(labels_out))


def _to_topics(
    simulation: Simulation,
    timeline: Timeline,
    feed: Feed,
    pace: Pace,
    queue: LabelQueue,
    advance: Callable[[int], None],
) -> Summary:
    """Send at the pace's rate; ids count from the µs of its start, so that runs differ."""
    tally = _Tally(timeline)
    sent = 0
    for block in simulation.payments(timeline, first_id=pace.began_us):
        queue.push(labels_of(block, simulation.seed))
        at = 0
        while at < len(block):
            due = pace.due(sent, min(BLOCK, len(block) - at))
            columns = block[at : at + due]
            feed.payments(columns)
            known = queue.pop(int(columns.record_time_us[-1]))
            feed.labels(known)
            tally.payments(columns)
            tally.labels(known)
            at += due
            sent += due
            advance(due)
    feed.flush()
    return tally.summary(TRANSACTIONS, FRAUD_LABELS)


def _count(rate: float, seconds: float) -> int:
    if not (rate > 0 and seconds > 0 and 1 <= rate * seconds < COUNT_LIMIT):
        message = f"simulate: rate {rate:g} x seconds {seconds:g} must give 1 to 10^12 payments"
        raise UsageError(message)
    return round(rate * seconds)


def _span_us(
    count: int, seconds: float, speed: float | None, days: float | None, customers: int
) -> int:
    """Return how much simulated time the payments cover, at least a second."""
    if speed is not None and days is not None:
        message = f"simulate: give --speed ({speed:g}) or --days ({days:g}), not both"
        raise UsageError(message)
    if speed is not None:
        days = speed * seconds * SECOND_US / DAY_US
    if days is None:
        natural = count / (PAYMENTS_A_DAY * max(customers, 1))
        days = max(natural, seconds * SECOND_US / DAY_US)
    if not SECOND_US / DAY_US <= days <= DAYS_LIMIT:
        message = f"simulate: the payments cover {days:g} days; give one second to 100 years"
        raise UsageError(message)
    return int(days * DAY_US)


def _open(path: Path, schema: pa.Schema, partitions: int) -> ParquetStream:
    try:
        return ParquetStream(path, schema, partitions)
    except OSError as error:
        message = f"simulate: {path} cannot be written ({error.strerror or error})"
        raise UsageError(message) from error


@contextmanager
def _bar(count: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("payments"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task("payments", total=count)
        yield lambda done: bar.advance(task, done)


def _micros(at: datetime) -> int:
    """Return µs since the epoch; a time without a zone is UTC."""
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND


def _iso(time_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + time_us * _MICROSECOND).isoformat()
