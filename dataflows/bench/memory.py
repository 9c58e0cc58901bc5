"""Held events in memory: ``python -m noskew.dataflows.bench.memory KEYS EVENTS``, a process alone.

Events of uniform keys fill one window of two columns; nothing leaves it. Prints JSON: the table's
own count of keys, entries and bytes. The peak of the process is measured from outside.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.dataflows.bench.figures import Figure, same
from noskew.dataflows.bench.kernel import START_US, batch_of
from noskew.dataflows.bench.meter import measured
from noskew.dataflows.bench.plain import DAY
from noskew.dataflows.core.batch import Turn
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.order import BATCH_MAX
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.stream import Pipeline, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import Plan

COMMAND: Final = (sys.executable, "-m", "noskew.dataflows.bench.memory")
KEYS: Final = 1_000_000
EVENTS: Final = 50_000_000
COLUMNS: Final = ("amount_cents", "terminal_id")
CHECKED: Final = 8
"""Keys whose sums are compared at the end."""


def measure(keys: int, events: int) -> Iterator[Figure]:
    """Measure a process that holds ``events`` of ``keys`` customers: all of it, and the table.

    Raises WrongResultError where keys or events are not all held, or a sum of them is wrong.
    """
    run = measured([*COMMAND, str(keys), str(events)])
    report = json.loads(run.out)
    same("held events", report["entries"], events)
    same("keys with held events", report["keys"], report["drawn"])
    same("sums over held events", report["found"], report["wanted"])
    what = f"{report['keys']:,} keys, {events:,} held events of two columns"
    yield Figure("memory", f"{what}, peak memory of the process", "MB", run.peak_mb, events)
    yield Figure("memory", f"{what}, the table's arrays", "MB", report["bytes"] / 2**20, events)


def fill(keys: int, events: int) -> dict[str, Any]:
    """Let an engine hold ``events`` of uniform ``keys``, two columns summed over 60 d.

    Returns keys, entries and bytes of its table; how many different keys were drawn; the sums that
    ``CHECKED`` keys end with, and what they must be.
    """
    plan = _plan()
    engine = Engine(plan, 1)
    table = engine.tables[0]
    random = np.random.default_rng(3)
    is_drawn = np.zeros(keys, np.bool_)
    wanted = np.zeros((2, CHECKED), np.int64)
    step_us = 50 * DAY // events
    for first in range(0, events, BATCH_MAX):
        count = min(BATCH_MAX, events - first)
        made = {
            "customer_id": random.integers(0, keys, count),
            "amount_cents": random.integers(0, 100_000, count),
            "terminal_id": random.integers(0, 10_000, count),
        }
        when = START_US + step_us * np.arange(first, first + count)
        engine.process(_turn(plan, first, when, made))
        # Or the list of changed keys is a part of what is measured.
        engine.forget_changes()
        is_drawn[made["customer_id"]] = True
        few = np.flatnonzero(made["customer_id"] < CHECKED)
        for place, name in enumerate(COLUMNS):
            np.add.at(wanted[place], made["customer_id"][few], made[name][few])
    found = {"keys": table.keys, "entries": table.entries, "bytes": table.memory}
    # A payment of nothing at the end of each.
    nothing = np.zeros(CHECKED, np.int64)
    last = {"customer_id": np.arange(CHECKED), **dict.fromkeys(COLUMNS, nothing)}
    turn = _turn(plan, events, np.full(CHECKED, START_US + 50 * DAY), last)
    sums = engine.process(turn).vectors
    return {
        **found,
        "drawn": int(is_drawn.sum()),
        "found": sums.tolist(),
        "wanted": wanted.astype(np.float64).tolist(),
    }


def _plan() -> Plan:
    payments = Stream(
        "payments",
        topic="transactions",
        schema="transaction.avsc",
        id="transaction_id",
        key="customer_id",
        time="event_time",
    )
    card = payments.by("customer_id")
    features = [card.sum(name, over="60d") for name in COLUMNS]
    return compile_plan(Pipeline(name="memory", score=payments, features=features))


def _turn(
    plan: Plan, seq: int, when: NDArray[np.int64], made: dict[str, NDArray[np.int64]]
) -> Turn:
    """Return payments at ``when`` as a turn that begins with number ``seq``."""
    ids = np.arange(seq, seq + len(when))
    columns = {**made, "transaction_id": ids, "event_time": when}
    return Turn.of(batch_of(0, when, {name: columns[name] for name in plan.scored.fields}), seq)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(fill(int(sys.argv[1]), int(sys.argv[2]))))
