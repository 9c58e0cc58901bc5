"""``noskew.dataflows.testing``: dictionaries in, named features out."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from definitions import pipeline_of
from hypothesis import HealthCheck, given, settings
from meaning import bits
from naive import Naive
from strategies import cases
from written import written

from noskew.dataflows import Pipeline, Stream, testing
from noskew.dataflows.card_fraud import labels, payments
from noskew.dataflows.errors import UsageError
from noskew.dataflows.testing import members, shuffled, vectors

if TYPE_CHECKING:
    from strategies import Case

    from noskew.dataflows.definition.feature import Operand

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
NOON_US = 1_714_564_800_000_000
card = payments.by("customer_id")
frauds = labels.by("terminal_id")
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def pipeline(*features: Operand) -> Pipeline:
    return Pipeline(name="card_fraud", score=payments, features=list(features))


def payment(after: timedelta = timedelta(), **fields: Any) -> dict[str, Any]:
    return {"event_time": NOON + after, "customer_id": 1, "amount_cents": 500, **fields}


def label(of: int, after: timedelta = timedelta(), **fields: Any) -> tuple[str, dict[str, Any]]:
    """Return the label of a payment made at noon: fraud, at terminal 7."""
    event = {
        "transaction_id": of,
        "event_time": NOON + after,
        "customer_id": 1,
        "terminal_id": 7,
        "is_fraud": True,
        **fields,
    }
    return "labels", event


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
        ({"event_time": "2024-05-01"}, "'2024-05-01', and the schema says a datetime, or int mic"),
        ({"event_time": 1.5}, "'event_time' is 1.5, and the schema says a datetime, or int micros"),
        (
            {"event_time": None},
            r"would be a dead letter \(null_value\): field 'event_time' is null",
        ),
        ({"amount_cents": NOON}, r"'amount_cents' is datetime.*, and the schema says long$"),
        ({"terminal_id": "7"}, "'terminal_id' is '7', and the schema says long or null"),
        ({7: 5}, "event 1 has a field 7, which the schema of stream 'payments' does not know"),
    ],
)
def test_event_that_does_not_fit_is_refused_with_the_reason(
    fields: dict[Any, Any], message: str
) -> None:
    what = pipeline(
        card.sum("amount_cents", over="1h"),
        payments.column("entry_mode"),
        payments.by("terminal_id").count(over="1h"),
    )

    with pytest.raises(UsageError, match=message):
        vectors(what, [payment(), {**payment(), **fields}])


def test_missing_field_is_named() -> None:
    what = pipeline(card.sum("amount_cents", over="1h"))

    with pytest.raises(UsageError, match="event 0 has no field 'amount_cents'"):
        vectors(what, [{"event_time": NOON, "customer_id": 1}])


def test_events_of_several_streams_come_in_processing_order() -> None:
    what = pipeline(frauds.sum("is_fraud", over="1d"), card.count(over="1d"))
    name = "labels_terminal_id_is_fraud_sum_1d"

    found = vectors(
        what,
        [
            payment(transaction_id=1, terminal_id=7),
            (labels, label(1)[1]),
            ("payments", payment(HOUR, terminal_id=7)),
            label(1, is_fraud=False),
            payment(2 * HOUR, terminal_id=7),
            label(2, 3 * HOUR),
            payment(2 * HOUR, terminal_id=7),
        ],
    )

    assert [one[name] for one in found] == [0.0, 1.0, 0.0, 0.0]
    assert [one["customer_id_count_1d"] for one in found] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (("label", {}), "event 1 is of stream 'label', .* did you mean 'labels'"),
        ((1, {}), "event 1 is of stream 1, which pipeline 'card_fraud' does not read"),
        (("labels",), r"event 1 is \('labels',\): give a dictionary of the scored stream"),
        ("labels", "event 1 is 'labels': give a dictionary"),
        (label(1, fraud=True), "schema of stream 'labels' does not know; did you mean 'is_fraud'"),
        (label(1, is_fraud=1), "event 1: field 'is_fraud' is 1, and the schema says boolean"),
        (("labels", {"event_time": NOON}), "event 1 has no field 'transaction_id'"),
    ],
)
def test_an_event_of_no_stream_is_refused(event: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        vectors(pipeline(frauds.sum("is_fraud", over="1d")), [payment(), event])


@pytest.mark.parametrize("events", [None, 5, {"event_time": NOON}])
def test_what_is_no_list_of_events_is_refused(events: Any) -> None:
    with pytest.raises(UsageError, match=r"events are .*: give a list of them, in pro"):
        vectors(pipeline(payments.hour()), events)


@pytest.mark.parametrize("call", [vectors, members, shuffled])
def test_what_is_no_pipeline_is_refused(call: Any) -> None:
    with pytest.raises(UsageError, match="'card_fraud' is no pipeline: give the Pipeline of your"):
        call("card_fraud", [payment()])


def test_under_peers_there_is_no_order_to_depend_on() -> None:
    what = Pipeline(name="p", score=payments, features=[card.count(over="1h")], semantics="flink")

    assert vectors(what, [payment(HOUR), payment(), payment()])[0] == {"customer_id_count_1h": 3.0}
    with pytest.raises(UsageError, match="there is no order of arrival that features could"):
        shuffled(what, [payment(), payment(HOUR)])


def test_duplicates_have_no_features() -> None:
    stream = Stream(
        "payments",
        topic="transactions",
        schema="transaction.avsc",
        id="transaction_id",
        key="customer_id",
        time="event_time",
        dedupe="1h",
    )
    what = Pipeline(name="p", score=stream, features=[stream.by("customer_id").count(over="1d")])
    events = [payment(i * timedelta(minutes=40), transaction_id=5) for i in range(3)]

    found = [one["customer_id_count_1d"] for one in vectors(what, events)]

    assert found[0] == 1.0
    assert math.isnan(found[1])
    assert found[2] == 2.0
    assert members(what, events)["customer_id_count_1d"] == [events[0], events[2]]
    with pytest.raises(UsageError, match="event 1 is a duplicate"):
        members(what, events, at=1)


def test_members_are_the_events_given_by_time_and_order() -> None:
    what = pipeline(
        *(card.count(over="1h"), card.count(over="1h", delay="1h"), payments.hour()),
        card.sum("amount_cents", over="1h", include_self=False).named("spent_before"),
        *(card.since_last(), payments.by("terminal_id").max("amount_cents", over="1d")),
    )
    early, edge, inside, late = (
        payment(minutes * timedelta(minutes=1), terminal_id=4) for minutes in (0, 10, 30, 20)
    )
    last = payment(timedelta(minutes=70))

    found = members(what, [early, edge, inside, late, payment(customer_id=2), last])

    assert found == {
        "customer_id_count_1h": [late, inside, last],
        "customer_id_count_1h_delay_1h": [early, edge],
        "spent_before": [late, inside],
        "customer_id_since_last": [inside],
        "terminal_id_amount_cents_max_1d": [],
    }
    assert found["customer_id_count_1h"][0] is late


def test_what_is_late_filtered_or_revised_is_no_member() -> None:
    large = payments.column("amount_cents") > 600
    what = pipeline(card.count(over="7d", where=large).named("large"), frauds.count(over="30d"))
    second, again = label(2, HOUR), label(1, 2 * HOUR, is_fraud=False)
    events: list[Any] = [
        payment(DAY, amount_cents=601),
        payment(amount_cents=700),  # a day late
        *(label(1), second, again),
        payment(2 * DAY, terminal_id=7),
    ]

    found = members(what, events)

    assert found == {"large": events[:1], "labels_terminal_id_count_30d": [second[1], again[1]]}


def test_members_are_of_the_event_asked_for() -> None:
    what = pipeline(card.count(over="1d"))
    events = [payment(i * HOUR) for i in range(4)]

    assert members(what, events, at=0) == {"customer_id_count_1d": events[:1]}
    assert members(what, events, at=-2) == {"customer_id_count_1d": events[:3]}
    for at in (4, -5):
        with pytest.raises(UsageError, match=f"at={at}: there are 4 scored events"):
            members(what, events, at=at)


def test_a_value_that_is_not_its_members_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    what = pipeline(card.count(over="1d"))
    right = testing._computed  # a mistake has to be made somewhere

    def wrong(*given_: Any) -> Any:
        values, flags = right(*given_)
        return values + 1.0, flags

    monkeypatch.setattr(testing, "_computed", wrong)
    with pytest.raises(AssertionError, match=r"'customer_id_count_1d' of event 1 is 3.0, .* 2.0"):
        members(what, [payment(), payment(HOUR)])


def test_a_dependence_on_order_is_told_with_both_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    what = pipeline(card.count(over="1d"))
    right = testing._computed  # a mistake has to be made somewhere

    def wrong(plan: Any, found: Any) -> Any:
        values, flags = right(plan, found)
        return values + found[0].number, flags

    monkeypatch.setattr(testing, "_computed", wrong)
    events = [payment(i * timedelta(minutes=1)) for i in range(4)]
    with pytest.raises(AssertionError) as error:
        shuffled(what, events, times=50)
    assert "feature 'customer_id_count_1d' of event 3 depends on the order" in str(error.value)
    assert "[0, 1, 2, 3]" in str(error.value)


def test_streams_arrive_in_any_order_within_their_lateness() -> None:
    what = pipeline(
        frauds.sum("is_fraud", over=["1d", "30d"], delay="1h"),
        frauds.count(over=None).named("ever"),
        card.sum("amount_cents", over="1d"),
        card.last("amount_cents", over="1d"),
    )
    events: list[Any] = []
    for day in range(6):
        events += [payment(day * DAY, transaction_id=day, terminal_id=7), label(day, day * DAY)]
        events.append(label(day, day * DAY, is_fraud=day % 2 == 0))

    shuffled(what, [*events, payment(6 * DAY, terminal_id=7)], times=40)


def test_an_order_that_shows_nothing_is_refused() -> None:
    what = pipeline(card.count(over="1d"))

    for events in ([payment()], [payment(), payment(DAY), payment(2 * DAY)]):
        with pytest.raises(UsageError, match="none of 20 orders drawn was another one"):
            shuffled(what, events)
    with pytest.raises(UsageError, match="there is no scored event"):
        shuffled(what, [])


@given(case=cases(size=30))
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_vectors_equal_naive(case: Case, tmp_path_factory: pytest.TempPathFactory) -> None:
    what = pipeline_of(case.meaning, case.strings, tmp_path_factory.getbasetemp())
    alive = [event for event in case.events if not event.reason]

    found = vectors(what, written(case))

    naive = Naive(case.meaning, [1] * len(case.meaning.streams))
    moved = [replace(event, partition=0, offset=i) for i, event in enumerate(alive)]
    answers = [naive.process(event).vector for event in moved]
    expected = [vector for event, vector in zip(moved, answers, strict=True) if not event.stream]
    assert [[bits(value) for value in one.values()] for one in found] == [
        [bits(value) for value in one] for one in expected
    ]


@given(case=cases(size=25))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_members_make_the_values_and_orders_do_not(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    what = pipeline_of(case.meaning, case.strings, tmp_path_factory.getbasetemp())
    events = written(case)
    scored = sum(name == "stream0" for name, _ in events)

    for at in {0, scored // 2, scored - 1} if scored else ():
        with contextlib.suppress(UsageError):  # a duplicate
            members(what, events, at)
    with contextlib.suppress(UsageError):  # no other order
        shuffled(what, events, times=5)
