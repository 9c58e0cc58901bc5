"""What ``members`` and ``shuffled`` take an event for is what the engine makes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from definitions import pipeline_of
from hypothesis import HealthCheck, given, settings
from strategies import cases
from written import written

from noskew.dataflows import Pipeline, Stream
from noskew.dataflows.card_fraud import payments
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.events import happenings, turn
from noskew.dataflows.core.members import Reading
from noskew.dataflows.definition.compile import compile_plan
from noskew.kernels.layout import FATE_APPLIED, FATE_LATE

if TYPE_CHECKING:
    import pytest
    from strategies import Case

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


@given(case=cases(size=25))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_becomes_of_an_event_is_what_the_engine_says(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan = compile_plan(pipeline_of(case.meaning, case.strings, tmp_path_factory.getbasetemp()))
    found = happenings(plan, written(case))
    features = Engine(plan, (1,) * len(plan.streams)).process(turn(plan, found))
    for place, fates in enumerate(features.fates):
        steps = [step for step in Reading(plan, found).steps if step.event.place == place]
        assert [step.fate for step in steps] == fates.tolist()


def test_a_correction_of_what_is_forgotten_is_new_and_makes_others_late() -> None:
    hasty = Stream(
        "labels",
        topic="fraud_labels",
        schema="label.avsc",
        id="transaction_id",
        key="customer_id",
        time="event_time",
        available="labelled_at",
        allowed_lateness="1s",
        max_skew="1s",
        revise=True,
    )
    recent = hasty.by("customer_id").decayed_count(half_life="7d")
    plan = compile_plan(Pipeline(name="hasty", score=payments, features=[recent]))
    events: list[dict[str, Any] | tuple[str, dict[str, Any]]] = [
        payment(-DAY),
        label(0, -DAY),
        payment(timedelta()),
        label(1, -DAY + SECOND + timedelta(microseconds=1)),
        label(0, -2 * HOUR),
        label(2, -DAY + SECOND),
    ]
    found = happenings(plan, events)

    fates = [step.fate for step in Reading(plan, found).steps if step.event.place == 1]

    assert fates == [FATE_APPLIED, FATE_APPLIED, FATE_APPLIED, FATE_LATE]
    assert Engine(plan, (1, 1)).process(turn(plan, found)).fates[1].tolist() == fates


def payment(after: timedelta) -> dict[str, Any]:
    return {"event_time": NOON + after, "customer_id": 1, "amount_cents": 500}


def label(of: int, after: timedelta) -> tuple[str, dict[str, Any]]:
    event = {"transaction_id": of, "event_time": NOON + after, "customer_id": 1, "terminal_id": 7}
    return "labels", event | {"is_fraud": True}
