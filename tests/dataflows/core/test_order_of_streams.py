"""The order of records of two streams: what one stream has, the other has too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orders import NONE_HELD, batch, came, canonical, places, runs, waiting

from noskew.dataflows.core.order import BATCH_MAX, Journaled, Merged
from noskew.dataflows.errors import UnsafeResumeError
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from orders import Place, Record


def test_a_tie_of_clocks_is_the_first_streams_then_the_first_partitions() -> None:
    rows = waiting(2, 2)
    payments = batch([(1, 0, 5), (1, 1, 6)])
    labels = batch([(0, 0, 5), (1, 0, 4), (1, 1, 5)], stream=1)
    rows.add([payments, labels])
    merged = Merged(4, None, lambda: 0.0)

    (turn,) = merged.take(rows, np.ones(4, np.bool_), 10)

    assert places([turn]) == [(3, 0), (1, 0), (2, 0), (3, 1), (1, 1)]
    assert turn.stream.tolist() == [1, 0, 1, 1, 0]
    assert (turn.seq, turn.end) == (10, 15)
    assert [one.seq.tolist() for one in turn.batches] == [[11, 14], [10, 12, 13]]
    assert rows.taken_us.tolist() == [-(2**62), 6, 5, 5]


def test_another_streams_partition_is_waited_for_and_given_up_like_any() -> None:
    now_s = [0.0]
    rows = waiting(1, 1)
    merged = Merged(2, 1.0, lambda: now_s[0])
    rows.add([batch([(0, 0, 5)]), batch([], stream=1)])
    merged.delivered(came(True, False), NONE_HELD, drained=True)

    assert places(merged.take(rows, NONE_HELD, 0)) == []
    now_s[0] = 1.5
    assert places(merged.take(rows, NONE_HELD, 0)) == [(0, 0)]
    assert merged.ran_out == 1

    rows.add([batch([(0, 1, 9)]), batch([(0, 0, 1)], stream=1)])
    merged.delivered(came(True, True), NONE_HELD, drained=True)
    assert places(merged.take(rows, np.array([True, True]), 1)) == [(1, 0), (0, 1)]


def test_more_than_one_turn_holds_is_taken_in_turns_of_both_streams() -> None:
    many = BATCH_MAX - 1
    rows = waiting(1, 1)
    rows.add(
        [
            batch([(0, i, 2 * i) for i in range(many)]),
            batch([(0, i, 2 * i + 1) for i in range(many)], stream=1),
        ]
    )
    merged = Merged(2, None, lambda: 0.0)

    turns = list(merged.take(rows, np.ones(2, np.bool_), 0))

    assert [len(turn) for turn in turns] == [BATCH_MAX, BATCH_MAX - 2]
    assert places(turns) == [(i % 2, i // 2) for i in range(2 * many)]


def test_what_waits_survives_any_number_of_reads_of_either_stream() -> None:
    rows = waiting(1, 2)
    merged = Merged(3, None, lambda: 0.0)
    only_first = np.array([True, False, True])
    taken: list[Place] = []
    for i in range(4):
        rows.add([batch([(0, i, 10 * i)]), batch([], stream=1)])
        taken += places(merged.take(rows, only_first, len(taken)))
    assert taken == []
    assert rows.counts().tolist() == [4, 0, 0]

    rows.add([batch([]), batch([(0, 0, 15), (0, 1, 12), (0, 2, 40)], stream=1)])
    taken = places(merged.take(rows, np.ones(3, np.bool_), 0))

    assert taken == [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2)]


def test_the_journal_is_followed_through_both_streams_and_its_dead_stay_dead() -> None:
    rows = waiting(2, 1)
    followed = runs((2, 0, 2, 2), (1, 0, 1, 1), (2, 2, 3, 1))
    # Partition 0 of labels is input 2; the payments' partition 0 has the same offsets.
    followed.dead = ((2, 1, 2), (0, 0, 9))
    rows.add(
        [batch([(1, 0, 1)]), batch([(0, 0, 9), (0, 1, 8), (0, 2, 7)], stream=1)],
    )

    turns = list(Journaled(iter([followed])).take(rows, 5))

    assert places(turns) == [(2, 0), (2, 1), (1, 0), (2, 2)]
    assert [one.reason.tolist() for one in turns[0].batches] == [
        [0],
        [0, Reason.UNKNOWN_SCHEMA, 0],
    ]


def test_a_label_that_was_used_then_and_cannot_be_now_is_named_with_its_topic() -> None:
    rows = waiting(1, 1)
    rows.add([batch([]), batch([(0, 0, 1), (0, 1, 1)], dead=frozenset({1}), stream=1)])

    with pytest.raises(
        UnsafeResumeError, match=r"'fraud_labels' partition 0 offset 1 was used .* cannot be now"
    ):
        list(Journaled(iter([runs((1, 0, 2, 2))])).take(rows, 0))


def test_a_label_missing_from_its_log_is_named_with_its_topic() -> None:
    rows = waiting(2, 2)
    rows.add([batch([]), batch([(1, 3, 1)], stream=1)])

    with pytest.raises(UnsafeResumeError, match=r"'fraud_labels' partition 1 no longer holds"):
        list(Journaled(iter([runs((3, 0, 2, 2))])).take(rows, 0))


def test_after_a_rebuild_every_streams_clocks_are_the_journals() -> None:
    rows = waiting(1, 1)
    rows.add([batch([(0, 0, 7)]), batch([(0, 0, 100), (0, 1, 5)], stream=1)])
    followed = runs((1, 0, 1, 1))
    followed.dead = ((1, 0, 1),)
    list(Journaled(iter([followed])).take(rows, 0))

    rows.resume(np.array([-(2**62), 3]))

    # Had the dead label moved its clock, (1, 1) would come after (0, 0).
    merged = Merged(2, None, lambda: 0.0)
    assert places(merged.take(rows, np.array([True, True]), 1)) == [(1, 1), (0, 0)]


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 9)), max_size=50),
    st.lists(st.integers(1, 50), max_size=20),
)
def test_a_backlog_of_two_streams_is_taken_in_canonical_order_whatever_the_reads(
    drawn: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    offsets = [0, 0, 0, 0]
    records: list[tuple[int, Record]] = []
    for stream, partition, time in drawn:
        source = 2 * stream + partition
        records.append((stream, (partition, offsets[source], time)))
        offsets[source] += 1
    rows = waiting(2, 2)
    merged = Merged(4, None, lambda: 0.0)
    taken: list[Place] = []
    left = records
    for cut in [*cuts, len(records)]:
        part, left = left[:cut], left[cut:]
        rows.add([batch([row for at, row in part if at == s], stream=s) for s in range(2)])
        ended = np.array([all(2 * s + row[0] != i for s, row in left) for i in range(4)])
        taken += places(merged.take(rows, ended, len(taken)))

    # Inputs are numbered by (stream, partition), so they break a tie as the two would.
    assert taken == canonical([(2 * s + p, offset, time) for s, (p, offset, time) in records])
    assert rows.rows == 0
