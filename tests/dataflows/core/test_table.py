"""A table's arrays after every batch: sorted chunks, exact edges, reused slots, found keys."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from noskew.dataflows.core.batch import Batch
from noskew.dataflows.core.table import Table
from noskew.dataflows.definition.plan import Stat, TablePlan
from noskew.kernels.layout import (
    CHUNK,
    CHUNK_COLUMNS,
    CHUNK_COUNT,
    CHUNK_NEXT,
    CHUNK_PREVIOUS,
    COUNTER_CHUNKS,
    COUNTER_FREED_CHUNKS,
    COUNTER_SLOTS,
    EDGE_COUNT,
    EDGE_POSITION,
    END,
    MODE_INSERT,
    NO_TIME,
    NULL,
    PLAN_FIELD,
    PLAN_LOW,
    PLAN_OFFSET,
    SLOT_AS_OF,
    SLOT_COUNT,
    SLOT_FIRST,
    SLOT_LAST,
    SLOT_LIVE,
    SLOT_NEWEST,
    SLOT_REACHED,
    UNKNOWN,
)
from noskew.schemas.columns import Strings


def plan(*, strings: bool = False) -> TablePlan:
    """Count, sum and maximum over 10 us and 60 us, the latter delayed by 5 us as well."""
    return TablePlan(
        stream=0,
        entity="key",
        key_type="string" if strings else "int",
        primary=True,
        columns=("x",),
        edge_offset_us=np.array([0, 10, 60, 5, 65], np.int64),
        edge_low=np.array([False, True, True, False, True]),
        window_low=np.array([1, 2, 4], np.int32),
        window_high=np.array([0, 0, 3], np.int32),
        op_kind=np.array([Stat.COUNT, Stat.SUM, Stat.MAX, Stat.COUNT], np.int32),
        op_window=np.array([0, 1, 1, 2], np.int32),
        op_column=np.array([-1, 0, 0, -1], np.int32),
        op_node=np.arange(4, dtype=np.int32),
        row_ops=np.arange(4, dtype=np.int32),
        row_names=("a", "b", "c", "d"),
        reach_us=65,
        anchored=False,
    )


def feed(
    table: Table,
    times: list[int],
    keys: list[Any],
    values: list[int] | None = None,
    horizon_us: int = NO_TIME,
    seq: int = 0,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Insert records into a table, all with one horizon."""
    count = len(times)
    column = Strings.from_list(keys) if isinstance(keys[0], str) else np.array(keys, np.int64)
    time = np.array(times, np.int64)
    batch = Batch(
        stream=0,
        partition=np.zeros(count, np.int32),
        offset=np.arange(count),
        record_time_us=time,
        time_us=time,
        available_us=time,
        reason=np.zeros(count, np.uint8),
        columns={"key": column, "x": np.array(values or [1] * count, np.int64)},
        seq=seq,
    )
    nodes = np.empty((4, count))
    table.process(
        batch,
        np.full(count, horizon_us, np.int64),
        np.full(count, MODE_INSERT, np.uint8),
        nodes,
        np.zeros(count, np.int32),
    )
    return nodes


def held(table: Table, slot: int) -> list[tuple[int, int, int]]:
    """Return a key's (position, time, value) in order, checking its chunks on the way."""
    state = table._state
    found: list[tuple[int, int, int]] = []
    before, chunk = END, int(state.slots[slot, SLOT_FIRST])
    while chunk != END:
        count, previous = state.chunks[chunk, [CHUNK_COUNT, CHUNK_PREVIOUS]].tolist()
        assert 0 < count <= CHUNK
        assert previous == before
        part = state.entries[chunk * CHUNK : chunk * CHUNK + count]
        known = part[:, 1][part[:, 1] != NULL]
        totals = state.chunks[chunk, CHUNK_COLUMNS : CHUNK_COLUMNS + 4].tolist()
        assert totals[:2] == [known.sum(), len(known)]
        if len(known):
            assert totals[2:] == [known.min(), known.max()]
        found += [(chunk * CHUNK + i, *row) for i, row in enumerate(part.tolist())]
        before, chunk = chunk, int(state.chunks[chunk, CHUNK_NEXT])
    assert before == state.slots[slot, SLOT_LAST]
    return found


def check(table: Table) -> None:
    """Check every sentence of ``slabs`` that holds between calls, and that no chunk is lost."""
    state, shape = table._state, table._shape
    chunks = 0
    for slot in range(1, int(state.counters[COUNTER_SLOTS])):
        if not state.slots[slot, SLOT_LIVE]:
            continue
        entries = held(table, slot)
        chunks += len({position // CHUNK for position, *_ in entries})
        times = [time for _, time, _ in entries]
        assert times == sorted(times)
        assert state.slots[slot, SLOT_COUNT] == len(entries)
        assert state.slots[slot, SLOT_NEWEST] == times[-1]
        for offset, low, field in shape.edges[:, [PLAN_OFFSET, PLAN_LOW, PLAN_FIELD]].tolist():
            limit = state.slots[slot, SLOT_REACHED if low else SLOT_AS_OF] - offset
            inside = [value for _, time, value in entries if time <= limit]
            beyond = [position for position, time, _ in entries if time > limit]
            assert state.slots[slot, field + EDGE_POSITION] == (beyond or [END])[0]
            assert state.slots[slot, field + EDGE_COUNT] == len(inside)
            total = sum(value for value in inside if value != NULL)
            assert state.slots[slot, field + shape.columns[0, 0]] == total
        cached = state.slots[slot, shape.extremes[0, PLAN_FIELD]]
        reached, as_of = state.slots[slot, [SLOT_REACHED, SLOT_AS_OF]].tolist()
        members = [v for _, t, v in entries if reached - 60 < t <= as_of and v != NULL]
        assert cached in {UNKNOWN, max(members, default=-(2**62))}
    taken = state.counters[COUNTER_CHUNKS] - state.counters[COUNTER_FREED_CHUNKS]
    assert taken == chunks
    assert table.entries == sum(
        int(state.slots[slot, SLOT_COUNT])
        for slot in range(1, int(state.counters[COUNTER_SLOTS]))
        if state.slots[slot, SLOT_LIVE]
    )


_RECORDS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 1), st.one_of(st.just(NULL), st.integers(-5, 5))),
    min_size=1,
    max_size=150,
)


@given(_RECORDS, st.integers(1, 50), st.integers(-300, 150))
def test_chunks_edges_and_extremes_hold_after_inserts_at_any_time(
    records: list[tuple[int, int, int]], size: int, horizon_us: int
) -> None:
    table = Table(plan(), frozenset({"x"}))

    for at in range(0, len(records), size):
        times, keys, values = (list(part) for part in zip(*records[at : at + size], strict=True))
        feed(table, times, keys, values, horizon_us + at)
        check(table)
        table.sweep(horizon_us + at)
        check(table)
        table.drain()
        check(table)


def test_a_long_history_is_dropped_from_the_front_and_its_chunks_are_reused() -> None:
    table = Table(plan(), frozenset())

    for start in range(0, 20_000, 500):
        feed(table, list(range(start, start + 500)), [7] * 500, horizon_us=start)
        check(table)

    assert table.entries < 500 + 65 + 2 * CHUNK
    assert int(table._state.counters[COUNTER_CHUNKS]) <= 2 + (500 + 65) // CHUNK + 2


def test_keys_that_are_gone_leave_their_slot_to_others_and_are_reported_once() -> None:
    table = Table(plan(), frozenset())
    feed(table, [100, 101, 102], [1, 2, 3])
    first = table.drain()

    table.sweep(166)  # the horizon passed key 1 and 2 by 65 us, not key 3
    feed(table, [170], [4], horizon_us=166)
    rows = table.drain()

    assert np.asarray(first.key).tolist() == [1, 2, 3]
    assert np.asarray(rows.gone).tolist() == [1, 2]
    assert np.asarray(rows.key).tolist() == [4]
    assert set(rows.slot) < set(first.slot)
    assert table.keys == 2
    assert np.asarray(table.drain().gone).tolist() == []


def test_a_key_that_comes_back_before_the_drain_is_not_reported_gone() -> None:
    table = Table(plan(), frozenset())
    feed(table, [100, 100], [1, 2])

    table.sweep(165)
    feed(table, [166], [1], horizon_us=165)
    rows = table.drain()

    assert np.asarray(rows.gone).tolist() == [2]
    assert np.asarray(rows.key).tolist() == [1]


def test_a_gone_key_starts_anew_whether_or_not_it_was_swept() -> None:
    swept, unswept = Table(plan(), frozenset()), Table(plan(), frozenset())

    for table in (swept, unswept):
        feed(table, [100], [1])
        if table is swept:
            table.sweep(165)
        feed(table, [300], [1], horizon_us=165)

    assert swept.entries == unswept.entries == 1


@given(st.lists(st.lists(st.integers(-40, 40), min_size=1, max_size=60), max_size=12))
def test_every_key_is_found_through_growth_and_removal(batches: list[list[int]]) -> None:
    table = Table(plan(), frozenset())
    newest: dict[int, int] = {}

    for round_, keys in enumerate(batches):
        scattered = [key * 2**33 + key for key in keys]
        horizon_us = 100 * round_ - 150
        feed(table, [100 * round_] * len(keys), scattered, horizon_us=horizon_us)
        newest.update(dict.fromkeys(scattered, 100 * round_))
        table.sweep(horizon_us)
        newest = {key: time for key, time in newest.items() if time + 65 > horizon_us}

        assert table.keys == len(newest)

    table.drain()
    if newest:
        feed(table, [5000] * len(newest), list(newest))
        assert sorted(np.asarray(table.drain().key).tolist()) == sorted(newest)
        assert table.keys == len(newest)


def test_thousands_of_keys_make_every_pool_grow() -> None:
    table = Table(plan(), frozenset())
    keys = list(range(10_000))

    counts = feed(table, [100] * 20_000, keys + keys)[0]

    assert counts.tolist() == [1.0] * 10_000 + [2.0] * 10_000
    assert table.keys == 10_000
    assert len(table.drain()) == 10_000


def test_text_keys_are_compared_by_all_their_bytes_and_their_room_is_reclaimed() -> None:
    table = Table(plan(strings=True), frozenset())
    long = "k" * 10_000
    keys = ["", "a", "aa", "ä", long, long + "x"]

    for round_ in range(30):
        at = 1000 * round_
        counts = feed(table, [at] * 12, keys + keys, horizon_us=at - 100)[0]
        assert counts.tolist() == [1.0] * 6 + [2.0] * 6
        rows = table.drain()
        assert isinstance(rows.key, Strings)
        assert rows.key.to_list() == keys
        table.sweep(at + 65)
        gone = table.drain().gone
        assert isinstance(gone, Strings)
        assert sorted(str(key) for key in gone.to_list()) == sorted(keys)

    assert len(table._state.heap) < 200_000


def test_a_row_holds_until_the_next_member_enters_or_leaves() -> None:
    table = Table(plan(), frozenset())

    feed(table, [100, 103], [1, 1])
    first = table.drain()
    feed(table, [200], [1])
    second = table.drain()

    assert first.time_us.tolist() == [103]
    assert first.until_us.tolist() == [105]  # the first entry enters the delayed window
    assert second.until_us.tolist() == [205]


def test_memory_and_slots_do_not_depend_on_how_records_are_cut_into_batches() -> None:
    times = [(i * 37) % 211 + i for i in range(400)]
    keys = [i % 5 for i in range(400)]
    whole, single = Table(plan(), frozenset()), Table(plan(), frozenset())

    together = feed(whole, times, keys)
    apart = np.concatenate([feed(single, [times[i]], [keys[i]], seq=i) for i in range(400)], axis=1)

    assert np.array_equal(together, apart)
    for place in ("lookup", "slots", "chunks", "entries"):
        one, other = (getattr(table._state, place) for table in (whole, single))
        assert np.array_equal(one, other)
