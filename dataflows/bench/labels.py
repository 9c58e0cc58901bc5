"""Labels: records that take their place weeks back, in keys that hold very many."""

from __future__ import annotations

import time
from bisect import insort
from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.dataflows.bench.figures import Figure, same
from noskew.dataflows.bench.kernel import CORE, START_US, batch_of
from noskew.dataflows.bench.plain import DAY, MONTH
from noskew.dataflows.core.batch import Turn
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.order import BATCH_MAX
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.stream import Pipeline, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch
    from noskew.dataflows.definition.plan import Plan

HELD: Final = 100_000
"""Entries each terminal holds before the insertions that are measured."""
TERMINALS: Final = 8
OVER: Final = "60d"
"""Longer than the month over which labels lie, so that all of them are seen."""


def measure(insertions: int, held: int = HELD) -> Iterator[Figure]:
    """Measure insertions at any old time into terminals that hold ``held`` labels each.

    Beside it: ``bisect.insort`` into one Python list a terminal, without any window over it.
    Raises WrongResultError where a terminal's count or sum is not what was put in.
    """
    plan = _plan()
    random = np.random.default_rng(2)
    first = TERMINALS * held
    when = START_US + random.integers(0, MONTH - DAY, first + insertions)
    when[:first].sort()
    terminal = random.integers(0, TERMINALS, len(when))
    fraud = random.integers(0, 2, len(when))
    engine = Engine(plan, (1, 1))
    _insert(engine, plan, when[:first], terminal[:first], fraud[:first], 0)
    ours_s = _insert(engine, plan, when[first:], terminal[first:], fraud[first:], first)
    _check(engine, plan, terminal, fraud)
    theirs_s = _insort(when, terminal, fraud, first)
    yield Figure(
        "kernel",
        f"labels inserted at any time of a month into keys of {held:,} entries",
        CORE,
        insertions / ours_s,
        insertions,
        insertions / theirs_s,
        insertions,
        "bisect.insort into lists",
    )


def _plan() -> Plan:
    payments = Stream(
        "payments",
        topic="transactions",
        schema="transaction.avsc",
        id="transaction_id",
        key="customer_id",
        time="event_time",
    )
    labels = Stream(
        "labels",
        topic="fraud_labels",
        schema="label.avsc",
        id="transaction_id",
        key="customer_id",
        time="event_time",
        available="labelled_at",
        allowed_lateness="60d",
    )
    terminal = labels.by("terminal_id")
    features = [terminal.count(over=OVER), terminal.sum("is_fraud", over=OVER)]
    return compile_plan(Pipeline(name="labels", score=payments, features=features))


def _insert(
    engine: Engine,
    plan: Plan,
    when: NDArray[np.int64],
    terminal: NDArray[np.int64],
    fraud: NDArray[np.int64],
    seq: int,
) -> float:
    """Insert labels in the order given; return the CPU seconds that took."""
    took_s = 0.0
    for begin in range(0, len(when), BATCH_MAX):
        piece = slice(begin, begin + BATCH_MAX)
        labels = _batch(plan, 1, when[piece], terminal[piece], fraud[piece])
        turn = _turn(plan, labels, seq + begin)
        began_s = time.thread_time()
        engine.process(turn)
        took_s += time.thread_time() - began_s
    return took_s


def _check(
    engine: Engine, plan: Plan, terminal: NDArray[np.int64], fraud: NDArray[np.int64]
) -> None:
    """Ask a payment at each terminal what it sees."""
    when = np.full(TERMINALS, START_US + MONTH)
    payments = _batch(plan, 0, when, np.arange(TERMINALS), np.zeros(TERMINALS, np.int64))
    found = engine.process(_turn(plan, payments, len(terminal))).vectors
    counts = np.bincount(terminal, minlength=TERMINALS).astype(np.float64)
    frauds = np.bincount(terminal, weights=fraud, minlength=TERMINALS)
    same("labels counted", found[0].tolist(), counts.tolist())
    same("frauds counted", found[1].tolist(), frauds.tolist())


def _batch(
    plan: Plan,
    place: int,
    when: NDArray[np.int64],
    terminal: NDArray[np.int64],
    fraud: NDArray[np.int64],
) -> Batch:
    count = len(when)
    made = {
        "transaction_id": np.arange(count, dtype=np.int64),
        "customer_id": np.zeros(count, np.int64),
        "terminal_id": terminal.astype(np.int64),
        "is_fraud": fraud.astype(np.int64),
        "event_time": when,
        "labelled_at": when,
    }
    return batch_of(place, when, {name: made[name] for name in plan.streams[place].fields})


def _turn(plan: Plan, batch: Batch, seq: int) -> Turn:
    """Return one stream's records as a turn, the other stream having none."""
    none = np.zeros(0, np.int64)
    empty = _batch(plan, 1 - batch.stream, none, none, none)
    batch.seq = np.arange(seq, seq + len(batch))
    place = np.full(len(batch), batch.stream, np.int32)
    batches = (batch, empty) if batch.stream == 0 else (empty, batch)
    return Turn(seq, batches, place, place.copy(), batch.offset)


def _insort(
    when: NDArray[np.int64], terminal: NDArray[np.int64], fraud: NDArray[np.int64], first: int
) -> float:
    lists: list[list[tuple[int, int]]] = [[] for _ in range(TERMINALS)]
    rows = list(zip(when.tolist(), terminal.tolist(), fraud.tolist(), strict=True))
    for at, key, label in rows[:first]:
        lists[key].append((at, label))
    began_s = time.thread_time()
    for at, key, label in rows[first:]:
        insort(lists[key], (at, label))
    return time.thread_time() - began_s
