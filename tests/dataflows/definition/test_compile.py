"""A definition becomes a plan: its nodes, tables, windows, rows and settings."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import pytest

from noskew.dataflows import Model, Pipeline
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.expression import NAMES
from noskew.dataflows.definition.plan import (
    WINDOWLESS,
    ColumnPlan,
    Comparison,
    Is,
    Op,
    Row,
    RowNode,
    Stat,
    Window,
)
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from noskew.dataflows import Stream
    from noskew.dataflows.definition.entity import Entity
    from noskew.dataflows.definition.feature import Operand
    from noskew.dataflows.definition.plan import Plan

HOUR = 3_600_000_000
DAY = 24 * HOUR


def plan_of(stream: Stream, features: Sequence[Operand], **settings: Any) -> Plan:
    return compile_plan(Pipeline(name="p", score=stream, features=features, **settings))


def test_the_vector_s_nodes_come_first_and_helpers_after(payments: Stream) -> None:
    card = payments.by("customer_id")
    amount = payments.column("amount_cents")
    mean = card.mean("amount_cents", over="1d")

    plan = plan_of(payments, [(amount / mean + 0.5).named("ratio"), payments.hour(), amount])

    assert plan.names == ("ratio", "hour", "amount_cents")
    assert plan.rows == (
        RowNode(2, Row.COLUMN, field="amount_cents"),
        RowNode(3, Row.DIVIDE, left=2, right=4),
        RowNode(5, Row.LITERAL, value=0.5),
        RowNode(0, Row.ADD, left=3, right=5),
        RowNode(1, Row.HOUR, field="event_time"),
    )
    assert [op.node for op in plan.tables[0].ops] == [4]
    assert plan.nodes == 6


def test_windows_filters_and_columns_are_shared(payments: Stream) -> None:
    card = payments.by("customer_id")
    large = payments.column("amount_cents") > 100
    features = [
        card.count(over=["1d", "7d"]),
        card.sum("amount_cents", over="7d", where=large),
        card.min("tip_cents", over="1d", delay="6d"),
        card.max("amount_cents", over="24h", where=payments.column("amount_cents") > 100),
        card.distinct("country", over="1d"),
        card.mean("ratio", over="7d", closed="right"),
    ]

    (table,) = plan_of(payments, features).tables

    assert table.windows == (Window(DAY), Window(7 * DAY), Window(DAY, 6 * DAY))
    assert table.filters == (Comparison("amount_cents", Is.GREATER, (100,)),)
    assert table.columns == (
        ColumnPlan("amount_cents"),
        ColumnPlan("tip_cents"),
        ColumnPlan("country", "text"),
        ColumnPlan("ratio", "quantum", 2),
    )
    assert [(op.stat, op.node, op.window, op.column, op.filter) for op in table.ops] == [
        (Stat.COUNT, 0, 0, -1, -1),
        (Stat.COUNT, 1, 1, -1, -1),
        (Stat.SUM, 2, 1, 0, 0),
        (Stat.MIN, 3, 2, 1, -1),
        (Stat.MAX, 4, 0, 0, 0),
        (Stat.DISTINCT, 5, 0, 2, -1),
        (Stat.MEAN, 6, 1, 3, -1),
    ]
    assert table.row == table.row_at == (0, 1, 2, 3, 4, 5, 6)
    assert table.reach_us == 7 * DAY
    assert not table.endless


NAN = math.nan


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda e: e.count(over="1h"), Op(Stat.COUNT, 0, 0, empty=0.0)),
        (lambda e: e.count("tip_cents", over="1h"), Op(Stat.COUNT_VALUES, 0, 0, 0, empty=0.0)),
        (lambda e: e.sum("tip_cents", over="1h"), Op(Stat.SUM, 0, 0, 0, empty=0.0)),
        (lambda e: e.mean("tip_cents", over="1h"), Op(Stat.MEAN, 0, 0, 0, empty=NAN)),
        (lambda e: e.min("tip_cents", over="1h"), Op(Stat.MIN, 0, 0, 0, empty=NAN)),
        (lambda e: e.max("tip_cents", over="1h"), Op(Stat.MAX, 0, 0, 0, empty=NAN)),
        (lambda e: e.var("tip_cents", over="1h"), Op(Stat.VAR, 0, 0, 0, empty=NAN)),
        (lambda e: e.std("tip_cents", over="1h", ddof=0), Op(Stat.STD, 0, 0, 0, empty=NAN, ddof=0)),
        (lambda e: e.first("tip_cents", over="1h"), Op(Stat.FIRST, 0, 0, 0, empty=NAN)),
        (lambda e: e.last("tip_cents", over="1h"), Op(Stat.LAST, 0, 0, 0, empty=NAN)),
        (lambda e: e.distinct("country", over="1h"), Op(Stat.DISTINCT, 0, 0, 0, empty=0.0)),
        (lambda e: e.rate(over="1h"), Op(Stat.RATE, 0, 0, empty=0.0)),
        (
            lambda e: e.decayed_sum("tip_cents", half_life="1h"),
            Op(Stat.DECAYED_SUM, 0, column=0, empty=0.0, half_life_us=HOUR),
        ),
        (
            lambda e: e.decayed_count(half_life="1h"),
            Op(Stat.DECAYED_COUNT, 0, empty=0.0, half_life_us=HOUR),
        ),
        (
            lambda e: e.ewma("tip_cents", half_life="1h"),
            Op(Stat.EWMA, 0, column=0, empty=NAN, half_life_us=HOUR),
        ),
        (lambda e: e.since_last(), Op(Stat.SINCE_LAST, 0, empty=NAN)),
        (
            lambda e: e.sum("tip_cents", over="1h", empty=NAN, include_self=False),
            Op(Stat.SUM, 0, 0, 0, include_self=False, empty=NAN),
        ),
        (lambda e: e.min("tip_cents", over="1h", empty=-1), Op(Stat.MIN, 0, 0, 0, empty=-1.0)),
    ],
)
def test_a_statistic_is_one_op_with_its_settings(
    payments: Stream, write: Callable[[Entity], Operand], expected: Op
) -> None:
    (table,) = plan_of(payments, [write(payments.by("customer_id"))]).tables

    # NaN equals nothing, but its text does.
    assert [repr(op) for op in table.ops] == [repr(expected)]
    windowless = expected.stat in WINDOWLESS
    assert table.windows == (() if windowless else (Window(HOUR),))
    assert table.endless == windowless


def test_every_statistic_there_is_can_be_written(payments: Stream) -> None:
    card = payments.by("customer_id")
    found = set()
    for name in dict.fromkeys(NAMES.values()):
        span = {} if name == "since_last" else {"over": "1h"}
        span = {"half_life": "1h"} if "decayed" in name or name == "ewma" else span
        for column in ([], ["amount_cents"]):
            with contextlib.suppress(TypeError, DefinitionError):
                feature = getattr(card, name)(*column, **span)
                found.add(feature.expression.stat)

    assert found == set(Stat)


@pytest.mark.parametrize(
    ("settings", "window"),
    [
        ({"over": "365d"}, Window(365 * DAY)),
        ({"over": "36500d"}, Window(36_500 * DAY)),
        ({"over": None}, Window(None)),
        ({}, Window(None)),
        ({"delay": "2h"}, Window(None, 2 * HOUR)),
        ({"over": "1d", "delay": "7d"}, Window(DAY, 7 * DAY)),
        ({"over": "1d", "closed": "left"}, Window(DAY, 0, low_closed=True, high_open=True)),
        ({"over": "1d", "closed": "both"}, Window(DAY, 0, low_closed=True)),
        ({"over": "1d", "closed": "neither"}, Window(DAY, 0, high_open=True)),
        ({"closed": "left"}, Window(None, high_open=True)),
        ({"over": "30d", "resolution": "1h"}, Window(30 * DAY, resolution_us=HOUR)),
        ({"over": "30d", "resolution": "0s"}, Window(30 * DAY)),
        ({"over": "1h", "resolution": "60m"}, Window(HOUR, resolution_us=HOUR)),
    ],
)
def test_settings_make_a_window(payments: Stream, settings: dict[str, Any], window: Window) -> None:
    feature = payments.by("customer_id").count(**settings)

    (table,) = plan_of(payments, [feature]).tables

    assert table.windows == (window,)
    assert table.endless == (window.over_us is None)


def test_several_spans_of_history_can_stand_beside_windows(payments: Stream) -> None:
    group = payments.by("customer_id").count(over=["1h", None])

    (table,) = plan_of(payments, [group]).tables

    assert table.windows == (Window(HOUR), Window(None))
    assert table.row_names == ("customer_id_count_1h", "customer_id_count_all")


def test_since_last_alone_is_an_endless_table_without_windows(payments: Stream) -> None:
    (table,) = plan_of(payments, [payments.by("customer_id").since_last()]).tables

    assert table.endless
    assert (table.reach_us, table.columns, table.windows, table.row) == (0, (), (), (0,))


def test_there_is_a_table_per_entity_with_its_key_s_type(payments: Stream) -> None:
    terminal = payments.by("terminal_id").count(over="1h")
    card = payments.by("customer_id").count(over="1h")

    tables = plan_of(payments, [terminal, card]).tables

    assert [(t.entity, t.key_type, t.primary) for t in tables] == [
        ("terminal_id", "string", False),
        ("customer_id", "int", True),
    ]
    assert [[op.node for op in table.ops] for table in tables] == [[0], [1]]


def test_a_row_holds_what_the_vector_has_of_the_entity_under_its_given_name(
    payments: Stream,
) -> None:
    card = payments.by("customer_id")
    hidden = card.sum("amount_cents", over="1d")
    doubled = (hidden * 2).named("doubled")
    features = [doubled, card.since_last(), card.count(over="1d").named("often"), payments.hour()]

    (table,) = plan_of(payments, features).tables

    assert [(op.stat, op.node) for op in table.ops] == [
        (Stat.SINCE_LAST, 1), (Stat.COUNT, 2), (Stat.SUM, 4),
    ]  # fmt: skip
    assert table.row == table.row_at == (0, 1)
    assert table.row_names == ("customer_id_since_last", "often")


def test_an_entity_used_only_in_arithmetic_has_an_empty_row(payments: Stream) -> None:
    count = payments.by("customer_id").count(over="1d")

    (table,) = plan_of(payments, [(count + 1).named("more")]).tables

    assert (table.row, table.row_at, table.row_names) == ((), (), ())


def test_a_feature_is_ordered_as_soon_as_another_entity_takes_part(payments: Stream) -> None:
    card = payments.by("customer_id").count(over="1d")
    terminal = payments.by("terminal_id").count(over="1d")
    features = [card, terminal, payments.hour(), (card / terminal).named("x"),
                (card / payments.hour()).named("y")]  # fmt: skip

    assert plan_of(payments, features).ordered == (False, True, False, True, False)


def test_only_fields_in_use_are_decoded(payments: Stream) -> None:
    entity = payments.by("terminal_id")
    features = [
        payments.column("ratio"),
        payments.column("entry_mode"),
        entity.sum("tip_cents", over="1h"),
        entity.count(over="1h", where=~(payments.column("country") == "SE")),
    ]

    stream = plan_of(payments, features).scored

    assert stream.fields == {
        "payment_id": "string",
        "customer_id": "int",
        "terminal_id": "string",
        "event_time": "int",
        "tip_cents": "int",
        "entry_mode": "int",
        "ratio": "float",
        "country": "string",
    }
    assert stream.quantum == {}
    assert stream.nullable == {"terminal_id", "tip_cents"}


def test_the_stream_s_settings_are_in_the_plan(stream: Callable[..., Stream]) -> None:
    one = stream(
        available="known_at", allowed_lateness="2h", max_skew="0s", topic="t", time="maybe_at",
        dedupe="3h",
    )  # fmt: skip

    plan = plan_of(one, [one.hour()], model=Model("m"))
    scored = plan.scored

    assert (plan.name, plan.model, scored.place, scored.name) == ("p", "m", 0, "payments")
    assert (scored.topic, scored.id, scored.key) == ("t", "payment_id", "customer_id")
    assert (scored.time, scored.available) == ("maybe_at", "known_at")
    assert (scored.allowed_lateness_us, scored.max_skew_us) == (2 * HOUR, 0)
    assert (scored.dedupe_us, scored.revise) == (3 * HOUR, False)
    assert scored.nullable == {"maybe_at"}
    assert scored.schema["name"] == "Payment"
    assert scored.schema_text == one.record.text


def test_without_settings_the_stream_has_the_defaults(payments: Stream) -> None:
    plan = plan_of(payments, [payments.hour()])

    assert plan.model is None
    assert plan.scored.available == "event_time"
    assert (plan.scored.allowed_lateness_us, plan.scored.max_skew_us) == (HOUR, DAY)
    assert (plan.scored.dedupe_us, plan.scored.revise, plan.scored.quantum) == (0, False, {})
    assert not plan.peers


def test_kafka_s_own_time_is_no_field(stream: Callable[..., Stream]) -> None:
    one = stream(available="record_timestamp")

    scored = plan_of(one, [one.hour()]).scored

    assert scored.available == "record_timestamp"
    assert "record_timestamp" not in scored.fields


AGGREGATED = ("amount_cents", True)
RAW = ("amount_cents", False)


@pytest.mark.parametrize(
    ("given", "uses", "expected"),
    [
        (None, [AGGREGATED], {"amount_cents": 2**40}),
        (None, [RAW], {"amount_cents": 2**53}),
        (None, [RAW, AGGREGATED], {"amount_cents": 2**40}),
        (None, [AGGREGATED, RAW], {"amount_cents": 2**40}),
        (1000, [AGGREGATED, RAW], {"amount_cents": 1000}),
        (1000, [RAW], {"amount_cents": 2**53}),
        ({"amount_cents": 7}, [AGGREGATED, ("tip_cents", True)],
         {"amount_cents": 7, "tip_cents": 2**40}),
        ({"amount_cents": 7}, [RAW], {"amount_cents": 7}),
        (None, [("is_online", True), ("entry_mode", False), ("ratio", False)], {}),
        (None, [("ratio", True)], {"ratio": 2**40}),
        (1000, [("ratio", True), ("ratio", False)], {"ratio": 1000}),
        ({"ratio": 7}, [("ratio", True)], {"ratio": 7}),
        # A moment is exact as microseconds; in milliseconds that is a thousandth.
        (1000, [("maybe_at", None), ("known_at", None)],
         {"maybe_at": 2**53, "known_at": 2**53 // 1000}),
        (None, [("known_at", False)], {"known_at": 2**53 // 1000}),
    ],
)  # fmt: skip
def test_a_column_s_limit_is_the_smallest_that_any_use_needs(
    stream: Callable[..., Stream],
    given: int | dict[str, int] | None,
    uses: list[tuple[str, bool | None]],
    expected: dict[str, int],
) -> None:
    one = stream() if given is None else stream(max_abs=given)
    card = one.by("customer_id")
    ways: dict[bool | None, Callable[..., Operand]] = {
        True: card.sum,
        False: lambda name, **_: one.column(name),
        None: card.max,
    }
    features = [ways[total](name, over="1h") for name, total in uses]

    assert plan_of(one, features).scored.max_abs == expected


def test_zero_and_minus_zero_are_one_number(payments: Stream) -> None:
    hour = payments.hour()

    plan = plan_of(payments, [(hour * -0.0).named("a"), (hour + 0).named("b")])

    assert [str(row.value) for row in plan.rows if row.op is Row.LITERAL] == ["0.0"]


def test_the_deepest_arithmetic_compiles(payments: Stream) -> None:
    hour = payments.hour()
    total = hour + 1
    for number in range(2, 257):
        total = total + number

    plan = plan_of(payments, [total.named("total")])

    assert plan.nodes == 1 + 1 + 255 + 256
