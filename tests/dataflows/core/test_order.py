"""The order of records: canonical, on arrival, and as the journal says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orders import NONE_HELD, batch, came, canonical, places, runs, waiting

from noskew.dataflows.core.order import Journaled, Merged
from noskew.dataflows.errors import UnsafeResumeError
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from orders import Record


def test_partitions_merge_by_position_clock_and_ties_by_partition() -> None:
    rows = waiting(2)
    rows.add([batch([(1, 0, 5), (1, 1, 3), (0, 0, 5), (0, 1, 9)])])
    merged = Merged(2, None, lambda: 0.0)

    taken = list(merged.take(rows, np.array([True, True]), 7))

    assert places(taken) == [(0, 0), (1, 0), (1, 1), (0, 1)]
    assert taken[0].seq == 7


def test_a_partition_with_unread_records_is_waited_for() -> None:
    rows = waiting(2)
    rows.add([batch([(0, 0, 1), (0, 1, 2)])])
    merged = Merged(2, None, lambda: 0.0)

    assert places(merged.take(rows, np.array([False, False]), 0)) == []

    rows.add([batch([(1, 0, 1)])])
    assert places(merged.take(rows, np.array([False, False]), 0)) == [(0, 0), (1, 0)]
    assert places(merged.take(rows, np.array([False, True]), 2)) == [(0, 1)]


def test_a_silent_partition_is_given_up_after_the_wait_and_counted() -> None:
    now_s = [0.0]
    rows = waiting(2)
    merged = Merged(2, 1.0, lambda: now_s[0])
    nothing_ended = np.array([False, False])

    rows.add([batch([(0, 0, 5)])])
    merged.delivered(came(True, False), NONE_HELD, drained=True)
    now_s[0] = 1.0
    assert places(merged.take(rows, nothing_ended, 0)) == []
    now_s[0] = 1.001
    assert places(merged.take(rows, nothing_ended, 0)) == [(0, 0)]
    assert merged.ran_out == 1

    rows.add([batch([(1, 0, 1)])])
    merged.delivered(came(False, True), NONE_HELD, drained=True)
    # It is waited for again from its next record on; now partition 0 is the silent one.
    assert places(merged.take(rows, nothing_ended, 1)) == []
    now_s[0] = 2.1
    assert places(merged.take(rows, nothing_ended, 1)) == [(1, 0)]
    assert merged.ran_out == 2


def test_our_own_pauses_are_not_a_partitions_silence() -> None:
    now_s = [0.0]
    rows = waiting(2)
    merged = Merged(2, 1.0, lambda: now_s[0])
    nothing_ended = np.array([False, False])
    rows.add([batch([(0, 0, 30)])])

    # A flush of 30 s, after which the client still has more to hand out.
    merged.delivered(came(False, False), NONE_HELD, drained=True)
    now_s[0] = 30.0
    merged.delivered(came(True, False), NONE_HELD, drained=False)
    assert places(merged.take(rows, nothing_ended, 0)) == []

    rows.add([batch([(1, 0, 25)])])
    merged.delivered(came(False, True), NONE_HELD, drained=True)
    assert places(merged.take(rows, np.array([True, True]), 0)) == [(1, 0), (0, 0)]
    assert merged.ran_out == 0


def test_a_partition_that_is_not_read_is_not_silent() -> None:
    now_s = [0.0]
    rows = waiting(2)
    merged = Merged(2, 1.0, lambda: now_s[0])
    rows.add([batch([(0, 0, 5)])])

    merged.delivered(came(False, False), np.array([False, True]), drained=True)
    now_s[0] = 9.0
    merged.delivered(came(False, False), NONE_HELD, drained=True)

    assert places(merged.take(rows, np.array([False, False]), 0)) == []


def test_after_a_rebuild_position_clocks_are_the_journals() -> None:
    rows = waiting(2)
    rows.add([batch([(0, 0, 100), (0, 1, 5), (1, 0, 7)])])
    followed = runs((0, 0, 1, 1))
    followed.dead = ((0, 0, 1),)
    list(Journaled(iter([followed])).take(rows, 0))

    rows.resume(np.array([3, 7]))

    # Had the dead record moved the clock, (0, 1) would come after (1, 0).
    merged = Merged(2, None, lambda: 0.0)
    assert places(merged.take(rows, np.array([True, True]), 1)) == [(0, 1), (1, 0)]


def test_a_dead_letter_moves_no_clock() -> None:
    rows = waiting(2)
    rows.add([batch([(0, 0, 100), (0, 1, 5), (1, 7, 6)], dead=frozenset({0}))])
    merged = Merged(2, None, lambda: 0.0)

    taken = places(merged.take(rows, np.array([True, True]), 0))

    assert taken == [(0, 0), (0, 1), (1, 7)]
    assert rows.taken_us.tolist() == [5, 6]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=50),
    st.lists(st.integers(1, 50), max_size=20),
)
def test_a_backlog_is_taken_in_canonical_order_whatever_the_reads(
    times: list[tuple[int, int]], cuts: list[int]
) -> None:
    offsets = [0, 0, 0]
    records: list[Record] = []
    for partition, time in times:
        records.append((partition, offsets[partition], time))
        offsets[partition] += 1
    rows = waiting(3)
    merged = Merged(3, None, lambda: 0.0)
    taken: list[tuple[int, int]] = []
    left = records
    for cut in [*cuts, len(records)]:
        part, left = left[:cut], left[cut:]
        rows.add([batch(part)])
        ended = np.array([all(record[0] != p for record in left) for p in range(3)])
        taken += places(merged.take(rows, ended, len(taken)))

    assert taken == canonical(records)
    assert rows.rows == 0


def test_the_journal_is_followed_record_by_record() -> None:
    rows = waiting(2)
    journaled = Journaled(iter([runs((1, 0, 1, 1), (0, 0, 2, 2)), runs((1, 1, 4, 2))]))

    rows.add([batch([(0, 0, 1), (0, 1, 1)])])
    assert places(journaled.take(rows, 0)) == []
    rows.add([batch([(1, 0, 9)])])
    assert places(journaled.take(rows, 0)) == [(1, 0), (0, 0), (0, 1)]
    done_early = journaled.done
    assert not done_early
    rows.add([batch([(1, 1, 9), (1, 3, 9), (1, 4, 9)])])
    assert places(journaled.take(rows, 3)) == [(1, 1), (1, 3)]
    assert journaled.done
    assert rows.rows == 1


def test_a_record_missing_from_the_log_stops_the_replay() -> None:
    rows = waiting(1)
    journaled = Journaled(iter([runs((0, 0, 2, 2))]))
    rows.add([batch([(0, 0, 1), (0, 2, 1)])])

    with pytest.raises(UnsafeResumeError, match=r"no longer holds the 2 records.*offsets 0 to 1"):
        list(journaled.take(rows, 0))


def test_a_record_that_was_dead_then_is_dead_again_though_it_decodes_now() -> None:
    rows = waiting(2)
    followed = runs((0, 0, 2, 2), (1, 0, 1, 1))
    followed.dead = ((0, 1, 2), (1, 5, 9))
    rows.add([batch([(0, 0, 1), (0, 1, 1), (1, 0, 1)])])

    taken = list(Journaled(iter([followed])).take(rows, 0))

    reasons = [one.scored.reason.tolist() for one in taken]
    assert reasons == [[0, Reason.UNKNOWN_SCHEMA, 0]]


def test_a_record_that_was_used_then_and_cannot_be_now_stops_the_replay() -> None:
    rows = waiting(1)
    rows.add([batch([(0, 0, 1), (0, 1, 1)], dead=frozenset({1}))])

    with pytest.raises(UnsafeResumeError, match=r"partition 0 offset 1 was used .* cannot be now"):
        list(Journaled(iter([runs((0, 0, 2, 2))])).take(rows, 0))
