"""Pools grow, shrink and are compacted at any moment, and no answer changes; long and full keys."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from slow_table import WINDOWS as SLOW_WINDOWS
from slow_table import drawn, ops_of
from tables import answers, check, lane_of, plan_of, small_pools, stream_of

from noskew.dataflows.core.table import Table
from noskew.dataflows.definition.plan import Op, Stat, Window
from noskew.kernels.layout import (
    CHUNK,
    CHUNK_COUNT,
    CHUNK_JUMP,
    CHUNK_NEXT,
    CHUNK_OWNER,
    CHUNK_PREVIOUS,
    CHUNK_SERIAL,
    CHUNK_TOTALS,
    COUNTER_CHUNKS,
    COUNTER_FREE_CHUNK,
    COUNTER_FREED_CHUNKS,
    COUNTERS,
    END,
    FLAG_CAPPED,
    FOREVER,
    INSERT,
    NULL,
    SLOT_COUNT,
    SLOT_FIRST,
    SLOT_LAST,
    SLOT_LIVE,
)
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from noskew.dataflows.core.lane import Lane

SECOND = 1_000_000
HOUR = 3600 * SECOND
START = 1_700_000_000 * SECOND

OPS = (
    Op(Stat.COUNT, 0, 0),
    Op(Stat.SUM, 1, 0, 0),
    Op(Stat.MIN, 2, 0, 0, empty=math.nan),
    Op(Stat.FIRST, 3, 0, 0, empty=math.nan),
    Op(Stat.LAST, 4, 0, 0, empty=math.nan),
    Op(Stat.DISTINCT, 5, 0, 0),
)
WINDOWS = (Window(HOUR),)


@pytest.fixture
def small() -> Iterator[None]:
    with small_pools():
        yield


@pytest.mark.parametrize("seed", range(6))
def test_a_table_that_grows_and_shrinks_all_the_time_equals_the_slowest_reading(
    small: None, seed: int
) -> None:
    given = drawn(seed, 250)
    often = sorted({*given.cuts, *range(0, 250, 10)})
    check(replace(given, cuts=often), shrink_and_look)


@pytest.mark.parametrize("seed", range(4))
def test_chunks_that_move_change_no_answer(seed: int) -> None:
    """Three keys of many chunks, freed at their old ends and out of their middles."""
    rng = random.Random(seed)
    plan, stream = plan_of(ops_of(rng), SLOW_WINDOWS), stream_of(revise=seed % 2 == 1)
    untouched, moved = Table(plan, stream), 0
    with small_pools():
        table = Table(plan, stream)
        for lane in busy(rng, 20, 30, revise=seed % 2 == 1):
            assert np.array_equal(answers(table, lane), answers(untouched, lane), equal_nan=True)
            before = table._state.chunks[:, CHUNK_SERIAL].copy()
            shrink_and_look(table)
            moved += where_they_were(table._state.chunks[:, CHUNK_SERIAL], before)
    assert look_at_chunks(untouched).keys() == look_at_chunks(table).keys()
    assert moved > 30


def busy(rng: random.Random, lanes: int, size: int, *, revise: bool) -> Iterator[Lane]:
    """Yield records of which a day's worth fills many chunks, every fifth long after its time."""
    newest, known = START, list[tuple[int, int]]()
    for _ in range(lanes):
        keys, times, handles, old_us = list[int](), list[int](), list[int](), list[int]()
        for _ in range(size):
            newest += rng.choice([0, 1, SECOND, HOUR // 6, HOUR // 3, HOUR // 3])
            keys.append(rng.choice([1, 1, 1, 2, 2, 3]))
            times.append(newest - rng.choice([0, 0, 0, 0, rng.randrange(20 * HOUR)]))
            open_since = [one for one in known if one[1] > newest - 20 * HOUR]
            again = rng.choice(open_since) if open_since and rng.random() < 0.2 else None
            handle, before_us = again if revise and again is not None else (len(known), NULL)
            known.append((handle, times[-1]))
            handles.append(handle if revise else -1)
            old_us.append(before_us)
        values = [rng.randrange(-9, 9) for _ in keys]
        bits = [rng.randrange(2) for _ in keys]
        yield lane_of(
            keys, times, values, bits=bits, horizon_us=newest - HOUR, fold_us=newest - 20 * HOUR,
            handle=handles, old_us=old_us,
        )  # fmt: skip


def where_they_were(after: NDArray[np.int64], before: NDArray[np.int64]) -> int:
    """Return how many live chunks, known by their serials, lie elsewhere than before."""
    places = {serial: at for at, serial in enumerate(before.tolist())}
    return sum(
        places.get(serial, at) != at
        for at, serial in enumerate(after.tolist())
        if serial != FOREVER
    )


def shrink_and_look(table: Table) -> None:
    """Shrink a table: chunks may lie elsewhere afterwards, and nothing else is different."""
    before = look_at_chunks(table)
    table.shrink()
    assert table._state.aux[COUNTERS, COUNTER_FREED_CHUNKS] == 0
    assert look_at_chunks(table) == before


def look_at_chunks(table: Table) -> dict[int, list[Any]]:
    """Return what each slot holds, chunks said by their place in its list, not in the pool.

    Asserts that every key's chunks hold its entries in order and are linked both ways, that a jump
    that is followed leads back, and that each edge stands at an entry of its own key.
    """
    state, found, chunks = table._state, dict[int, list[Any]](), 0
    for slot in np.flatnonzero(state.slots[:, SLOT_LIVE] == 1).tolist():
        key = state.slots[slot]
        place: dict[int, int] = {END: END}
        chunk, last, times, held = int(key[SLOT_FIRST]), END, list[int](), list[Any]()
        while chunk != END:
            assert 0 <= chunk < state.aux[COUNTERS, COUNTER_CHUNKS]
            assert chunk not in place, "the links lead round in a circle"
            row = state.chunks[chunk]
            assert (row[CHUNK_OWNER], row[CHUNK_PREVIOUS]) == (slot, last)
            jump = int(row[CHUNK_JUMP])
            if jump != END and state.chunks[jump, CHUNK_SERIAL] >= row[CHUNK_SERIAL]:
                jump = END  # of a chunk that was freed: not followed
            assert jump in place
            mine = state.entries[chunk * CHUNK : chunk * CHUNK + row[CHUNK_COUNT]]
            assert len(mine)
            times += mine[:, 0].tolist()
            held.append((place[jump], row[CHUNK_SERIAL], *row[CHUNK_TOTALS:], mine.tolist()))
            place[chunk] = len(held)
            chunk, last = int(row[CHUNK_NEXT]), chunk
        chunks += len(held)
        assert last == key[SLOT_LAST]
        assert times == sorted(times)
        assert len(times) == key[SLOT_COUNT]
        for field in table._made.edge_positions.tolist():
            chunk, at = END if key[field] == END else key[field] // CHUNK, key[field] % CHUNK
            assert chunk == END or at < state.chunks[chunk, CHUNK_COUNT]
            held.append((place[chunk], at))
        found[slot] = held
    assert sum(state.slots[slot, SLOT_COUNT] for slot in found) == table.entries
    free, freed = int(state.aux[COUNTERS, COUNTER_FREE_CHUNK]), 0
    while free != END and freed <= len(state.chunks):
        free, freed = int(state.chunks[free, CHUNK_NEXT]), freed + 1
    assert freed == state.aux[COUNTERS, COUNTER_FREED_CHUNKS]
    assert chunks + freed == state.aux[COUNTERS, COUNTER_CHUNKS]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_freeing_ripe_keys_and_shrinking_change_no_answer(seed: int) -> None:
    rng = random.Random(seed)
    plan = plan_of(OPS, WINDOWS, key_type="string" if seed % 2 else "int")
    untouched = Table(plan, stream_of())
    with small_pools():
        compare_with(untouched, Table(plan, stream_of()), rng, strings=seed % 2 == 1)


def compare_with(untouched: Table, table: Table, rng: random.Random, *, strings: bool) -> None:
    now = START
    for _ in range(8):
        keys, times, values, horizons = [], [], [], []
        for _ in range(60):
            now += rng.choice([0, SECOND, 120 * SECOND])
            key = rng.choice([rng.randrange(5), rng.randrange(1000)])
            keys.append(f"key {key} " + key % 7 * "x" if strings else key)
            times.append(now - rng.choice([0, 0, 0, 600 * SECOND]))
            values.append(rng.randrange(10))
            horizons.append(now - 600 * SECOND)
        lane = lane_of(keys, times, values, horizon_us=horizons)  # type: ignore[arg-type]  # texts or numbers, not both
        assert np.array_equal(answers(table, lane), answers(untouched, lane), equal_nan=True)
        ripe = table.ripe(horizons[-1] - HOUR)
        assert not set(texts(table, ripe)) & set(keys[-1:])
        table.free(ripe)
        table.shrink()
        look_at_chunks(table)
    assert table.keys < untouched.keys
    assert table.memory < untouched.memory


def texts(table: Table, slots: NDArray[np.int64]) -> list[int | str | None]:
    keys = table.keys_of(slots)
    return list(keys.to_list()) if isinstance(keys, Strings) else list(keys.tolist())


def test_string_keys_are_told_apart_after_any_number_have_come_and_gone(small: None) -> None:
    table = Table(plan_of(OPS[:1], WINDOWS, key_type="string"), stream_of())
    seen: dict[str, int] = {}
    rng = random.Random(1)
    for turn in range(40):
        now = START + turn * HOUR // 4
        keys = [("ab" * rng.randrange(9)) + str(rng.randrange(30)) for _ in range(25)]
        found = answers(table, lane_of(keys, now, 1))[0].tolist()
        expected = []
        for key in keys:
            seen[key] = seen.get(key, 0) + 1
            expected.append(seen[key])
        if turn < 4:
            assert found == expected
        gone = rng.sample(sorted(seen), len(seen) // 2)
        table.free(table.slots_of(Strings.from_list(gone)))
        for key in gone:
            del seen[key]
        slots = table.slots_of(Strings.from_list(sorted(seen)))
        assert (slots > 0).all()
        assert texts(table, slots) == sorted(seen)
        assert (table.slots_of(Strings.from_list(gone)) == -1).all()
    assert len(table._state.heap) < 5_000, "bytes of keys that are gone were never taken back"


@pytest.mark.parametrize("revise", [False, True])
def test_long_key_filled_in_random_order_equals_a_list(small: None, *, revise: bool) -> None:
    """5,000 entries, every fifth of which then moves to another time and value."""
    check_long_key(5_000, 20 * 3600, revise=revise)


@pytest.mark.parametrize("revise", [False, True])
def test_long_key_of_many_entries_of_one_time_equals_a_list(small: None, *, revise: bool) -> None:
    check_long_key(700, 20, revise=revise)


def check_long_key(count: int, times_in_20_h: int, *, revise: bool) -> None:
    """Fill a key in random order; ``times_in_20_h``: how many different times there are."""
    rng = random.Random(7)
    step = 20 * HOUR // times_in_20_h
    table = Table(plan_of(OPS, WINDOWS), stream_of(revise=revise))
    times = [START + rng.randrange(times_in_20_h) * step for _ in range(count)]
    values = [rng.randrange(300) for _ in range(count)]
    handles = list(range(count)) if revise else [-1] * count
    answers(table, lane_of([1] * count, times, values, action=INSERT, handle=handles))
    held = list(enumerate(zip(times, values, strict=True)))
    if revise:
        moved = rng.sample(range(count), count // 5)
        new = [(START + rng.randrange(times_in_20_h) * step, rng.randrange(300)) for _ in moved]
        answers(
            table,
            lane_of(
                [1] * len(moved), [us for us, _ in new], [a for _, a in new],
                action=INSERT, handle=moved, old_us=[times[place] for place in moved],
            ),
        )  # fmt: skip
        gone = set(moved)
        held = [one for one in held if one[0] not in gone]
        held += [(count + i, one) for i, one in enumerate(new)]

    look_at_chunks(table)
    entries = sorted((us, order, value) for order, (us, value) in held)
    asked = [START + rng.randrange(-1, times_in_20_h * 11 // 10) * step for _ in range(150)]
    slots, low = np.ones(150, np.int64), np.full(150, START - 24 * HOUR)
    _, words = table.read(slots, np.array(asked), low, low)
    found = words.view(np.float64)
    assert table.entries == count
    for row, at_us in enumerate(asked):
        inside = [value for us, _, value in entries if at_us - HOUR < us <= at_us]
        ends = [min(inside), inside[0], inside[-1]] if inside else [math.nan] * 3
        expected = [len(inside), sum(inside), *ends, len(set(inside))]
        assert np.array_equal(found[row], np.array(expected, float), equal_nan=True), at_us


def test_any_place_of_a_long_key_is_found_in_few_steps() -> None:
    chunks = 200
    table = Table(plan_of(OPS[:1], WINDOWS), stream_of())
    count = chunks * CHUNK
    times = START + np.arange(count) * SECOND
    answers(table, lane_of([1] * count, times, 1, action=INSERT))

    state, most = table._state, 0
    for target in range(chunks):
        # As ``chunks.upper_bound`` goes: by the jump where it does not lead too far back.
        chunk, steps = chunks - 1, 0
        while chunk != target:
            jump = int(state.chunks[chunk, CHUNK_JUMP])
            chunk = jump if jump != END and jump >= target else chunk - 1
            steps += 1
        most = max(most, steps)

    assert most <= 3 * math.log2(chunks)


def test_full_key_takes_entries_again_once_old_ones_are_out_of_reach() -> None:
    table = Table(plan_of(OPS[:1], WINDOWS), stream_of(), key_cap=3)
    after = [0, 1, 2, 3, 4, 3600, 3601, 3602, 3603, 7300]
    times = [START + second * SECOND for second in after]
    nodes, flags = np.zeros((1, len(after))), np.zeros(len(after), np.int32)

    table.process(lane_of([1] * len(after), times, 1, horizon_us=times), nodes, flags)

    # What was not taken still counts itself. At 3600 s those at 0 s are out of reach, and so on.
    assert nodes[0].tolist() == [1, 2, 3, 4, 4, 3, 3, 3, 4, 1]
    full = [number for number, flag in enumerate(flags.tolist()) if flag & FLAG_CAPPED]
    assert full == [3, 4, 8]
    # Once, and again when it is full again.
    assert [(cap.key, cap.partition, cap.seq) for cap in table.caps] == [(1, 0, 3), (1, 0, 8)]
    assert table.entries <= 2 * CHUNK


def test_full_key_of_several_chunks_equals_a_list() -> None:
    most, rng = 3 * CHUNK - 5, random.Random(3)
    table = Table(plan_of(OPS[:1], WINDOWS), stream_of(), key_cap=most)
    now, taken, full, times, horizons = START, list[int](), list[int](), [], []
    for number in range(600):
        now += rng.choice([0, 0, 10, 40, 60]) * SECOND
        times.append(now - rng.choice([0, 0, 300, 600]) * SECOND)
        horizons.append(now - 600 * SECOND)
        if sum(us > horizons[-1] - HOUR for us in taken) >= most:
            full.append(number)
        else:
            taken.append(times[-1])

    flags = np.zeros(600, np.int32)
    table.process(lane_of([1] * 600, times, 1, horizon_us=horizons), np.zeros((1, 600)), flags)

    assert 100 < len(full) < 500
    assert np.flatnonzero(flags & FLAG_CAPPED).tolist() == full


def test_freed_chunks_belong_to_nobody() -> None:
    table = Table(plan_of(OPS, WINDOWS), stream_of())
    answers(table, lane_of([1] * 100 + [2] * 100, START, 1))
    table.free(np.array([1]))

    state = table._state
    freed = np.flatnonzero(state.chunks[:, CHUNK_SERIAL] == FOREVER)
    assert len(freed) == state.aux[COUNTERS, COUNTER_FREED_CHUNKS] == 4
    assert (state.chunks[freed, CHUNK_OWNER] == END).all()
    assert (table.keys, table.entries) == (1, 100)
