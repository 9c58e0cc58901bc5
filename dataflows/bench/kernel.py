"""Kernels alone: four windows of one entity, beside lists and deques in plain Python and DuckDB."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.dataflows.bench import sql
from noskew.dataflows.bench.figures import Figure, same, same_bits
from noskew.dataflows.bench.plain import DAY, HOUR, MONTH, WEEK, Unordered, Windows
from noskew.dataflows.core.batch import Batch, Turn
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.order import BATCH_MAX
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.stream import Pipeline, Stream
from noskew.kernels.layout import FATE_APPLIED
from noskew.schemas.columns import NULL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import Plan

OVER: Final = ("1h", "1d", "7d", "30d")
WIDTHS_US: Final = (HOUR, DAY, WEEK, MONTH)
START_US: Final = 1_700_000_000_000_000
SPAN_US: Final = 2 * MONTH
"""Time the events cover: half of them are in the longest window once it is full."""

DISORDER_US: Final = 10_000_000
"""How far below its key's newest time an event out of order may lie."""
DISORDER_SHARE: Final = 0.9
"""Share of events out of order; the others are what the key's time advances by."""
DISORDER_LATENESS: Final = "1d"
"""What is allowed there: longer than a key's newest time stands still."""
DISORDER_CHECKED: Final = 20_000

PYTHON: Final = "Python lists and deques"
REPEATS: Final = 3
"""Each time is the least of so many; what takes long beside it is run once."""

CORE: Final = "events/s/core"


def measure(events: int, sample: int, keys: int) -> Iterator[Figure]:
    """Measure ``events`` of ``keys`` customers, and the alternatives on the first ``sample``.

    CPU time of this thread (DuckDB: of the process, one thread). Raises WrongResultError where a
    value differs.
    """
    plan = four_windows()
    batch = ordered(plan, events, keys)
    sample = min(sample, events)
    ours_s, vectors = least(plan, batch, sample)
    what = f"4 windows × count, sum, mean, max of one entity, {keys:,} keys, kernel alone"
    for name, theirs in ((PYTHON, _deques), (sql.NAME, _duckdb)):
        found = theirs(batch, sample)
        if found is not None:
            theirs_s, expected = found
            same_bits(f"kernel, {keys:,} keys, {name}", vectors, expected, plan.names)
            yield Figure(
                "kernel", what, CORE, events / ours_s, events, sample / theirs_s, sample, name
            )


def disorder(events: int, keys: int) -> Iterator[Figure]:
    """Measure events up to 10 s below their key's newest time, beside the same ones in order.

    Raises WrongResultError where a value of the first ``DISORDER_CHECKED`` differs from what sorted
    lists give.
    """
    plan = four_windows(DISORDER_LATENESS)
    batch, share = unordered(plan, events, keys)
    sample = min(events, DISORDER_CHECKED)
    unordered_s, vectors = least(plan, batch, sample)
    same_bits("kernel, out of order", vectors, _sorted_lists(batch, sample), plan.names)
    ordered_s, _ = least(plan, batch.take(np.argsort(batch.time_us, kind="stable")), 0)
    yield Figure(
        "kernel",
        f"the same, {keys:,} keys, {share:.0%} of events up to 10 s below their key's newest time",
        CORE,
        events / unordered_s,
        events,
        events / ordered_s,
        events,
        "the same events in order",
    )


@cache
def four_windows(allowed_lateness: str = "1h") -> Plan:
    """Return the plan: count, sum, mean and max of four windows, in this order."""
    payments = Stream(
        "payments",
        topic="transactions",
        schema="transaction.avsc",
        id="transaction_id",
        key="customer_id",
        time="event_time",
        allowed_lateness=allowed_lateness,
    )
    card = payments.by("customer_id")
    over = list(OVER)
    features = [
        card.count(over=over),
        card.sum("amount_cents", over=over),
        card.mean("amount_cents", over=over),
        card.max("amount_cents", over=over),
    ]
    return compile_plan(Pipeline(name="four_windows", score=payments, features=features))


def ordered(plan: Plan, count: int, keys: int) -> Batch:
    """Return events in order of time, of uniform customers; a function of its arguments.

    No two have the same time, so that what a row's peers are is no question.
    """
    random = np.random.default_rng(0)
    time_us = START_US + np.sort(random.integers(0, SPAN_US, count)) + np.arange(count)
    made = {
        "transaction_id": np.arange(count, dtype=np.int64),
        "event_time": time_us,
        "customer_id": random.integers(0, keys, count),
        "amount_cents": random.integers(0, 100_000, count),
    }
    return batch_of(0, time_us, {name: made[name] for name in plan.scored.fields})


def unordered(plan: Plan, count: int, keys: int) -> tuple[Batch, float]:
    """Return the events of ``ordered``, most moved below their key's newest time; which share is.

    None is moved that would be late by it.
    """
    batch = ordered(plan, count, keys)
    random = np.random.default_rng(1)
    customer: Any = batch.columns["customer_id"]
    by_key = np.argsort(customer, kind="stable")
    time_us = batch.time_us[by_key]
    begins = np.concatenate(([True], np.diff(customer[by_key]) != 0))
    stays = begins | (random.random(count) >= DISORDER_SHARE)
    newest_us = time_us[np.maximum.accumulate(np.where(stays, np.arange(count), 0))]
    stays |= time_us - newest_us > plan.scored.allowed_lateness_us - 2 * DISORDER_US
    newest_us = time_us[np.maximum.accumulate(np.where(stays, np.arange(count), 0))]
    moved_us = newest_us - 1 - random.integers(0, DISORDER_US, count)
    batch.time_us[by_key] = np.where(stays, time_us, moved_us)
    return batch, float(1 - stays.mean())


def batch_of(stream: int, time_us: NDArray[np.int64], columns: dict[str, Any]) -> Batch:
    """Return columns as a batch of one partition's records."""
    count = len(time_us)
    return Batch(
        stream=stream,
        partition=np.zeros(count, np.int32),
        offset=np.arange(count, dtype=np.int64),
        record_time_us=np.full(count, NULL, np.int64),
        time_us=time_us,
        available_us=time_us,
        reason=np.zeros(count, np.uint8),
        columns=columns,
    )


def least(plan: Plan, batch: Batch, sample: int) -> tuple[float, NDArray[np.float64]]:
    """Return the least CPU time that a batch took, and the first ``sample`` vectors.

    Before that a few records compile what is not compiled yet, or load it.
    """
    for piece in turns(batch.take(np.arange(min(len(batch), BATCH_MAX)))):
        Engine(plan, 1).process(piece)
    took = [_once(plan, batch, sample) for _ in range(REPEATS)]
    return min(seconds for seconds, _ in took), took[-1][1]


def turns(batch: Batch) -> Iterator[Turn]:
    """Yield a batch piece by piece, as the order hands records on."""
    for first in range(0, len(batch), BATCH_MAX):
        index = np.arange(first, min(first + BATCH_MAX, len(batch)))
        yield Turn.of(batch.take(index), first)


def _once(plan: Plan, batch: Batch, sample: int) -> tuple[float, NDArray[np.float64]]:
    engine = Engine(plan, 1)
    kept: list[NDArray[np.float64]] = [np.zeros((len(plan.names), 0))]
    took_s, aggregated = 0.0, 0
    for turn in turns(batch):
        began_s = time.thread_time()
        found = engine.process(turn)
        took_s += time.thread_time() - began_s
        aggregated += int((found.fate == FATE_APPLIED).sum())
        if turn.seq < sample:
            kept.append(found.vectors[:, : sample - turn.seq])
    same("kernel: events aggregated", aggregated, len(batch))
    return took_s, np.concatenate(kept, axis=1)


def _deques(batch: Batch, sample: int) -> tuple[float, NDArray[np.float64]]:
    times = batch.time_us[:sample].tolist()
    customers = batch.columns["customer_id"][:sample].tolist()  # type: ignore[index]  # integers
    amounts = batch.columns["amount_cents"][:sample].tolist()  # type: ignore[index]  # integers
    windows: dict[int, Windows] = {}
    rows: list[list[float]] = []
    began_s = time.thread_time()
    for now, customer, cents in zip(times, customers, amounts, strict=True):
        one = windows.get(customer)
        if one is None:
            one = windows[customer] = Windows(WIDTHS_US)
        rows.append(one.add(now, cents))
    took_s = time.thread_time() - began_s
    return took_s, np.ascontiguousarray(np.array(rows, np.float64).T)


def _sorted_lists(batch: Batch, sample: int) -> NDArray[np.float64]:
    """Compute the same from sorted lists, which may be read and added to anywhere."""
    customers: Any = batch.columns["customer_id"]
    amounts: Any = batch.columns["amount_cents"]
    keys: dict[int, Unordered] = {}
    rows = [
        keys.setdefault(customer, Unordered(WIDTHS_US)).add(now, cents)
        for now, customer, cents in zip(
            batch.time_us[:sample].tolist(),
            customers[:sample].tolist(),
            amounts[:sample].tolist(),
            strict=True,
        )
    ]
    return np.ascontiguousarray(np.array(rows, np.float64).T)


def _duckdb(batch: Batch, sample: int) -> tuple[float, NDArray[np.float64]] | None:
    """Compute the same as one query over all rows; None where DuckDB is not installed."""
    events = {
        "t": batch.time_us[:sample],
        "k": batch.columns["customer_id"][:sample],  # type: ignore[index]  # integers
        "a": batch.columns["amount_cents"][:sample],  # type: ignore[index]  # integers
    }
    windows = [sql.window(f"w{i}", "k", width) for i, width in enumerate(WIDTHS_US)]
    statistics = ("count(*)", "sum(a)", "avg(a)", "max(a)")
    wanted = [f"{one} OVER w{i}" for one in statistics for i in range(len(WIDTHS_US))]
    found = sql.query(events, wanted, windows)
    if found is None:
        return None
    took_s, columns = found
    # An integer sum over an integer count is one rounding, as ours is; avg() rounds twice.
    count, total = columns[: len(WIDTHS_US)], columns[len(WIDTHS_US) : 2 * len(WIDTHS_US)]
    columns[2 * len(WIDTHS_US) : 3 * len(WIDTHS_US)] = [
        s / n for s, n in zip(total, count, strict=True)
    ]
    return took_s, np.stack(columns)
