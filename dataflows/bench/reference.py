"""The whole reference definition, card_fraud.py: payments and labels through the engine.

Simulated payments and what becomes known of them are taken in canonical order, as a replay would.
Beside it: the same features in plain Python, event by event, and those of payments in DuckDB.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.dataflows.bench import sql
from noskew.dataflows.bench.figures import Figure, same, same_bits
from noskew.dataflows.bench.kernel import CORE, PYTHON, REPEATS, START_US
from noskew.dataflows.bench.material import EVENTS_A_DAY
from noskew.dataflows.bench.plain import DAY, HOUR, MONTH, WEEK, CardFraud
from noskew.dataflows.core import history
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.order import BATCH_MAX
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.simulation.labels import LabelQueue, labels_of
from noskew.dataflows.simulation.parquet import LABELS_SCHEMA, PAYMENTS_SCHEMA, ParquetStream
from noskew.dataflows.simulation.payments import Simulation
from noskew.dataflows.simulation.timeline import Timeline
from noskew.kernels.layout import FATE_APPLIED
from noskew.schemas.columns import NULL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Turn
    from noskew.dataflows.core.history import History
    from noskew.dataflows.definition.plan import Plan

PAYMENTS: Final = 1_000_000
SAMPLE: Final = 200_000
"""Records that the alternatives do as well."""

DAYS_LEAST: Final = 90
"""So many days at least, so that the longest windows fill and move, however few the payments."""

FLUSH_TURNS: Final = 64
"""Turns between two sweeps of gone keys: about a quarter of a million records, where a run's flush
comes once a second."""

DEFINITION: Final = Path(__file__).parents[1] / "card_fraud.py"


@dataclass(frozen=True, slots=True)
class Measured:
    """What the engine did with a history.

    took_s   CPU seconds of the thread
    records  of all streams
    vectors  float64[features, payments among the first records asked for]
    """

    took_s: float
    records: int
    vectors: NDArray[np.float64]


def measure(folder: Path, payments: int, sample: int) -> Iterator[Figure]:
    """Measure simulated payments and their labels; the alternatives take the first records.

    folder  where the simulated files go

    CPU time of this thread (DuckDB: of the process, one thread), the least of three. Raises
    WrongResultError where a value differs, or a record was not aggregated.
    """
    plan = compile_plan(load(DEFINITION))
    records = simulated(folder, plan, payments)
    first = list(islice(records.turns(), -(-sample // BATCH_MAX)))
    _run(plan, records.partitions, first, 0)  # compiles what is not compiled yet, or loads it
    runs = [_run(plan, records.partitions, records.turns(), sample) for _ in range(REPEATS)]
    ours = min(runs, key=lambda run: run.took_s)
    taken = taken_of(first, sample)
    plain_s, expected = plain(taken)
    same_bits(f"reference, {PYTHON}", ours.vectors, expected, plan.names)
    what = f"reference definition: two entities, labels, {len(plan.names)} features"
    yield Figure(
        "reference", f"{what}, payments and labels", CORE, ours.records / ours.took_s,
        ours.records, len(taken.stream) / plain_s, len(taken.stream), PYTHON,
    )  # fmt: skip
    scored = int((taken.stream == 0).sum())
    yield Figure(
        "reference", f"{what}, payments alone counted", CORE, payments / ours.took_s, payments,
        scored / plain_s, scored, PYTHON,
    )  # fmt: skip
    found = batch(taken)
    if found is not None:
        batch_s, expected = found
        names = plan.names[: len(expected)]
        same_bits(f"reference, {sql.NAME}", ours.vectors[: len(expected)], expected, names)
        yield Figure(
            "reference", f"{what}, payments alone counted", CORE, payments / ours.took_s,
            payments, scored / batch_s, scored, f"{sql.NAME}, without labels",
        )  # fmt: skip


def simulated(folder: Path, plan: Plan, payments: int) -> History:
    """Return payments, and the labels known before the last of them, in canonical order.

    No payment is late and no two have the same time, so that a batch sees what a stream does.
    """
    # Fewer of both where payments are few, so that there is something in their windows.
    customers, terminals = min(5_000, payments // 8 + 1), min(10_000, payments // 4 + 1)
    simulation = Simulation(0, customers, terminals, late=0.0)
    span_us = int(max(payments / EVENTS_A_DAY, DAYS_LEAST) * DAY)
    queue = LabelQueue()
    files = [folder / f"reference_{stream.name}.parquet" for stream in plan.streams]
    with (
        ParquetStream(files[0], PAYMENTS_SCHEMA, simulation.partitions) as scored,
        ParquetStream(files[1], LABELS_SCHEMA, simulation.partitions) as labels,
    ):
        for drawn in simulation.payments(Timeline(START_US, START_US + span_us, payments)):
            apart = replace(drawn, event_time=drawn.event_time + drawn.transaction_id)
            scored.write(apart)
            queue.push(labels_of(apart, simulation.seed))
            labels.write(queue.pop(int(apart.record_time_us[-1])))
    inputs = zip(plan.streams, files, strict=True)
    return history.read([(stream.name, path) for stream, path in inputs], plan)


def _run(
    plan: Plan, partitions: tuple[int, ...], turns: Iterator[Turn] | Sequence[Turn], sample: int
) -> Measured:
    """Do all turns; keep the vectors of the first ``sample`` records."""
    engine = Engine(plan, partitions)
    kept = [np.zeros((len(plan.names), 0))]
    took_s = 0.0
    records = aggregated = 0
    for turns_done, turn in enumerate(turns):
        began_s = time.thread_time()
        found = engine.process(turn)
        if turns_done % FLUSH_TURNS == FLUSH_TURNS - 1:
            engine.sweep()
            engine.forget_changes()
        took_s += time.thread_time() - began_s
        records += len(turn)
        aggregated += sum(int((fate == FATE_APPLIED).sum()) for fate in found.fates)
        if turn.seq < sample:
            kept.append(found.vectors[:, turn.scored.seq < sample])
    same("reference: records aggregated", aggregated, records)
    return Measured(took_s, records, np.concatenate(kept, axis=1))


@dataclass(frozen=True, slots=True)
class Taken:
    """Records of both streams in processing order, as columns of n values.

    stream    0: a payment, 1: a label
    value     a payment's amount, a label's verdict
    terminal  NULL for none
    """

    stream: NDArray[np.int64]
    time_us: NDArray[np.int64]
    payment: NDArray[np.int64]
    customer: NDArray[np.int64]
    terminal: NDArray[np.int64]
    value: NDArray[np.int64]


def taken_of(turns: Sequence[Turn], sample: int) -> Taken:
    """Return the first ``sample`` records."""
    columns: list[NDArray[np.int64]] = []
    for turn in turns:
        found = np.zeros((6, len(turn)), np.int64)
        found[0] = turn.stream
        for place, value in enumerate(("amount_cents", "is_fraud")):
            own: Any = turn.batches[place].columns
            at = np.flatnonzero(turn.stream == place)
            found[1, at] = turn.batches[place].time_us
            found[2, at] = own["transaction_id"]
            if place == 0:
                found[3, at] = own["customer_id"]
            found[4, at] = own["terminal_id"]
            found[5, at] = own[value]
        columns.append(found)
    return Taken(*np.concatenate(columns, axis=1)[:, :sample])


def plain(taken: Taken) -> tuple[float, NDArray[np.float64]]:
    """Do the records one by one; return the CPU seconds, and the payments' vectors."""
    terminals: list[int | None] = [one if one != NULL else None for one in taken.terminal.tolist()]
    rows = list(
        zip(
            taken.stream.tolist(), taken.time_us.tolist(), taken.payment.tolist(),
            taken.customer.tolist(), terminals, taken.value.tolist(), strict=True,
        )
    )  # fmt: skip
    keys = CardFraud()
    vectors: list[list[float]] = []
    began_s = time.thread_time()
    for stream, now, payment, customer, terminal, value in rows:
        if stream:
            keys.label(now, terminal, payment, value)
        else:
            vectors.append(keys.payment(now, customer, terminal, value))
    took_s = time.thread_time() - began_s
    return took_s, np.ascontiguousarray(np.array(vectors, np.float64).T)


def batch(taken: Taken) -> tuple[float, NDArray[np.float64]] | None:
    """Compute the payments' features in one query; None where DuckDB is not installed.

    The labels' are left out: what was known as of each payment would take a join of its own.
    """
    scored = taken.stream == 0
    terminal = taken.terminal[scored]
    events = {
        "t": taken.time_us[scored],
        "k": taken.customer[scored],
        "m": np.where(terminal == NULL, -1, terminal),
        "a": taken.value[scored],
    }
    spans = {"hour": HOUR, "day": DAY, "week": WEEK, "month": MONTH}
    windows = [
        *(sql.window(f"k_{name}", "k", span) for name, span in spans.items()),
        *(sql.window(f"m_{name}", "m", span) for name, span in spans.items() if span > HOUR),
        *(sql.window(f"d_{name}", "m", span, WEEK) for name, span in spans.items() if span > HOUR),
        "k_all AS (PARTITION BY k ORDER BY t)",
    ]
    wanted = [
        "a", f"t // {HOUR} % 24", f"(t // {DAY} + 3) % 7",
        *(f"count(*) OVER k_{name}" for name in spans),
        *(f"sum(a) OVER k_{name}" for name in ("day", "week", "month")),
        "min(a) OVER k_month", "max(a) OVER k_month", "t - lag(t) OVER k_all",
        *(f"count(*) OVER d_{name}" for name in ("day", "week", "month")),
        "sum(a) OVER m_day", "sum(a) OVER d_month", "min(a) OVER d_week", "max(a) OVER m_week",
    ]  # fmt: skip
    found = sql.query(events, wanted, windows)
    if found is None:
        return None
    took_s, columns = found
    return took_s, _vectors(columns, is_somewhere=terminal != NULL)


def _vectors(
    columns: list[NDArray[np.float64]], *, is_somewhere: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return what was selected as vectors: quotients of exact integers, empty windows as ours."""
    row, counts, sums = columns[:3], columns[3:7], columns[7:10]
    least, most, since_us = columns[10:13]
    delayed, (day_sum, month_sum, low, high) = columns[13:16], columns[16:20]
    means = [total / count for total, count in zip(sums, counts[1:], strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, month_mean = row[0] / means[2], month_sum / delayed[2]
    here = [
        *(np.where(is_somewhere, one, 0.0) for one in (*delayed, day_sum)),
        *(np.where(is_somewhere, one, np.nan) for one in (month_mean, low, high)),
    ]
    return np.stack([*row, *counts, sums[0], *means, least, most, ratio, since_us / 1e6, *here])
