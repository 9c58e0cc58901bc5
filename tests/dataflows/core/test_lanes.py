"""Lanes: which records a table is handed, in which order, with which values and what to do."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from turns import HOUR, MINUTE, Record, plan_of, stream_of, turn_of

from noskew.dataflows.core.judge import Judge
from noskew.dataflows.core.lanes import lane
from noskew.dataflows.definition.plan import (
    ColumnPlan,
    Comparison,
    Is,
    Op,
    Stat,
    TablePlan,
    Window,
)
from noskew.kernels.layout import EVALUATE, INSERT, OWN
from noskew.schemas.columns import NULL, Strings

if TYPE_CHECKING:
    from noskew.dataflows.core.lane import Lane
    from noskew.dataflows.definition.plan import StreamPlan

WHOLE = INSERT | EVALUATE | OWN
STREAMS = (
    stream_of(0, {"card": "string", "amount": "int", "price": "float"}),
    stream_of(1, {"card": "string", "fraud": "int", "note": "string"}, revise=True),
)
PAYMENTS = TablePlan(
    stream=0, entity="card", key_type="string", primary=True,
    columns=(ColumnPlan("amount"), ColumnPlan("price", "quantum", 2)),
    filters=(Comparison("amount", Is.GREATER, (5,)),), windows=(Window(HOUR),),
    ops=(Op(Stat.COUNT, 0, 0),), row=(0,), row_at=(0,), row_names=("n",),
)  # fmt: skip
LABELS = TablePlan(
    stream=1, entity="card", key_type="string", primary=False,
    columns=(ColumnPlan("fraud"), ColumnPlan("note", "text")),
    filters=(Comparison("fraud", Is.EQUAL, (1,)), Comparison("note", Is.NULL)),
    windows=(Window(HOUR),), ops=(Op(Stat.COUNT, 1, 0),), row=(0,), row_at=(1,),
    row_names=("labels",),
)  # fmt: skip


def lanes_of(
    records: list[Record],
    *,
    streams: tuple[StreamPlan, ...] = STREAMS,
    tables: tuple[TablePlan, TablePlan] = (PAYMENTS, LABELS),
    insert: bool = True,
    evaluate: bool = True,
) -> tuple[Lane, Lane]:
    judge = Judge(plan_of(streams, tables), (2, 2))
    turn = turn_of(streams, (2, 2), records, 100)
    judged = judge.judge(turn)
    first, second = (lane(t, turn, judged, insert=insert, evaluate=evaluate) for t in tables)
    return first, second


def pay(after_us: int, card: str | None, amount: int | None = 1, **more: int) -> Record:
    values = {"id": after_us, "card": card, "amount": amount, "price": 1.005}
    return Record(0, after_us, values, **more)


def mark(after_us: int, card: str | None, fraud: int | None, note: str | None = None) -> Record:
    return Record(1, after_us, {"id": after_us, "card": card, "fraud": fraud, "note": note}, 1)


MIXED = [
    pay(MINUTE, "a", 9),
    mark(0, "b", 1, "text"),
    pay(2 * MINUTE, None, 3, partition=1),
    mark(MINUTE, "a", 0),
    pay(3 * MINUTE, "c", None),
]


def texts(column: object) -> list[str | None]:
    assert isinstance(column, Strings)
    return column.to_list()


def ints(column: object) -> list[int]:
    assert isinstance(column, np.ndarray)
    assert column.dtype == np.int64
    return [int(value) for value in column]


def test_the_scored_streams_table_sees_that_streams_records_alone() -> None:
    payments, _ = lanes_of(MIXED)

    assert texts(payments.key) == ["a", None, "c"]
    assert payments.seq.tolist() == [100, 102, 104]
    assert payments.action.tolist() == [WHOLE] * 3
    assert payments.target.tolist() == [0, 1, 2]
    assert payments.partition.tolist() == [0, 1, 0]
    assert payments.bits.tolist() == [1, 0, 0]
    assert ints(payments.columns[0]) == [9, 3, NULL]
    assert ints(payments.columns[1]) == [100, 100, 100]


def test_another_streams_table_is_changed_by_its_own_and_asked_by_the_scored_ones() -> None:
    _, labels = lanes_of(MIXED)

    assert texts(labels.key) == ["a", "b", None, "a", "c"]
    assert labels.seq.tolist() == [100, 101, 102, 103, 104]
    assert labels.action.tolist() == [EVALUATE, INSERT, EVALUATE, INSERT, EVALUATE]
    assert labels.target.tolist() == [0, -1, 1, -1, 2]
    assert labels.partition.tolist() == [0, 1, 1, 1, 0]
    assert (labels.time_us - labels.time_us.min()).tolist() == [
        MINUTE, 0, 2 * MINUTE, MINUTE, 3 * MINUTE,
    ]  # fmt: skip


def test_values_and_filters_are_those_of_the_tables_own_records() -> None:
    _, labels = lanes_of(MIXED)

    assert ints(labels.columns[0]) == [NULL, 1, NULL, 0, NULL]
    assert texts(labels.columns[1]) == [None, "text", None, None, None]
    # The second filter is true of nulls, but payments have no note to be null.
    assert labels.bits.tolist() == [0, 1, 0, 2, 0]


def test_each_record_has_the_lines_as_of_before_itself() -> None:
    records = [pay(0, "a"), pay(0, "a", partition=1), mark(0, "a", 1), pay(HOUR, "a")]

    payments, labels = lanes_of(records)

    assert payments.horizon_us.tolist() == labels.horizon_us[[0, 1, 3]].tolist()
    assert labels.horizon_us[2] == labels.time_us[0] - HOUR
    assert payments.fold_us.tolist() == payments.horizon_us.tolist()
    assert (labels.fold_us <= labels.horizon_us).all()


def test_handles_and_replaced_entries_reach_the_table_of_the_revised_stream() -> None:
    first, second = mark(5, "a", 1), replace(mark(5, "a", 0), after_us=7)

    payments, labels = lanes_of([first, pay(6, "a"), second])

    assert labels.handle.tolist() == [0, -1, 0]
    assert labels.old_us.tolist() == [NULL, NULL, labels.time_us[0]]
    assert payments.handle.tolist() == [-1]


def test_dead_letters_duplicates_and_late_ones_are_told_apart() -> None:
    streams = (replace(STREAMS[0], dedupe_us=HOUR, allowed_lateness_us=0), STREAMS[1])
    records = [pay(MINUTE, "a"), pay(MINUTE, "a"), pay(0, "a"), pay(MINUTE, "a", reason=3)]

    payments, labels = lanes_of(records, streams=streams)

    assert payments.action.tolist() == [WHOLE, 0, EVALUATE | OWN, 0]
    assert labels.action.tolist() == [EVALUATE, 0, EVALUATE, 0]


def test_a_late_label_changes_nothing() -> None:
    streams = (STREAMS[0], replace(STREAMS[1], allowed_lateness_us=0))

    _, labels = lanes_of([mark(MINUTE, "a", 1), mark(0, "a", 1)], streams=streams)

    assert labels.action.tolist() == [INSERT, 0]


def test_a_turn_of_one_stream_gives_the_other_stream_nothing_to_insert() -> None:
    payments, labels = lanes_of([pay(0, "a"), pay(1, "b")])
    assert labels.action.tolist() == [EVALUATE, EVALUATE]
    assert texts(labels.key) == ["a", "b"]

    payments, labels = lanes_of([mark(0, "a", 1), mark(1, "b", 1)])
    assert len(payments) == 0
    assert labels.action.tolist() == [INSERT, INSERT]
    assert labels.target.tolist() == [-1, -1]
    assert texts(labels.key) == ["a", "b"]


def test_int_keys_of_two_streams_are_joined_with_their_nulls() -> None:
    streams = tuple(replace(s, fields=s.fields | {"card": "int"}) for s in STREAMS)
    tables = (replace(PAYMENTS, key_type="int"), replace(LABELS, key_type="int"))
    records = [replace(r, values={**r.values, "card": card}) for r, card in zip(
        MIXED, (7, 8, None, 7, -9), strict=True,
    )]  # fmt: skip

    _, labels = lanes_of(records, streams=streams, tables=tables)

    assert ints(labels.key) == [7, 8, NULL, 7, -9]


def test_a_quantum_is_a_whole_number_a_null_where_there_is_none() -> None:
    prices = [1.005, None, math.nan, -0.125, 12.345, math.inf, -math.inf, 1e300]
    records = [
        Record(0, i, {"id": i, "card": "a", "amount": 1, "price": price}, reason=int(i > 4))
        for i, price in enumerate(prices)
    ]

    payments, _ = lanes_of(records)

    # Ties to even: 1.005 * 100 is 100.49999999999999, -12.5 is -12, 1234.5 is 1234.
    assert ints(payments.columns[1]) == [
        100, NULL, NULL, -12, 1234, NULL, NULL, NULL,
    ]  # fmt: skip


def test_inserting_and_evaluating_may_be_done_one_after_the_other() -> None:
    inserting = lanes_of(MIXED, evaluate=False)
    evaluating = lanes_of(MIXED, insert=False)

    assert inserting[0].action.tolist() == [INSERT] * 3
    assert inserting[1].action.tolist() == [0, INSERT, 0, INSERT, 0]
    # The event is inserted already: it would be counted twice if it were its own member.
    assert evaluating[0].action.tolist() == [EVALUATE] * 3
    assert evaluating[1].action.tolist() == [EVALUATE, 0, EVALUATE, 0, EVALUATE]


def test_an_empty_turn_gives_empty_lanes() -> None:
    for one in lanes_of([]):
        assert len(one) == 0
        assert len(one.key) == 0
        assert one.target.dtype == np.int64
