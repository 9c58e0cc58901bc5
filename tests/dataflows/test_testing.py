"""``noskew.dataflows.testing``: dictionaries in, named features out."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from definitions import pipeline_of
from hypothesis import HealthCheck, given, settings
from naive import answers, bits
from strategies import cases

from noskew.dataflows import Pipeline, Stream
from noskew.dataflows.errors import UsageError
from noskew.dataflows.testing import vectors

if TYPE_CHECKING:
    from strategies import Case

    from noskew.dataflows.definition.expression import Operand

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
NOON_US = 1_714_564_800_000_000
payments = Stream(
    "payments",
    topic="transactions",
    schema="transaction.avsc",
    id="transaction_id",
    key="customer_id",
    time="event_time",
)
card = payments.by("customer_id")


def pipeline(*features: Operand) -> Pipeline:
    return Pipeline(name="card_fraud", score=payments, features=list(features))


def payment(after: timedelta = timedelta(), **fields: Any) -> dict[str, Any]:
    return {"event_time": NOON + after, "customer_id": 1, "amount_cents": 500, **fields}


def test_features_come_by_name_as_of_each_event() -> None:
    spent = pipeline(card.sum("amount_cents", over="1h"), card.since_last(), payments.hour())

    found = vectors(spent, [payment(), payment(timedelta(minutes=59), amount_cents=20)])

    assert found[1] == {
        "customer_id_amount_cents_sum_1h": 520.0,
        "customer_id_since_last": 3540.0,
        "hour": 12.0,
    }
    assert math.isnan(found[0]["customer_id_since_last"])


@pytest.mark.parametrize(
    "time",
    [
        NOON,
        NOON.replace(tzinfo=None),
        NOON.astimezone(timezone(timedelta(hours=5, minutes=45))),
        NOON_US,
    ],
    ids=str,
)
def test_times_are_datetimes_or_microseconds(time: datetime | int) -> None:
    found = vectors(
        pipeline(payments.hour(), card.since_last()),
        [payment(timedelta(seconds=-2)), payment(event_time=time)],
    )

    assert found[1] == {"hour": 12.0, "customer_id_since_last": 2.0}


def test_booleans_enums_nulls_and_defaults_are_as_in_the_schema() -> None:
    what = pipeline(
        payments.column("card_present"),
        payments.column("entry_mode"),
        payments.by("terminal_id").count(over="1d"),
    )

    plain, full = vectors(
        what, [payment(), payment(card_present=False, entry_mode="CHIP", terminal_id=9)]
    )

    assert plain == {"card_present": 1.0, "entry_mode": 0.0, "terminal_id_count_1d": 0.0}
    assert full == {"card_present": 0.0, "entry_mode": 1.0, "terminal_id_count_1d": 1.0}


def test_no_events_give_no_vectors() -> None:
    assert vectors(pipeline(payments.hour()), []) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"amount": 5}, "event 1 has a field 'amount', .* did you mean 'amount_cents'"),
        ({"amount_cents": "5"}, "event 1: field 'amount_cents' is '5', and the schema says long"),
        ({"amount_cents": True}, "field 'amount_cents' is True, and the schema says long"),
        ({"amount_cents": 5.0}, "field 'amount_cents' is 5.0, and the schema says long"),
        ({"amount_cents": 2**63}, "field 'amount_cents' is 9223372036854775808, and"),
        ({"entry_mode": "SWIPE"}, "field 'entry_mode' is 'SWIPE', .* one of UNKNOWN, CHIP"),
        ({"amount_cents": 2**40 + 1}, r"event 1 would be a dead letter \(range\): .*max_abs"),
        ({"amount_cents": None}, r"event 1 would be a dead letter \(null_value\)"),
        ({"event_time": 1_714_564_800_000}, r"would be a dead letter \(time_too_old\)"),
    ],
)
def test_event_that_does_not_fit_is_refused_with_the_reason(
    fields: dict[str, Any], message: str
) -> None:
    what = pipeline(card.sum("amount_cents", over="1h"), payments.column("entry_mode"))

    with pytest.raises(UsageError, match=message):
        vectors(what, [payment(), payment(**fields)])


def test_missing_field_is_named() -> None:
    what = pipeline(card.sum("amount_cents", over="1h"))

    with pytest.raises(UsageError, match="event 0 has no field 'amount_cents'"):
        vectors(what, [{"event_time": NOON, "customer_id": 1}])


@given(case=cases(size=30))
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_vectors_equal_naive(case: Case, tmp_path_factory: pytest.TempPathFactory) -> None:
    what = pipeline_of(case.meaning, case.strings, tmp_path_factory.getbasetemp())
    alive = [event for event in case.events if not event.reason]
    written = [
        {**event.values, "is_online": bool(event.values["is_online"]), "event_time": event.time_us}
        for event in alive
    ]

    found = vectors(what, written)

    moved = [replace(event, partition=0, offset=i) for i, event in enumerate(alive)]
    expected = [answer.vector for answer in answers(case.meaning, 1, moved)]
    assert [[bits(value) for value in one.values()] for one in found] == [
        [bits(value) for value in one] for one in expected
    ]
