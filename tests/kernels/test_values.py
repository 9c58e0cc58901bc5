"""The multiset of ``distinct`` beside a dictionary."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from noskew.kernels.layout import COUNTER_USED
from noskew.kernels.values import FREE, OWNER, WIDTH, change, forget, has, rehash

OWNERS = st.integers(0, 4)
VALUES = st.one_of(st.integers(-3, 3), st.sampled_from([2**40, -(2**40), 2**62]))
STEPS = st.lists(st.tuples(OWNERS, VALUES, st.sampled_from([1, -1])), max_size=60)


def empty(rows: int) -> np.ndarray:
    table = np.zeros((rows, WIDTH), np.int64)
    table[:, OWNER] = FREE
    return table


@given(STEPS)
def test_it_counts_as_a_dictionary_does(steps: list[tuple[int, int, int]]) -> None:
    rows, used = empty(64), np.zeros(12, np.int64)
    counts: Counter[tuple[int, int]] = Counter()
    for owner, value, by in steps:
        before = counts[owner, value] > 0
        counts[owner, value] += by
        expected = int(counts[owner, value] > 0) - int(before)

        assert change(rows, used, owner, value, by) == expected
        assert has(rows, owner, value) == int(counts[owner, value] > 0)
    assert used[COUNTER_USED] == sum(count != 0 for count in counts.values())
    assert used[COUNTER_USED] == (rows[:, OWNER] != FREE).sum()

    larger = empty(256)
    rehash(rows, larger)

    for (owner, value), count in counts.items():
        assert has(larger, owner, value) == int(count > 0)


@given(STEPS)
def test_what_is_forgotten_is_gone_and_the_rest_stays(steps: list[tuple[int, int, int]]) -> None:
    rows, used = empty(64), np.zeros(12, np.int64)
    counts: Counter[tuple[int, int]] = Counter()
    for owner, value, by in steps:
        counts[owner, value] += by
        change(rows, used, owner, value, by)
    for owner, value in counts:
        if owner == 0:
            forget(rows, used, owner, value)

    for (owner, value), count in counts.items():
        assert has(rows, owner, value) == int(count > 0 and owner != 0)
