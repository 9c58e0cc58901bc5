"""The engine over two streams, by expectations computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from turns import DAY, HOUR, MINUTE, Record, plan_of, stream_of, turn_of

from noskew.dataflows.core.engine import CappedKey, Engine, SplitKey
from noskew.dataflows.definition.plan import (
    ColumnPlan,
    Comparison,
    Is,
    Negated,
    Op,
    Row,
    RowNode,
    Stat,
    TablePlan,
    Window,
)
from noskew.kernels.layout import (
    FATE_APPLIED,
    FATE_DEAD,
    FATE_DUPLICATE,
    FATE_LATE,
    FLAG_CAPPED,
    FLAG_INCOMPLETE,
    FLAG_LATE,
)

if TYPE_CHECKING:
    from noskew.dataflows.core.engine import Features
    from noskew.dataflows.definition.plan import Plan

STREAMS = (
    stream_of(0, {"card": "int", "shop": "string", "amount": "int", "price": "float"}),
    stream_of(1, {"shop": "string", "fraud": "int", "kind": "string"}, revise=True),
)
CARD = TablePlan(
    stream=0, entity="card", key_type="int", primary=True,
    columns=(ColumnPlan("amount"), ColumnPlan("price", "quantum", 1)),
    filters=(Comparison("amount", Is.GREATER, (5,)), Negated(Comparison("shop", Is.EQUAL, ("x",)))),
    windows=(Window(HOUR),),
    ops=(
        Op(Stat.SUM, 0, 0, column=0),
        Op(Stat.COUNT, 1, 0, filter=0),
        Op(Stat.COUNT, 2, 0, filter=1),
        Op(Stat.MEAN, 3, 0, column=1, empty=math.nan),
    ),
    row=(), row_at=(), row_names=(),
)  # fmt: skip
SHOP = TablePlan(
    stream=0, entity="shop", key_type="string", primary=False, columns=(), filters=(), windows=(),
    ops=(), row=(), row_at=(), row_names=(),
)  # fmt: skip
FRAUDS = TablePlan(
    stream=1, entity="shop", key_type="string", primary=False,
    columns=(ColumnPlan("fraud"), ColumnPlan("kind", "text")),
    filters=(Comparison("kind", Is.NOT_EQUAL, ("test",)),), windows=(Window(DAY),),
    ops=(
        Op(Stat.SUM, 4, 0, column=0, filter=0),
        Op(Stat.DISTINCT, 5, 0, column=1),
        Op(Stat.COUNT, 6, 0),
    ),
    row=(), row_at=(), row_names=(),
)  # fmt: skip
PLAN = plan_of(STREAMS, (CARD, SHOP, FRAUDS))


def run(records: list[Record], plan: Plan = PLAN, **settings: int) -> Features:
    engine = Engine(plan, (2, 2), **settings)
    return engine.process(turn_of(plan.streams, (2, 2), records, 0))


def pay(after_us: int, card: int | None, shop: str | None, amount: int | None = 1,
        price: float | None = None, **more: int) -> Record:  # fmt: skip
    values = {"id": after_us, "card": card, "shop": shop, "amount": amount, "price": price}
    return Record(0, after_us, values, **more)


def mark(after_us: int, number: int, shop: str | None, fraud: int | None,
         kind: str | None = "seen", **more: int) -> Record:  # fmt: skip
    values = {"id": number, "shop": shop, "fraud": fraud, "kind": kind}
    return Record(1, after_us, values, **more)


def vectors(found: Features) -> list[list[float]]:
    """Return the vectors, NaN as -1."""
    return [[-1.0 if math.isnan(v) else v for v in row] for row in found.vectors.T.tolist()]


def test_labels_are_seen_by_payments_processed_after_them() -> None:
    found = run([
        pay(MINUTE, 1, "x"),
        mark(0, 1, "x", 1),
        pay(2 * MINUTE, 2, "x"),
        mark(0, 2, "y", 1),
        mark(3 * MINUTE, 3, "x", 1, kind=None),
        pay(4 * MINUTE, 1, "x"),
        pay(2 * MINUTE, 3, "x"),
    ])  # fmt: skip

    # fraud sum (of kinds other than "test", and a null is no other kind), kinds, labels
    assert found.vectors[4:].T.tolist() == [[0, 0, 0], [1, 1, 1], [1, 1, 2], [1, 1, 1]]
    assert found.fate.tolist() == [FATE_APPLIED] * 4
    assert found.fates[1].tolist() == [FATE_APPLIED] * 3


def test_filters_look_at_records_of_their_own_stream() -> None:
    found = run([
        pay(0, 1, "x", 9), pay(1, 1, "y", 9), pay(2, 1, None, 2), pay(3, 1, "x", None),
    ])  # fmt: skip

    # sum, how many above 5, how many not at "x" (a null is not at x)
    assert found.vectors[:3].T.tolist() == [[9, 1, 0], [18, 2, 1], [20, 2, 2], [20, 2, 2]]


def test_a_null_key_is_nobody() -> None:
    found = run([
        pay(0, 1, "x", 7),
        mark(0, 1, None, 1),
        pay(1, None, None, 7, price=1.0),
        pay(2, None, None, 7),
        mark(0, 2, "x", 1),
        pay(3, 1, None, 7),
    ])  # fmt: skip

    empty = [0, 0, 0, -1, 0, 0, 0]
    assert vectors(found)[1:3] == [empty, empty]
    assert vectors(found)[3] == [14, 2, 1, -1, 0, 0, 0]


def test_a_quantum_skips_nan_and_its_mean_is_in_the_columns_unit() -> None:
    prices = [0.1, math.nan, None, 0.25, -0.1]
    found = run([pay(i, 1, "x", price=price) for i, price in enumerate(prices)])

    # 0.25 * 10 is 2.5, which ties to the even 2.
    assert found.vectors[3].tolist() == [0.1, 0.1, 0.1, 3 / 20, 2 / 30]


def test_a_dead_letter_has_no_vector_and_leaves_no_trace() -> None:
    found = run([
        pay(0, 1, "x", 7),
        pay(1, 1, "x", 7, price=math.inf, reason=4),
        mark(0, 1, "x", 1, reason=2),
        pay(2, 1, "x", 7),
    ])  # fmt: skip

    assert found.dead.tolist() == [False, True, False]
    assert np.isnan(found.nodes[:, 1]).all()
    assert vectors(found)[2] == [14, 2, 0, -1, 0, 0, 0]
    assert found.fate.tolist() == [FATE_APPLIED, FATE_DEAD, FATE_APPLIED]
    assert found.flags[1] == 0


def test_a_dead_letter_of_another_partition_splits_no_key() -> None:
    engine = Engine(PLAN, (2, 2))
    records = [pay(0, 1, "x"), pay(1, 1, "x", partition=1, reason=1)]

    engine.process(turn_of(STREAMS, (2, 2), records, 0))

    assert engine.splits() == []


def test_a_key_of_two_partitions_is_reported_once_and_shops_are_not() -> None:
    engine = Engine(PLAN, (2, 2))
    records = [pay(0, 1, "x"), pay(1, 1, "x", partition=1), pay(2, 1, "x", partition=1)]

    engine.process(turn_of(STREAMS, (2, 2), records, 70))

    assert engine.splits() == [SplitKey("card", 1, 0, 1, 71)]
    assert engine.splits() == []


def test_a_key_that_is_gone_begins_anew_in_any_partition() -> None:
    """At newest + width no record can see it any more, swept or not."""
    assert splits_at(HOUR - 1) == [SplitKey("card", 1, 0, 1, 3)]
    assert splits_at(HOUR) == []


def splits_at(horizon: int) -> list[SplitKey]:
    """Return the split keys of a card seen in one partition, and past a horizon in the other."""
    stream = replace(STREAMS[0], allowed_lateness_us=0, max_skew_us=DAY)
    engine = Engine(plan_of((stream,), (CARD, SHOP)), (2,))
    records = [
        pay(0, 1, "x"),
        pay(horizon, 2, "x"),
        pay(horizon, 3, "x", partition=1),
        pay(HOUR + 1, 1, "x", partition=1),
        pay(HOUR + 2, 1, "x", partition=1),
    ]

    engine.process(turn_of((stream,), (2,), records, 0))

    return engine.splits()


def test_a_full_key_is_flagged_wherever_its_record_stands() -> None:
    engine = Engine(plan_of(STREAMS[:1], (CARD, SHOP)), (2,), key_cap=1)
    flags = [
        engine.process(turn_of(STREAMS[:1], (2,), [pay(at, 1, "x")], at)).flags[0] & FLAG_CAPPED
        for at in range(3)
    ]

    assert flags == [0, FLAG_CAPPED, FLAG_CAPPED]
    assert engine.caps()[0] == CappedKey("card", 1, 0, 1)


def test_a_late_payment_is_scored_not_aggregated_and_a_late_label_is_not_seen() -> None:
    streams = tuple(replace(stream, allowed_lateness_us=MINUTE) for stream in STREAMS)
    plan = plan_of(streams, (CARD, SHOP, FRAUDS))
    found = run([
        pay(HOUR, 1, "x", 1),
        pay(HOUR - 2 * MINUTE, 1, "x", 50),
        mark(HOUR, 1, "x", 1),
        mark(HOUR - 2 * MINUTE, 2, "x", 1),
        pay(HOUR, 1, "x", 2),
    ], plan)  # fmt: skip

    assert found.vectors[0].tolist() == [1, 50, 3]
    assert found.vectors[6].tolist() == [0, 0, 1]
    assert found.flags[1] & FLAG_LATE
    assert found.fate.tolist() == [FATE_APPLIED, FATE_LATE, FATE_APPLIED]
    assert found.fates[1].tolist() == [FATE_APPLIED, FATE_LATE]


def test_a_duplicate_has_no_vector_and_counts_once() -> None:
    plan = plan_of((replace(STREAMS[0], dedupe_us=HOUR), STREAMS[1]), (CARD, SHOP, FRAUDS))
    found = run([pay(0, 1, "x", 7), pay(0, 1, "x", 7), pay(1, 1, "x", 7)], plan)

    assert found.fate.tolist() == [FATE_APPLIED, FATE_DUPLICATE, FATE_APPLIED]
    assert found.dead.tolist() == [False, True, False]
    assert found.vectors[0, [0, 2]].tolist() == [7, 14]


def test_a_revised_label_replaces_value_and_key_from_its_own_place_on() -> None:
    found = run([
        mark(0, 1, "x", 1),
        pay(MINUTE, 1, "x"),
        mark(0, 1, "x", 0, kind="other"),
        pay(MINUTE, 1, "x"),
        mark(5, 1, "y", 1),
        pay(MINUTE, 1, "x"),
        pay(MINUTE, 1, "y"),
    ])  # fmt: skip

    assert found.vectors[4:].T.tolist() == [[1, 1, 1], [0, 1, 1], [0, 0, 0], [1, 1, 1]]


def test_a_full_key_is_scored_flagged_and_reported_once() -> None:
    engine = Engine(PLAN, (2, 2), key_cap=2)
    records = [pay(i, 1, "x" if i < 2 else None, 1) for i in range(4)]

    found = engine.process(turn_of(STREAMS, (2, 2), records, 0))

    assert found.vectors[0].tolist() == [1, 2, 3, 3]
    assert [bool(flag & FLAG_CAPPED) for flag in found.flags] == [False, False, True, True]
    assert engine.caps() == [CappedKey("card", 1, 0, 2)]
    assert engine.caps() == []


def test_a_full_key_of_labels_is_reported_and_flags_no_payment() -> None:
    engine = Engine(PLAN, (2, 2), key_cap=2)
    records = [*(mark(i, i, "x", 1) for i in range(4)), pay(MINUTE, 1, "x")]

    found = engine.process(turn_of(STREAMS, (2, 2), records, 0))

    assert found.vectors[6].tolist() == [2]
    assert not found.flags[0] & FLAG_CAPPED
    assert engine.caps() == [CappedKey("shop", "x", 0, 2)]


def test_below_the_horizon_an_event_is_flagged() -> None:
    streams = (replace(STREAMS[0], allowed_lateness_us=0, max_skew_us=HOUR), STREAMS[1])
    plan = plan_of(streams, (CARD, SHOP, FRAUDS))

    found = run([pay(DAY, 1, "x"), pay(0, 2, "x", partition=1)], plan)

    assert [bool(flag & FLAG_INCOMPLETE) for flag in found.flags] == [False, True]


def test_arithmetic_reads_tables_and_columns() -> None:
    rows = (
        RowNode(7, Row.COLUMN, field="amount"),
        RowNode(8, Row.DIVIDE, left=7, right=4),
    )
    plan = replace(plan_of(STREAMS, (CARD, SHOP, FRAUDS), nodes=9), rows=rows)
    found = run([pay(0, 1, "x", 8), mark(0, 1, "x", 1), mark(0, 2, "x", 1), pay(0, 1, "x", 8),
                 pay(0, 1, "x", None)], plan)  # fmt: skip

    assert np.isnan(found.vectors[8]).tolist() == [True, False, True]
    assert found.vectors[8, 1] == 4.0


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_how_records_are_cut_into_turns_changes_nothing(chunk: int) -> None:
    records = [
        pay(i * MINUTE, i % 3, "xyz"[i % 2], i) if i % 3 else mark(i, i % 5, "xyz"[i % 2], i % 2)
        for i in range(40)
    ]
    whole = run(records).vectors
    engine = Engine(PLAN, (2, 2))
    parts = []
    for begin in range(0, len(records), chunk):
        turn = turn_of(STREAMS, (2, 2), records[begin : begin + chunk], begin)
        parts.append(engine.process(turn).vectors)
        engine.sweep()
        engine.rows()

    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_a_pipeline_without_tables_computes_its_rows() -> None:
    plan = replace(plan_of(STREAMS[:1], (), nodes=1), rows=(RowNode(0, Row.COLUMN, "amount"),))
    engine = Engine(plan, 1)

    found = engine.process(turn_of(STREAMS[:1], (1,), [pay(0, 1, "x", 5), pay(1, 1, "x", None)], 0))

    assert vectors(found) == [[5], [-1]]
    engine.sweep()
    assert engine.rows() == []
