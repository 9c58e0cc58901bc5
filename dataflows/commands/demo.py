"""``noskew demo``: the whole story on servers of its own, in about two minutes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from rich.table import Table

from noskew.dataflows.client import Client
from noskew.dataflows.commands.replay import replay
from noskew.dataflows.commands.simulate import simulate
from noskew.dataflows.commands.train import train
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import NoskewError, UsageError
from noskew.dataflows.kafka.tail import newest
from noskew.dataflows.settings import settings
from noskew.dataflows.simulation.topics import (
    FRAUD_LABELS,
    TRANSACTIONS,
    load_labels,
    load_parquet,
    read_labels,
)
from noskew.infra import stack as servers
from noskew.infra.mock import MockStack
from noskew.infra.stack import MavenMissingError, StackError
from noskew.schemas import records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from noskew.dataflows.simulation.columns import LabelColumns

PARTITIONS = 8
HISTORY_DAYS = 90
HISTORY_PAYMENTS = 300_000
PAYMENTS_PER_DAY = 10_000
RATE = 2000.0
"""Live payments a second."""

CATCH_UP_S = 120.0
"""How long the pipeline may take to work the history off."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demonstration's servers are. ``real`` is false for the stand-ins."""

    brokers: str
    registry: str
    redis: str
    real: bool


def demo(
    console: Console, *, seconds: float = 45.0, directory: Path | None = None
) -> dict[str, Any]:
    """Simulate, train, run live, and show it; return the run's report.

    The history is in the topics before the pipeline starts: payments, and the labels known by its
    end. Those still to come, and labels of live payments, follow live when their time has come.
    The files it leaves in the working directory (payments.parquet, labels.parquet,
    features.parquet, bundle/) are those that the commands in the README take.

    seconds   how long payments are sent live

    Raises NoskewError where a step fails; the servers are stopped in any case.
    """
    directory = directory or Path(".noskew/demo")
    definition = Path(__file__).parents[1] / "card_fraud.py"
    with _servers(directory, console) as place:
        end = datetime.now(UTC) - timedelta(days=RATE * seconds / PAYMENTS_PER_DAY)
        _history(definition, end, console)
        pending = _load(place, end, console)
        _step(console, "the pipeline starts")
        report = _live(definition, place, directory, seconds, pending, console)
        _show(definition, place, report, console)
    return report


def _history(definition: Path, end: datetime, console: Console) -> None:
    """Make a history and train on it; it ends where the live payments will begin."""
    _step(console, f"{HISTORY_DAYS} days of payments and their labels are simulated")
    simulate(
        RATE,
        HISTORY_PAYMENTS / RATE,
        days=HISTORY_DAYS,
        out=Path("payments.parquet"),
        labels_out=Path("labels.parquet"),
        end=end,
        partitions=PARTITIONS,
    )
    _step(console, "their features are computed by the engine that will run live")
    # These files are the demonstration's own: made anew at each run.
    Path("features.parquet").unlink(missing_ok=True)
    inputs = ["payments=payments.parquet", "labels=labels.parquet"]
    found = replay(definition, inputs, Path("features.parquet"), settings())
    _step(
        console,
        f"  {found.read:,} payments and labels, each at its time, "
        f"{found.to_json()['events_per_s']:,} a second",
    )
    _step(console, "a model is trained on them")
    made = train(definition, [Path("features.parquet")], Path("labels.parquet"), Path("bundle"))
    metrics = made.manifest.metrics
    _step(console, f"  AUC {metrics.auc:.3f}, average precision {metrics.average_precision:.3f}")


def _load(place: Place, end: datetime, console: Console) -> LabelColumns:
    """Put the history into the topics; return the labels that its end does not know yet."""
    labels = Path("labels.parquet")
    if not place.real:  # the stand-in keeps too little of a topic for a history
        columns = read_labels(pq.read_table(labels).combine_chunks().to_batches()[0], PARTITIONS)
        return columns[np.flatnonzero(columns.labelled_at > end.timestamp() * 1_000_000)]
    load_parquet(
        "payments.parquet", place.brokers, TRANSACTIONS, place.registry, partitions=PARTITIONS
    )
    pending = load_labels(
        labels,
        place.brokers,
        FRAUD_LABELS,
        place.registry,
        until_us=int(end.timestamp() * 1_000_000),
        partitions=PARTITIONS,
    )
    known = pq.read_metadata(labels).num_rows - len(pending)
    _step(
        console,
        f"{HISTORY_PAYMENTS:,} payments and the {known:,} labels known so far go into their topics",
    )
    return pending


def _live(
    definition: Path,
    place: Place,
    directory: Path,
    seconds: float,
    pending: LabelColumns,
    console: Console,
) -> dict[str, Any]:
    """Run the pipeline as its user would, then a producer beside it; return the run's report."""
    environment = {
        **os.environ,
        "NOSKEW_BROKERS": place.brokers,
        "NOSKEW_REGISTRY": place.registry,
        "NOSKEW_REDIS": place.redis,
        "NOSKEW_STATE_DIR": str(directory / "state"),
        "NOSKEW_MODEL": "bundle",
    }
    command = [sys.executable, "-m", "noskew.dataflows.cli", "run", str(definition), "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:  # noqa: S603  # our own command
        caught_up = threading.Event()
        echo = threading.Thread(target=_echo, args=(process, caught_up, console))
        echo.start()
        try:
            caught_up.wait(CATCH_UP_S)
            _step(
                console,
                f"{RATE:,.0f} payments a second for {seconds:g} s, in which "
                f"{RATE * seconds / PAYMENTS_PER_DAY:g} days pass; labels follow days later",
            )
            if process.poll() is None:
                sent = simulate(
                    RATE,
                    seconds,
                    days=RATE * seconds / PAYMENTS_PER_DAY,
                    brokers=place.brokers,
                    registry=place.registry,
                    partitions=PARTITIONS,
                    pending=pending,
                    progress=False,
                )
                _step(console, f"  {sent.payments:,} payments and {sent.labels:,} labels were sent")
        finally:
            process.send_signal(signal.SIGTERM)
            out = "" if process.stdout is None else process.stdout.read()
            process.wait(CATCH_UP_S)
            echo.join()
    if process.returncode != 0:
        raise NoskewError(f"the pipeline ended with exit code {process.returncode}: see above")
    report: dict[str, Any] = json.loads(out)
    return report


def _echo(process: subprocess.Popen[str], caught_up: threading.Event, console: Console) -> None:
    """Show what the pipeline says, and note when it has caught up (or ended)."""
    for line in process.stderr or ():
        _step(console, f"  {line.rstrip()}")
        if line.startswith("caught up"):
            caught_up.set()
    caught_up.set()


def _show(definition: Path, place: Place, report: dict[str, Any], console: Console) -> None:
    table = Table(title="live run", show_header=False)
    for stream, counts in report["streams"].items():
        text = ", ".join(
            f"{_number(count)} {name}" for name, count in counts.items() if name != "unscored"
        )
        table.add_row(stream, text)
    table.add_row("rows written", f"{report['rows_written']:,}")
    held = sum(one["held_entries"] for one in report["tables"])
    state = sum(one["memory_bytes"] for one in report["tables"]) / 1e6
    table.add_row("state", f"{held:,} events held, {state:,.0f} MB")
    for name in ("latency_p50_ms", "latency_p99_ms"):
        value = report[name]
        text = "-" if value is None else f"{value:.1f} ms"
        table.add_row(f"payment sent to score out, {name[8:11]}", text)
    console.print(table)
    scores = [
        records.decode("score", value) for value in newest(place.brokers, "card_fraud.scores", 5)
    ]
    table = Table("payment", "customer", "terminal", "score", "seq", title="newest scores")
    for one in scores:
        entities = one["entity_keys"]
        table.add_row(
            str(one["event_id"]),
            str(entities["customer_id"]),
            str(entities["terminal_id"]),
            f"{one['score']:.4f}",
            f"{one['seq']:,}",
        )
    console.print(table)
    terminals = [one for one in scores if one["entity_keys"]["terminal_id"] is not None]
    with Client(compile_plan(load(definition)), place.redis) as client:
        for entity, found in (("customer_id", scores), ("terminal_id", terminals)):
            if found:
                _show_row(client, entity, found[-1]["entity_keys"][entity], console)


def _show_row(client: Client, entity: str, key: int, console: Console) -> None:
    row = client.read(entity, key)
    table = Table("feature", "value", title=f"Redis row of {entity} {key}")
    for name, value in ({} if row is None else row.values).items():
        table.add_row(name, f"{value:g}")
    console.print(table)


def _number(count: int | dict[str, int]) -> str:
    return f"{sum(count.values()) if isinstance(count, dict) else count:,}"


@contextmanager
def _servers(directory: Path, console: Console) -> Iterator[Place]:
    """Start the servers, and stop them whatever happens.

    Raises UsageError where they cannot be had.
    """
    try:
        with _started(directory, console) as place:
            yield place
    except StackError as error:
        raise UsageError(str(error)) from error


@contextmanager
def _started(directory: Path, console: Console) -> Iterator[Place]:
    _step(console, "Kafka, Redis and a schema registry are started")
    servers.down(directory / "stack")
    try:
        stack = servers.up(directory / "stack", ports="free")
    except MavenMissingError as error:
        first = str(error).splitlines()[0]
        _step(console, f"stand-ins instead: librdkafka's mock broker, a small registry ({first})")
        topics = {TRANSACTIONS: PARTITIONS, FRAUD_LABELS: PARTITIONS}
        topics |= {f"card_fraud.{name}": PARTITIONS for name in ("scores", "dead")}
        topics |= {f"card_fraud.{name}": 1 for name in ("alerts", "control", "journal")}
        with MockStack(directory / "stack", topics=topics) as mock:
            yield Place(mock.brokers, mock.registry, mock.redis, real=False)
        return
    try:
        yield Place(stack.brokers, stack.registry, stack.redis, real=True)
    finally:
        servers.down(directory / "stack")


def _step(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
