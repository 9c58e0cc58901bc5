"""Events of one time that see each other, by event time: as read slowly, and however cut."""

from __future__ import annotations

import os
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from definitions import pipeline_of
from hypothesis import HealthCheck, assume, given, settings
from meaning import Meaning
from strategies import cases
from written import written

from noskew.dataflows import Pipeline, Stream
from noskew.dataflows.card_fraud import labels, payments
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.events import happenings, turn
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.plan import Stat
from noskew.dataflows.errors import UsageError
from noskew.dataflows.testing import members, vectors

if TYPE_CHECKING:
    from pathlib import Path

    from strategies import Case

thorough = settings(
    max_examples=int(os.environ.get("NOSKEW_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
NOON_US = 1_714_564_800_000_000
SECOND = 10**6


def payment(second: int, **fields: Any) -> dict[str, Any]:
    time_us = NOON_US + second * SECOND
    return {"event_time": time_us, "customer_id": 1, "amount_cents": 5, **fields}


def label(of: int, second: int, **fields: Any) -> tuple[str, dict[str, Any]]:
    what = {"transaction_id": of, "terminal_id": 7, "is_fraud": True}
    time_us = NOON_US + second * SECOND
    return "labels", {"event_time": time_us, "customer_id": 1, **what, **fields}


def pipeline(*features: Any) -> Pipeline:
    return Pipeline(name="peers", score=payments, features=list(features), semantics="flink")


def peers_of(case: Case, folder: Path) -> Pipeline:
    """Return the definition of a case, less what peers have no meaning for, under Flink's ends."""
    features = {
        name: one
        for name, one in case.meaning.features.items()
        if all(
            stat.stat is not Stat.SINCE_LAST and stat.include_self
            for stat in Meaning({name: one}, case.meaning.streams).stats()
        )
    }
    assume(features)
    return pipeline_of(Meaning(features, case.meaning.streams), case.strings, folder, "flink")


@given(case=cases(size=25))
@thorough
def test_members_make_the_values(case: Case, tmp_path_factory: pytest.TempPathFactory) -> None:
    what = peers_of(case, tmp_path_factory.getbasetemp())
    events = [(name, event) for name, event in written(case) if name in what_reads(what)]
    duplicates = 0

    for at in range(sum(name == "stream0" for name, _ in events)):
        try:
            members(what, events, at)
        except UsageError:
            duplicates += 1
    assert duplicates == 0 or case.meaning.scored.dedupe_us


@given(case=cases(size=40))
@thorough
def test_how_times_are_cut_into_turns_changes_nothing(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    what = peers_of(case, tmp_path_factory.getbasetemp())
    plan = compile_plan(what)
    events = [(name, event) for name, event in written(case) if name in what_reads(what)]
    found = sorted(happenings(plan, events), key=lambda event: event.time_us)
    partitions = (1,) * len(plan.streams)
    whole = Engine(plan, partitions).process(turn(plan, found))

    engine, done = Engine(plan, partitions), 0
    parts = []
    for _, group in groupby(found, key=lambda event: event.time_us):
        part = turn(plan, list(group))
        part.seq += done
        for batch in part.batches:
            batch.seq += done
        done = part.end
        parts.append(engine.process(part))
        engine.sweep()
        engine.rows()

    assume(parts)
    assert np.hstack([part.vectors for part in parts]).tobytes() == whole.vectors.tobytes()
    assert np.hstack([part.flags for part in parts]).tolist() == whole.flags.tolist()


def what_reads(what: Pipeline) -> list[str]:
    return [stream.name for stream in what.streams]


@pytest.mark.parametrize("first", [0, 1])
def test_events_of_one_time_see_each_other_in_any_order_of_arrival(first: int) -> None:
    card = payments.by("customer_id")
    what = pipeline(card.count(over="1h"), card.sum("amount_cents", over="1h"))
    tied = [payment(10, amount_cents=1), payment(10, amount_cents=2)]

    found = vectors(what, [payment(20), tied[first], tied[1 - first], payment(-3590)])

    assert [one["customer_id_count_1h"] for one in found] == [3.0, 3.0, 3.0, 1.0]
    assert [one["customer_id_amount_cents_sum_1h"] for one in found] == [8.0, 8.0, 8.0, 5.0]


def test_a_label_that_a_revision_moves_is_where_it_was_until_then() -> None:
    at = labels.by("customer_id")
    what = pipeline(at.count(over="1d"), at.count(over=None).named("ever"))
    events: list[Any] = [
        payment(0),
        label(1, 1),
        payment(5),
        label(1, 10),
        payment(10),
        payment(20),
    ]

    found = vectors(what, events)

    assert [one["labels_customer_id_count_1d"] for one in found] == [0.0, 1.0, 1.0, 1.0]
    assert [one["ever"] for one in found] == [0.0, 1.0, 1.0, 1.0]
    assert members(what, events, at=1)["ever"] == [events[1][1]]
    assert members(what, events, at=2)["ever"] == [events[3][1]]


def test_nothing_is_dropped_that_an_earlier_event_of_the_turn_still_sees() -> None:
    prompt = Stream(
        "payments",
        topic="transactions",
        schema="transaction.avsc",
        id="transaction_id",
        key="customer_id",
        time="event_time",
        allowed_lateness="0s",
    )
    counted = prompt.by("customer_id").count(over="1h")
    what = Pipeline(name="peers", score=prompt, features=[counted], semantics="flink")

    found = vectors(what, [payment(60 * minute) for minute in range(1000)])

    assert [one["customer_id_count_1h"] for one in found] == [
        float(min(minute + 1, 61)) for minute in range(1000)
    ]
