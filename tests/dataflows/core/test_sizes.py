"""What is predicted of memory, beside real tables that hold real events."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from noskew.dataflows.core import sizes
from noskew.dataflows.core.batch import Batch, Turn
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.sizes import Load
from noskew.dataflows.core.table import Table
from noskew.dataflows.definition.plan import (
    ColumnPlan,
    Comparison,
    Is,
    Op,
    Plan,
    Row,
    RowNode,
    Stat,
    StreamPlan,
    TablePlan,
    Window,
)
from noskew.kernels import layout
from noskew.schemas.columns import NULL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
START = 1_700_000_000 * SECOND

PAYMENTS = StreamPlan(
    place=0,
    name="payments",
    topic="payments",
    schema={
        "fields": [
            {"name": "kind", "type": {"type": "enum", "symbols": ["A", "B", "C"]}},
            {"name": "online", "type": ["null", "boolean"]},
            {"name": "cents", "type": "long"},
        ]
    },
    schema_text="",
    id="id",
    key="card",
    time="at",
    available="at",
    fields={"id": "int", "at": "int", "card": "int", "cents": "int", "tip": "int"},
    nullable=frozenset({"tip"}),
    max_abs={},
    allowed_lateness_us=HOUR,
    max_skew_us=DAY,
    quantum={},
)
LABELS = replace(
    PAYMENTS, place=1, name="labels", topic="labels", allowed_lateness_us=10 * DAY, revise=True
)


def table_of(
    ops: Sequence[Op],
    windows: Sequence[Window] = (Window(DAY),),
    columns: Sequence[str] = ("cents",),
    stream: int = 0,
    entity: str = "card",
) -> TablePlan:
    return TablePlan(
        stream=stream,
        entity=entity,
        key_type="int",
        primary=stream == 0 and entity == "card",
        columns=tuple(ColumnPlan(name) for name in columns),
        filters=(Comparison("cents", Is.LESS, (100,)),) if any(o.filter >= 0 for o in ops) else (),
        windows=tuple(windows),
        ops=tuple(ops),
        row=tuple(range(len(ops))),
        row_at=tuple(range(len(ops))),
        row_names=tuple(f"f{op.node}" for op in ops),
    )


def plan_of(
    *tables: TablePlan, streams: Sequence[StreamPlan] = (PAYMENTS,), rows: Sequence[RowNode] = ()
) -> Plan:
    count = sum(len(table.ops) for table in tables) + len(rows)
    return Plan(
        name="p",
        streams=tuple(streams),
        tables=tables,
        rows=tuple(rows),
        names=tuple(f"f{node}" for node in range(count)),
        nodes=count,
        ordered=(False,) * count,
        fingerprint=bytes(32),
        model=None,
    )


def load(rate: float, keys: int, **more: int) -> Load:
    return Load((rate, rate), {"card": keys, **more})


RING = table_of(
    [Op(Stat.SUM, 0, 0, 0), Op(Stat.SUM, 1, 0, 1)], [Window(60 * DAY)], ("cents", "terminal")
)
"""One window of two columns."""

TABLES = {
    "ring": RING,
    "many": table_of(
        [
            *(Op(stat, i, i % 3, 0) for i, stat in enumerate((Stat.MEAN, Stat.MIN, Stat.MAX))),
            Op(Stat.VAR, 3, 2, 1),
            Op(Stat.COUNT, 4, 1, filter=0),
            Op(Stat.SINCE_LAST, 5),
        ],
        [Window(HOUR), Window(DAY), Window(DAY, delay_us=HOUR)],
        ("cents", "tip"),
    ),
    "history": table_of(
        [Op(Stat.SUM, 0, 0, 0), Op(Stat.EWMA, 1, column=0, half_life_us=HOUR)], [Window(None)]
    ),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("stream", [PAYMENTS, replace(PAYMENTS, revise=True)])
def test_bytes_of_rows_are_those_of_the_arrays_of_a_table(name: str, stream: StreamPlan) -> None:
    told = sizes.row_bytes(TABLES[name], stream)
    state = Table(TABLES[name], stream)._state

    slot, entry, chunk = (
        a.itemsize * a.shape[1] for a in (state.slots, state.entries, state.chunks)
    )
    entries = len(state.entries) // len(state.chunks)
    assert told.key == slot + state.changed.itemsize + 2 * state.lookup.itemsize
    assert (told.entry, told.entries) == (entry, entries)
    assert told.chunk == chunk + entries * entry


def fed(plan: Plan, keys: int, count: int, step_us: int) -> Table:
    """Return the table after ``count`` events of uniform keys, ``step_us`` apart."""
    rng = np.random.default_rng(1)
    engine = Engine(plan, 1)
    for first in range(0, count, 4096):
        here = np.arange(first, min(first + 4096, count))
        engine.process(
            Turn.of(batch(START + step_us * here, rng.integers(0, keys, len(here))), first)
        )
        engine.rows()
        engine.sweep()
    return engine.tables[0]


def batch(time_us: NDArray[np.int64], card: NDArray[np.int64]) -> Batch:
    count = len(time_us)
    numbers = np.arange(count)
    return Batch(
        stream=0,
        partition=np.zeros(count, np.int32),
        offset=numbers,
        record_time_us=np.full(count, NULL, np.int64),
        time_us=time_us,
        available_us=time_us,
        reason=np.zeros(count, np.uint8),
        columns={
            "id": numbers, "card": card, "cents": numbers % 999, "tip": numbers % 99,
            "terminal": numbers % 50, "at": time_us,
        },
    )  # fmt: skip


def in_use(table: Table) -> int:
    """Return the bytes a table uses: of its rows of keys and chunks, not of room to grow."""
    state, aux = table._state, table._state.aux[layout.COUNTERS]
    chunks = int(aux[layout.COUNTER_CHUNKS] - aux[layout.COUNTER_FREED_CHUNKS])
    per_chunk = (state.chunks.nbytes + state.entries.nbytes) // len(state.chunks)
    per_key = (state.slots.nbytes + state.changed.nbytes) // len(state.slots)
    return table.keys * (per_key + 2 * state.lookup.itemsize) + chunks * per_chunk


@pytest.mark.parametrize("keys", [30, 400, 3_000])
@pytest.mark.parametrize("name", ["many", "ring"])
def test_the_prediction_is_within_a_quarter_of_what_a_fed_table_uses(name: str, keys: int) -> None:
    table = TABLES[name]
    window = max(one.over_us + one.delay_us for one in table.windows if one.over_us)
    step_us = window // 8_000  # so many events in the longest window
    plan = plan_of(table)

    found = fed(plan, keys, 25_000, step_us)
    (told,) = sizes.predict(plan, load(SECOND / step_us, keys)).tables

    assert abs(told.held - 8_000 - HOUR / step_us) <= 1
    assert abs(told.keys - found.keys) <= 0.1 * found.keys
    assert abs(told.used - in_use(found)) <= 0.25 * in_use(found)
    assert in_use(found) <= found.memory


@pytest.mark.parametrize("keys", [20, 300, 3_000])
def test_the_prediction_is_within_a_quarter_where_events_come_in_no_order(keys: int) -> None:
    own = table_of([], [], ())
    late = replace(LABELS, revise=False)
    labels = table_of([Op(Stat.SUM, 0, 0, 0)], [Window(40 * DAY)], stream=1)
    plan = plan_of(own, labels, streams=(PAYMENTS, late))
    step_us = 40 * DAY // 8_000
    engine = Engine(plan, (1, 1))
    rng = np.random.default_rng(2)
    for first in range(0, 25_000, 500):
        now_us = START + step_us * np.arange(first, first + 500)
        card = rng.integers(0, keys, 500)
        paid = batch(now_us, card)
        told_late = batch(now_us - rng.integers(0, 8 * DAY, 500), card)
        told_late.stream = 1
        for place, part in enumerate((paid, told_late)):
            part.seq = np.arange(500) + 2 * first + 500 * place
            parts = [paid.take(np.arange(0), np.zeros(0, np.int64)) for _ in range(2)]
            parts[place] = part
            inputs = np.full(500, place, np.int32)
            engine.process(Turn(int(part.seq[0]), tuple(parts), inputs, inputs, part.offset))
        engine.sweep()

    (_, predicted) = sizes.predict(plan, load(SECOND / step_us, keys)).tables

    assert abs(predicted.used - in_use(engine.tables[1])) <= 0.25 * in_use(engine.tables[1])


@pytest.mark.parametrize("keys", [1_000, 20_000])
def test_what_is_reserved_is_at_least_what_a_full_table_has_taken(keys: int) -> None:
    plan = plan_of(RING)
    step_us = 60 * DAY // 40_000

    found = fed(plan, keys, 100_000, step_us)
    (told,) = sizes.predict(plan, load(SECOND / step_us, keys)).tables

    small = 1 << 20  # arrays every table has, whatever it holds
    assert found.memory - small <= told.reserved <= 1.5 * found.memory


def test_a_million_keys_and_fifty_million_events_of_two_columns_fit_in_4_gb() -> None:
    plan = plan_of(RING)
    held_s = sizes.held_us(plan, RING) / SECOND
    assert held_s == 60 * 86_400 + 3_600

    need = sizes.predict(plan, load(50_000_000 / held_s, 1_000_000))

    (table,) = need.tables
    assert (table.held, table.keys) == (50_000_000, 1_000_000)
    # Times, two values: 24 bytes each; the chunks at a key's two ends are not full.
    assert 50_000_000 * 24 < table.used < table.reserved < 3_000_000_000
    assert need.memory < 4_000_000_000


def test_memory_grows_with_the_rate_and_with_the_keys() -> None:
    plan = plan_of(RING)
    least = sizes.predict(plan, load(1.0, 1_000)).memory

    assert sizes.predict(plan, load(2.0, 1_000)).memory > least
    assert sizes.predict(plan, load(1.0, 2_000)).memory > least


def test_keys_without_an_event_are_not_held_unless_they_are_remembered_for_ever() -> None:
    counted = table_of([Op(Stat.COUNT, 0, 0)], [Window(HOUR)], ())
    forever = table_of([Op(Stat.COUNT, 0, 0), Op(Stat.SINCE_LAST, 1)], [Window(HOUR)], ())

    (few,) = sizes.predict(plan_of(counted), load(0.01, 1_000_000)).tables
    (all_,) = sizes.predict(plan_of(forever), load(0.01, 1_000_000)).tables

    assert few.held == few.keys == 72
    assert all_.keys == 1_000_000


HELD = {
    "window and delay": ([Window(DAY, delay_us=HOUR)], [Op(Stat.COUNT, 0, 0)], DAY + 2 * HOUR),
    "the longest": ([Window(DAY), Window(HOUR)], [Op(Stat.COUNT, 0, 1)], DAY + HOUR),
    "resolution": ([Window(DAY, resolution_us=HOUR)], [Op(Stat.COUNT, 0, 0)], DAY + 2 * HOUR - 1),
    "all of history, folded": ([Window(None)], [Op(Stat.COUNT, 0, 0)], HOUR),
    "folded after its delay": ([Window(None, delay_us=DAY)], [Op(Stat.COUNT, 0, 0)], DAY + HOUR),
    "decays": ([], [Op(Stat.DECAYED_COUNT, 0, half_life_us=DAY)], HOUR),
    "the newest only": ([], [Op(Stat.SINCE_LAST, 0)], HOUR),
}


@pytest.mark.parametrize("case", HELD)
def test_events_are_held_until_nothing_can_reach_them(case: str) -> None:
    windows, ops, expected = HELD[case]
    table = table_of(ops, windows, ())

    assert sizes.held_us(plan_of(table), table) == expected


def test_entries_open_to_revision_are_held_for_their_streams_lateness() -> None:
    own = table_of([], [], ())
    labels = table_of([Op(Stat.SUM, 0, 0, 0)], [Window(DAY)], stream=1)
    plan = plan_of(own, labels, streams=(PAYMENTS, LABELS))

    assert sizes.held_us(plan, own) == HOUR
    assert sizes.held_us(plan, labels) == 10 * DAY


def test_all_of_history_of_a_late_stream_is_folded_at_its_own_lateness() -> None:
    labels = table_of([Op(Stat.SUM, 0, 0, 0)], [Window(None)], stream=1)
    plan = plan_of(table_of([], [], ()), labels, streams=(PAYMENTS, replace(LABELS, revise=False)))

    assert sizes.held_us(plan, labels) == 10 * DAY


def test_remembered_ids_are_counted_for_dedupe_and_for_revise() -> None:
    labels = table_of([Op(Stat.SUM, 0, 0, 0)], [Window(DAY)], stream=1)
    once = replace(PAYMENTS, dedupe_us=HOUR)
    plan = plan_of(table_of([], [], ()), labels, streams=(once, LABELS))

    payments, late = sizes.predict(plan, load(1.0, 10)).ids

    assert (payments.stream, payments.held) == ("payments", 2 * 3_600)
    assert (late.stream, late.held) == ("labels", 10 * 86_400)
    assert payments.reserved == 8 * 7 * 2**15  # the power of two above 4 x 7,201
    assert sizes.predict(plan_of(RING), load(1.0, 10)).ids == ()


@pytest.mark.parametrize(("column", "symbols"), [("kind", 3), ("online", 2)])
def test_distinct_counts_at_most_each_event_or_each_symbol(column: str, symbols: int) -> None:
    used = {
        name: sizes.predict(
            plan_of(table_of([Op(Stat.DISTINCT, 0, 0, 0)], [Window(DAY)], (name,))),
            load(100.0, 1_000),
        )
        .tables[0]
        .used
        for name in (column, "cents")
    }

    # A row of 24 bytes each: 100 events a second for a day, or each symbol of each key.
    assert used["cents"] - used[column] == 24 * (100 * 86_400 - symbols * 1_000)


def test_a_feature_is_told_with_the_state_it_takes_alone() -> None:
    ops = [Op(Stat.COUNT, 0, 0), Op(Stat.MEAN, 1, 0, 0), Op(Stat.MAX, 3, 0, 0)]
    ratio = [RowNode(2, Row.DIVIDE, left=4, right=3), RowNode(4, Row.LITERAL, value=1.0)]
    plan = replace(plan_of(table_of(ops), rows=ratio), names=("count", "mean", "one_by_max"))

    count, mean, ratio_bytes = sizes.feature_bytes(plan)

    # The edge where the window begins: its position, time and number; and its end's number.
    assert count == 8 * 4
    assert mean == 8 * (4 + 2)
    assert ratio_bytes == 8 * (2 + 2)  # the edge without totals, the cached extreme
    assert max(count, mean, ratio_bytes) < sizes.row_bytes(plan.tables[0], PAYMENTS).key


def test_a_row_function_takes_no_state() -> None:
    plan = replace(
        plan_of(table_of([Op(Stat.COUNT, 1, 0)], columns=()), rows=[RowNode(0, Row.HOUR)])
    )

    assert sizes.feature_bytes(plan)[0] == 0


def test_leaving_out_the_longest_windows_shortens_what_is_held() -> None:
    ops = [Op(Stat.COUNT, 0, 0), Op(Stat.COUNT, 1, 1), Op(Stat.SUM, 2, 1, 0)]
    table = table_of(ops, [Window(DAY), Window(30 * DAY)])
    plan = plan_of(table)

    assert sizes.longest(plan, table) == (1, 2)
    shorter = sizes.without(plan, (1, 2))

    assert sizes.held_us(plan, shorter.tables[0]) == DAY + HOUR
    assert shorter.tables[0].columns == ()
    assert sizes.predict(shorter, load(10.0, 100)).memory < (
        sizes.predict(plan, load(10.0, 100)).memory
    )


def test_a_table_goes_with_its_last_feature_and_an_entity_with_its_last_table() -> None:
    own = table_of([Op(Stat.COUNT, 0, 0)], columns=())
    terminal = table_of([], [], (), entity="terminal")
    labels = table_of([Op(Stat.SUM, 1, 0, 0)], stream=1, entity="terminal")
    plan = plan_of(own, terminal, labels, streams=(PAYMENTS, LABELS))

    assert sizes.without(plan, ()).tables == plan.tables
    assert sizes.without(plan, (1,)).tables == (own,)
    assert sizes.without(plan, (0,)).tables == (terminal, labels)


def test_a_redis_row_has_a_head_a_word_a_value_and_two_where_it_moves() -> None:
    plan = plan_of(table_of([Op(Stat.COUNT, 0, 0), Op(Stat.SINCE_LAST, 1)], columns=()))

    # Layout version, fingerprint, seq, time, valid_until; a value; an anchor and a value.
    assert sizes.redis_bytes(plan, "card") == 2 + 32 + 8 + 8 + 8 + 8 + 16
