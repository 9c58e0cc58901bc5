"""A definition becomes a plan: its nodes, tables, windows, rows and settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from noskew.dataflows import Model, Pipeline
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.plan import Row, RowNode, Stat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from noskew.dataflows import Stream
    from noskew.dataflows.definition.expression import Operand
    from noskew.dataflows.definition.plan import Plan, TablePlan

HOUR = 3_600_000_000
DAY = 24 * HOUR


def plan_of(stream: Stream, features: Sequence[Operand], **settings: Any) -> Plan:
    return compile_plan(Pipeline(name="p", score=stream, features=features, **settings))


def arrays(table: TablePlan) -> dict[str, list[Any]]:
    names = ("edge_offset_us", "edge_low", "window_low", "window_high",
             "op_kind", "op_window", "op_column", "op_node", "row_ops")  # fmt: skip
    return {name: getattr(table, name).tolist() for name in names}


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
    assert plan.tables[0].op_node.tolist() == [4]
    assert plan.nodes == 6


def test_windows_and_edges_and_columns_are_shared(payments: Stream) -> None:
    card = payments.by("customer_id")
    features = [
        card.count(over=["1d", "7d"]),
        card.sum("amount_cents", over="7d"),
        card.min("tip_cents", over="1d", delay="6d"),
        card.max("amount_cents", over="6d"),
        card.count("tip_cents", over="1d"),
    ]

    (table,) = plan_of(payments, features).tables

    assert table.columns == ("amount_cents", "tip_cents")
    assert arrays(table) == {
        # 0, then what 1d, 7d, 1d after a delay of 6d (old end shared with 7d) and 6d need.
        "edge_offset_us": [0, DAY, 7 * DAY, 6 * DAY, 6 * DAY],
        "edge_low": [False, True, True, False, True],
        "window_low": [1, 2, 2, 4],
        "window_high": [0, 0, 3, 0],
        "op_kind": [Stat.COUNT, Stat.COUNT, Stat.SUM, Stat.MIN, Stat.MAX, Stat.COUNT_VALUES],
        "op_window": [0, 1, 1, 2, 3, 0],
        "op_column": [-1, -1, 0, 1, 0, 1],
        "op_node": [0, 1, 2, 3, 4, 5],
        "row_ops": [0, 1, 2, 3, 4, 5],
    }
    assert table.reach_us == 7 * DAY
    assert not table.anchored


def test_the_first_edge_is_there_even_where_no_window_ends_at_it(payments: Stream) -> None:
    terminal = payments.by("terminal_id")

    (table,) = plan_of(payments, [terminal.count(over="1h", delay="1d")]).tables

    assert table.edge_offset_us.tolist() == [0, DAY + HOUR, DAY]
    assert table.edge_low.tolist() == [False, True, False]
    assert (table.window_low.tolist(), table.window_high.tolist()) == ([1], [2])
    assert table.reach_us == DAY + HOUR


def test_since_last_alone_is_an_anchored_table_without_windows(payments: Stream) -> None:
    (table,) = plan_of(payments, [payments.by("customer_id").since_last()]).tables

    assert table.anchored
    assert table.reach_us == 0
    assert table.columns == ()
    assert arrays(table) == {
        "edge_offset_us": [0],
        "edge_low": [False],
        "window_low": [],
        "window_high": [],
        "op_kind": [Stat.SINCE_LAST],
        "op_window": [-1],
        "op_column": [-1],
        "op_node": [0],
        "row_ops": [0],
    }


def test_arrays_have_the_types_that_kernels_take(payments: Stream) -> None:
    (table,) = plan_of(payments, [payments.by("customer_id").since_last()]).tables

    assert table.edge_offset_us.dtype == "int64"
    assert table.edge_low.dtype == "bool"
    for name in ("window_low", "window_high", "op_kind", "op_window", "op_column", "op_node",
                 "row_ops"):  # fmt: skip
        assert getattr(table, name).dtype == "int32"


def test_there_is_a_table_per_entity_with_its_key_s_type(payments: Stream) -> None:
    terminal = payments.by("terminal_id").count(over="1h")
    card = payments.by("customer_id").count(over="1h")

    tables = plan_of(payments, [terminal, card]).tables

    assert [(t.entity, t.key_type, t.primary) for t in tables] == [
        ("terminal_id", "string", False),
        ("customer_id", "int", True),
    ]
    assert [table.op_node.tolist() for table in tables] == [[0], [1]]


def test_a_row_holds_what_the_vector_has_of_the_entity_under_its_given_name(
    payments: Stream,
) -> None:
    card = payments.by("customer_id")
    hidden = card.sum("amount_cents", over="1d")
    doubled = (hidden * 2).named("doubled")
    features = [doubled, card.since_last(), card.count(over="1d").named("often"), payments.hour()]

    (table,) = plan_of(payments, features).tables

    assert table.op_kind.tolist() == [Stat.SINCE_LAST, Stat.COUNT, Stat.SUM]
    assert table.op_node.tolist() == [1, 2, 4]
    assert table.row_ops.tolist() == [0, 1]
    assert table.row_names == ("customer_id_since_last", "often")


def test_an_entity_used_only_in_arithmetic_has_an_empty_row(payments: Stream) -> None:
    count = payments.by("customer_id").count(over="1d")

    (table,) = plan_of(payments, [(count + 1).named("more")]).tables

    assert table.row_ops.tolist() == []
    assert table.row_ops.dtype == "int32"
    assert table.row_names == ()


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
    }
    assert stream.nullable == {"terminal_id", "tip_cents"}


def test_the_stream_s_settings_are_in_the_plan(stream: Callable[..., Stream]) -> None:
    one = stream(
        available="known_at", allowed_lateness="2h", max_skew="0s", topic="t", time="maybe_at"
    )

    plan = plan_of(one, [one.hour()], model=Model("m"))
    scored = plan.scored

    assert (plan.name, plan.model, scored.place, scored.name) == ("p", "m", 0, "payments")
    assert (scored.topic, scored.id, scored.key) == ("t", "payment_id", "customer_id")
    assert (scored.time, scored.available) == ("maybe_at", "known_at")
    assert (scored.allowed_lateness_us, scored.max_skew_us) == (2 * HOUR, 0)
    assert scored.nullable == {"maybe_at"}
    assert scored.schema["name"] == "Payment"
    assert scored.schema_text == one.record.text


def test_without_settings_the_stream_has_the_defaults(payments: Stream) -> None:
    plan = plan_of(payments, [payments.hour()])

    assert plan.model is None
    assert plan.scored.available == "event_time"
    assert (plan.scored.allowed_lateness_us, plan.scored.max_skew_us) == (HOUR, DAY)


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
    ],
)  # fmt: skip
def test_a_column_s_limit_is_the_smallest_that_any_use_needs(
    stream: Callable[..., Stream],
    given: int | dict[str, int] | None,
    uses: list[tuple[str, bool]],
    expected: dict[str, int],
) -> None:
    one = stream() if given is None else stream(max_abs=given)
    card = one.by("customer_id")
    features = [card.sum(name, over="1h") if total else one.column(name) for name, total in uses]

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
