"""A definition as a user writes it, compiled and run, equals what ``naive`` says it means."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from definitions import meaning_of, pipeline_of
from hypothesis import HealthCheck, given, settings
from meaning import Event, bits
from naive import Naive
from strategies import DAY, HOUR, START_US, Case, cases, turn_of

from noskew.dataflows.card_fraud import pipeline as card_fraud
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.definition.compile import compile_plan

if TYPE_CHECKING:
    import pytest
    from meaning import Value

    from noskew.dataflows.definition.plan import Plan

thorough = settings(
    max_examples=int(os.environ.get("NOSKEW_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def assert_equal(plan: Plan, case: Case) -> None:
    """Assert that a plan gives each scored record what its meaning gives it."""
    naive = Naive(case.meaning, case.partitions)
    found = Engine(plan, case.partitions).process(turn_of(case, case.events, 0))

    assert plan.names == tuple(case.meaning.features)
    answers = [(event, naive.process(event)) for event in case.events]
    scored = [answer for event, answer in answers if event.stream == 0]
    for i, answer in enumerate(scored):
        values = [bits(value) for value in found.vectors[:, i].tolist()]
        assert (int(found.fate[i]), int(found.flags[i]), *values) == answer.bits


@given(case=cases(size=40))
@thorough
def test_compiled_definition_equals_naive(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pipeline = pipeline_of(case.meaning, case.strings, tmp_path_factory.getbasetemp())

    assert_equal(compile_plan(pipeline), case)


@given(case=cases(size=0))
@thorough
def test_expressions_of_a_definition_say_what_was_written(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pipeline = pipeline_of(case.meaning, case.strings, tmp_path_factory.getbasetemp())

    assert meaning_of(pipeline) == case.meaning


def test_card_fraud_with_its_labels_equals_naive() -> None:
    rng = random.Random(7)  # reproducible payments, no secrets
    payments, events = [], []
    now_us = START_US
    for number in range(250):
        now_us += rng.choice([0, 1, HOUR // 4, 6 * HOUR, 2 * DAY])
        time_us = now_us - rng.choice([0, 0, 0, 1, HOUR // 2, 2 * HOUR])
        values: dict[str, Value] = {
            "transaction_id": number,
            "customer_id": rng.randrange(4),
            "terminal_id": rng.choice([0, 1, 2, None]),
            "amount_cents": rng.choice([0, 1, 999, 2**40]),
        }
        payments.append(Event(rng.randrange(2), number, time_us, values))
        events.append(payments[-1])
        for _ in range(rng.randrange(3)):
            like = rng.choice(payments[-60:])  # a label, or what corrects one
            labelled = {**like.values, "is_fraud": rng.randrange(2)}
            events.append(Event(like.partition, number, like.time_us, labelled, stream=1))
    case = CardFraud(meaning_of(card_fraud), (2, 2), frozenset(), events, [])

    assert_equal(compile_plan(card_fraud), case)


class CardFraud(Case):
    """Payments and labels: all fields are integers, and some of one stream only."""

    @property
    def fields(self) -> dict[str, str]:
        return dict.fromkeys(
            ("transaction_id", "customer_id", "terminal_id", "amount_cents", "is_fraud"), "int"
        )
