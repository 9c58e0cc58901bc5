"""A table's memory follows what it has to hold, up and down."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tables import answers, lane_of, plan_of, small_pools, stream_of

from noskew.dataflows.core.table import Table
from noskew.dataflows.definition.plan import Op, Stat, Window
from noskew.kernels.layout import CHUNK, COUNTER_CHUNKS, COUNTERS, EVALUATE, INSERT

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = 1_000_000
HOUR = 3600 * SECOND
START = 1_700_000_000 * SECOND

OPS = (Op(Stat.COUNT, 0, 0), Op(Stat.SUM, 1, 0, 0))
WITH_DISTINCT = (*OPS, Op(Stat.DISTINCT, 2, 0, 0))


@pytest.fixture
def small() -> Iterator[None]:
    with small_pools():
        yield


def table_of(ops: tuple[Op, ...] = OPS, key_type: str = "int") -> Table:
    return Table(plan_of(ops, (Window(HOUR),), key_type=key_type), stream_of())


@pytest.mark.parametrize("ops", [OPS, WITH_DISTINCT])
def test_memory_falls_when_keys_have_gone_and_the_rest_answers_as_before(
    small: None, ops: tuple[Op, ...]
) -> None:
    table = table_of(ops)
    keys = [key for key in range(400) for _ in range(3)]
    amounts = np.arange(len(keys)) % 7
    answers(table, lane_of(keys, START, amounts, action=INSERT))
    reader = lane_of(list(range(380, 400)), START + 1, 0, action=EVALUATE)
    before, full = answers(table, reader), table.memory
    assert before[0].tolist() == [3.0] * 20

    table.free(table.slots_of(np.arange(380)))
    table.shrink()

    held = table._state.chunks.nbytes + table._state.entries.nbytes + table._state.values.nbytes
    assert (table.keys, table.entries) == (20, 60)
    # What a slot takes stays: it is small beside what it held.
    assert held < 0.2 * full
    assert table.memory < 0.6 * full
    assert np.array_equal(answers(table, reader), before)


def test_memory_that_is_mostly_in_use_is_kept() -> None:
    table = table_of()
    answers(table, lane_of(list(range(3000)), START, 1, action=INSERT))
    table.free(table.slots_of(np.arange(500)))
    before = table.memory

    table.shrink()

    assert table.memory == before


def test_what_was_given_back_can_be_taken_again(small: None) -> None:
    table = table_of(WITH_DISTINCT, "string")
    sizes = []
    for turn in range(6):
        keys = [f"{turn} {key}" for key in range(100)]
        now = START + turn * 2 * HOUR
        found = answers(table, lane_of(keys * 2, now, 3, horizon_us=now))
        assert found[:, :100].tolist() == [[1.0] * 100, [3.0] * 100, [1.0] * 100]
        assert found[:, 100:].tolist() == [[2.0] * 100, [6.0] * 100, [1.0] * 100]
        sizes.append(table.memory)
        table.free(table.ripe(now))
        table.shrink()
        assert (table.keys, table.entries) == (0, 0)
        assert table.memory < sizes[-1]

    assert max(sizes[1:]) <= 1.5 * sizes[0]


def test_memory_of_a_stream_that_goes_on_stays_as_it_is() -> None:
    """One key, an entry a second: what no window reaches any more makes room for what comes."""
    table = table_of()
    per_turn = 1800
    held, memory = [], []
    for turn in range(10):
        times = START + (turn * per_turn + np.arange(per_turn)) * SECOND
        answers(table, lane_of([1] * per_turn, times, 1, action=INSERT, horizon_us=times))
        held.append(table.entries)
        memory.append(table.memory)

    # Two turns are in reach of a window; a chunk goes when all of it is out of reach.
    assert max(held) <= 2 * per_turn + 2 * CHUNK
    assert len(set(memory[3:])) == 1
    assert table._state.aux[COUNTERS, COUNTER_CHUNKS] <= 2 * per_turn / CHUNK + 4


def test_key_that_is_not_read_while_its_chunks_go_answers_as_one_that_is() -> None:
    """Its edges stood in chunks that were dropped under them."""
    table = table_of(WITH_DISTINCT)
    times = START + np.arange(800) * 10 * SECOND
    answers(table, lane_of([1] * 20, times[:20], np.arange(20), horizon_us=times[:20]))

    answers(
        table,
        lane_of(
            [1] * 780, times[20:], np.arange(20, 800) % 50, action=INSERT, horizon_us=times[20:]
        ),
    )
    assert table.entries < 500
    found = answers(table, lane_of([1], times[-1], 0, action=EVALUATE, horizon_us=times[-1]))

    inside = [i % 50 for i in range(800) if times[i] > times[-1] - HOUR]
    assert found[:, 0].tolist() == [len(inside), sum(inside), len(set(inside))]


def test_counts_of_values_that_no_window_holds_are_given_back(small: None) -> None:
    table = table_of(WITH_DISTINCT)
    answers(table, lane_of([1] * 600, START, np.arange(600)))
    wide = len(table._state.values)
    later = START + 2 * HOUR

    answers(table, lane_of([1] * 70, later + np.arange(70), 5, horizon_us=later))
    table.shrink()

    assert len(table._state.values) < wide
    assert answers(table, lane_of([1], later + 100, 5))[2].tolist() == [1.0]


def test_growth_of_a_large_table_is_far_from_doubling_it() -> None:
    table = table_of()
    keys = list(range(6000))
    sizes = [table.memory]
    for first in range(0, 6000, 200):
        answers(table, lane_of(keys[first : first + 200], START, 1, action=INSERT))
        sizes.append(table.memory)

    # Pools grow by a quarter once they are large; several at once.
    assert max(after / before for before, after in itertools.pairwise(sizes[10:])) < 1.7
    assert sizes[-1] > sizes[0]
