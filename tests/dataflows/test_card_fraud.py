"""The reference definition: what it shows of payments and labels, its meaning and its names.

The first half is how a definition of your own is tested: events are dictionaries in processing
order, a label is a pair of its stream and a dictionary, and no server takes part.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from noskew.dataflows import card_fraud
from noskew.dataflows.card_fraud import labels, pipeline
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.definition.plan import Stat
from noskew.dataflows.testing import members, shuffled, vectors

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)  # a Wednesday
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)

PINNED = "38746d8ae872ffa7cee80836738efc9d82823d71eb2b9cdb8d112e686ac5fa84"
"""Change it only together with what the features mean: models trained before do not fit after."""

NAMES = (
    "amount_cents",
    "hour",
    "weekday",
    "customer_id_count_1h",
    "customer_id_count_1d",
    "customer_id_count_7d",
    "customer_id_count_30d",
    "customer_id_amount_cents_sum_1d",
    "customer_id_amount_cents_mean_1d",
    "customer_id_amount_cents_mean_7d",
    "customer_id_amount_cents_mean_30d",
    "customer_id_amount_cents_min_30d",
    "customer_id_amount_cents_max_30d",
    "amount_vs_mean_30d",
    "customer_id_since_last",
    "terminal_id_count_1d_delay_7d",
    "terminal_id_count_7d_delay_7d",
    "terminal_id_count_30d_delay_7d",
    "terminal_id_amount_cents_sum_1d",
    "terminal_id_amount_cents_mean_30d_delay_7d",
    "terminal_id_amount_cents_min_7d_delay_7d",
    "terminal_id_amount_cents_max_7d",
    "labels_terminal_id_is_fraud_sum_1d_delay_7d",
    "labels_terminal_id_is_fraud_sum_7d_delay_7d",
    "labels_terminal_id_is_fraud_sum_30d_delay_7d",
)


def payment(after: timedelta, cents: int = 9900, **fields: Any) -> dict[str, Any]:
    """Return a payment of card 1 at terminal 7, so long after noon."""
    return {
        "event_time": NOON + after,
        "customer_id": 1,
        "terminal_id": 7,
        "amount_cents": cents,
        **fields,
    }


def label(of: int, after: timedelta, *, fraud: bool) -> tuple[Any, dict[str, Any]]:
    """Return what became known of a payment at terminal 7, at the time of that payment."""
    return labels, {
        "transaction_id": of,
        "event_time": NOON + after,
        "customer_id": 1,
        "terminal_id": 7,
        "is_fraud": fraud,
    }


def burst() -> list[dict[str, Any]]:
    """Return five payments of a card at one terminal, a minute apart, after one a week before."""
    return [
        payment(-7 * DAY, 1000, terminal_id=3),
        *(payment(i * MINUTE) for i in range(5)),
    ]


# -- what the features show ----------------------------------------------------------------------


def test_a_burst_is_seen() -> None:
    last = vectors(pipeline, burst())[-1]

    assert last["customer_id_count_1h"] == 5.0
    assert last["customer_id_count_30d"] == 6.0
    assert last["customer_id_since_last"] == 60.0
    assert last["terminal_id_amount_cents_sum_1d"] == 49500.0
    assert (last["hour"], last["weekday"]) == (12.0, 2.0)


def test_an_unusual_amount_stands_out_against_the_cards_own_mean() -> None:
    quiet = [payment(-i * DAY, 1000) for i in range(9, 0, -1)]

    last = vectors(pipeline, [*quiet, payment(timedelta(), 91_000)])[-1]

    assert last["customer_id_amount_cents_mean_30d"] == 10_000.0  # itself is one of ten
    assert last["amount_vs_mean_30d"] == 9.1


def test_a_first_payment_has_no_past() -> None:
    (first,) = vectors(pipeline, [payment(timedelta())])

    assert first["customer_id_count_1h"] == 1.0
    assert math.isnan(first["customer_id_since_last"])
    assert math.isnan(first["terminal_id_amount_cents_mean_30d_delay_7d"])


def test_who_is_in_which_window() -> None:
    events = burst()

    found = members(pipeline, events)

    assert found["customer_id_count_1h"] == events[1:]
    assert found["customer_id_count_7d"] == events[1:]
    assert found["customer_id_count_30d"] == events
    assert found["customer_id_since_last"] == [events[4]]
    assert found["terminal_id_count_1d_delay_7d"] == []


def test_frauds_count_at_the_time_of_their_payments_and_once_they_are_known() -> None:
    known = "labels_terminal_id_is_fraud_sum_7d_delay_7d"
    events: list[Any] = [
        payment(timedelta(), transaction_id=1),
        payment(DAY, transaction_id=2),
        payment(8 * DAY),  # the first two are a week old, nothing is known of them
        label(2, DAY, fraud=True),
        label(1, timedelta(), fraud=True),
        payment(8 * DAY),
        label(1, timedelta(), fraud=False),  # a mistake, corrected
        payment(8 * DAY),
        payment(16 * DAY),  # both are more than two weeks old
    ]

    assert [one[known] for one in vectors(pipeline, events)] == [0, 0, 0, 2, 1, 0]
    assert members(pipeline, events, at=4)[known] == [events[6][1], events[3][1]]


def test_the_order_of_arrival_makes_no_difference_to_what_comes_after() -> None:
    shuffled(pipeline, burst())
    shuffled(
        pipeline,
        [
            *(payment(i * DAY, transaction_id=i) for i in range(6)),
            *(label(i, i * DAY, fraud=i % 2 == 0) for i in range(6)),
            label(2, 2 * DAY, fraud=False),
            payment(9 * DAY),
        ],
    )


def test_such_tests_take_a_moment() -> None:
    events = burst()
    vectors(pipeline, events)  # reads the compiled kernels
    began_s = time.process_time()

    vectors(pipeline, events)
    members(pipeline, events)
    shuffled(pipeline, events)

    assert time.process_time() - began_s < 1


# -- its meaning and its names -------------------------------------------------------------------


def test_the_reference_definition_keeps_its_meaning() -> None:
    assert compile_plan(card_fraud.pipeline).fingerprint.hex() == PINNED


def test_the_reference_definition_keeps_its_names_and_their_order() -> None:
    plan = compile_plan(card_fraud.pipeline)

    assert plan.names == NAMES
    assert [name for name, ordered in zip(NAMES, plan.ordered, strict=True) if ordered] == [
        name for name in NAMES if "terminal_id" in name
    ]


def test_loaded_as_a_file_it_is_the_same() -> None:
    assert card_fraud.__file__ is not None

    plan = compile_plan(load(Path(card_fraud.__file__)))

    assert plan.fingerprint.hex() == PINNED
    assert plan.model == "card_fraud"


@pytest.mark.parametrize("entity", ["customer_id", "terminal_id"])
def test_the_plain_statistics_occur_for_both_entities(entity: str) -> None:
    table = next(t for t in compile_plan(card_fraud.pipeline).tables if t.entity == entity)

    kinds = {op.stat for op in table.ops}

    assert {Stat.COUNT, Stat.SUM, Stat.MEAN, Stat.MIN, Stat.MAX} <= kinds
