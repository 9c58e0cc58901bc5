"""Kernels alone: four windows of one entity, beside lists and deques in plain Python."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.dataflows.bench.figures import Figure, same_bits
from noskew.dataflows.bench.plain import DAY, HOUR, MONTH, WEEK, Windows
from noskew.dataflows.core.batch import Batch
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.order import BATCH_MAX
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.stream import Pipeline, Stream
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

REPEATS: Final = 3
"""Each time is the least of so many; the plain windows, which take long, are run once."""


def measure(events: int, sample: int, keys: int) -> Figure:
    """Measure ``events`` of ``keys`` customers, and the plain way on the first ``sample`` of them.

    CPU time of this thread. Raises WrongResultError where a value differs.
    """
    plan = four_windows()
    batch = _events(plan, events, keys)
    sample = min(sample, events)
    for one in _pieces(batch, min(BATCH_MAX, events)):  # compile, or load what was compiled
        Engine(plan, 1).process(one)
        break
    theirs_s, expected = _theirs(batch, sample)
    ours_s = np.inf
    for _ in range(REPEATS):
        took_s, vectors = _ours(plan, batch, sample)
        ours_s = min(ours_s, took_s)
        same_bits(f"kernel, {keys:,} keys", vectors, expected, plan.names)
    return Figure(
        "kernel",
        f"4 windows × count, sum, mean, max of one entity, {keys:,} keys, kernel alone",
        "events/s/core",
        events / ours_s,
        events,
        sample / theirs_s,
        sample,
        "Python lists and deques",
    )


@cache
def four_windows() -> Plan:
    """Return the plan: count, sum, mean and max of four windows, in this order."""
    payments = Stream(
        "payments",
        topic="transactions",
        schema="transaction.avsc",
        id="transaction_id",
        key="customer_id",
        time="event_time",
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


def _events(plan: Plan, count: int, keys: int) -> Batch:
    """Return events in order of time, of uniform customers; a function of its arguments."""
    random = np.random.default_rng(0)
    time_us = START_US + np.sort(random.integers(0, SPAN_US, count))
    made = {
        "transaction_id": np.arange(count, dtype=np.int64),
        "event_time": time_us,
        "customer_id": random.integers(0, keys, count),
        "amount_cents": random.integers(0, 100_000, count),
    }
    return Batch(
        stream=0,
        partition=np.zeros(count, np.int32),
        offset=np.arange(count, dtype=np.int64),
        record_time_us=np.full(count, NULL, np.int64),
        time_us=time_us,
        available_us=time_us,
        reason=np.zeros(count, np.uint8),
        columns={name: made[name] for name in plan.scored.fields},
    )


def _pieces(batch: Batch, size: int) -> Iterator[Batch]:
    for first in range(0, len(batch), size):
        yield batch.take(np.arange(first, min(first + size, len(batch))), seq=first)


def _ours(plan: Plan, batch: Batch, sample: int) -> tuple[float, NDArray[np.float64]]:
    engine = Engine(plan, 1)
    kept: list[NDArray[np.float64]] = []
    took_s = 0.0
    for piece in _pieces(batch, BATCH_MAX):
        began_s = time.thread_time()
        vectors = engine.process(piece).vectors
        took_s += time.thread_time() - began_s
        if piece.seq < sample:
            kept.append(vectors[:, : sample - piece.seq])
    return took_s, np.concatenate(kept, axis=1)


def _theirs(batch: Batch, sample: int) -> tuple[float, NDArray[np.float64]]:
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
