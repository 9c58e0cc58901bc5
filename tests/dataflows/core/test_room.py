"""What must not run out of room: counts of values while rows are read, ids beside an idle input."""

from __future__ import annotations

from typing import Any

import numpy as np

from noskew.dataflows import Pipeline
from noskew.dataflows.card_fraud import payments, pipeline
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.events import happenings, turn
from noskew.dataflows.definition.compile import compile_plan

START = 1_714_564_800_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND
KEYS = 200
VALUES = 10


def test_rows_count_values_anew_of_any_number_of_keys() -> None:
    """Each key's edges stand far back: reading its row counts all its values again."""
    terminals = payments.by("customer_id").distinct("terminal_id", over="1d")
    plan = compile_plan(Pipeline(name="terminals", score=payments, features=[terminals]))
    events: list[dict[str, Any]] = []
    for key in range(KEYS):
        times = [START + (100 + value) * SECOND for value in range(VALUES)]
        terminals_of = [VALUES * key + value for value in range(VALUES)]
        for time_us, terminal in zip([*times, START], [*terminals_of, None], strict=True):
            events.append(
                {
                    "transaction_id": len(events),
                    "event_time": time_us,
                    "customer_id": key,
                    "terminal_id": terminal,
                    "amount_cents": 1,
                }
            )
    engine = Engine(plan, 1)
    engine.process(turn(plan, happenings(plan, events)))
    (rows,) = engine.rows()
    np.testing.assert_array_equal(rows.words.view(np.float64), np.full((KEYS, 1), float(VALUES)))


def test_an_idle_input_keeps_no_ids_of_the_others() -> None:
    """An id is forgotten by its own input's clock; the second input of labels never has one."""
    plan = compile_plan(pipeline)
    engine = Engine(plan, (1, 2))
    held = []
    for first in range(0, 4800, 400):
        events: list[dict[str, Any] | tuple[str, dict[str, Any]]] = []
        for number in range(first, first + 400):
            time_us = START + number * DAY
            payment = {
                "transaction_id": number,
                "event_time": time_us,
                "customer_id": number % 5,
                "terminal_id": 1,
                "amount_cents": 1,
            }
            label = {key: payment[key] for key in payment if key != "amount_cents"}
            events += [payment, ("labels", label | {"labelled_at": time_us, "is_fraud": False})]
        engine.process(turn(plan, happenings(plan, events)))
        engine.sweep()
        held.append(engine.clocks.memory)
    assert held[-1] == held[2]
