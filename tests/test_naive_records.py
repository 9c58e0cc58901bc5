"""The reference says what DESIGN says of late records, revisions, rows, order: examples."""

from __future__ import annotations

import math
from dataclasses import replace

from examples import MINUTE, count, event, label, labelled, meaning, of, same
from meaning import (
    Event,
    Statistic,
    bits,
)
from naive import INCOMPLETE, LATE, NEVER, NOT_YET, WARMING, Fate, Naive, Row, canonical
from strategies import CUSTOMER, DAY, HOUR, SECOND, START_US

from noskew.dataflows.definition.plan import Stat

# -- late, duplicates, revisions ---------------------------------------------------------------


def test_late_event_is_scored_as_of_its_time_flagged_and_not_aggregated() -> None:
    naive = Naive(meaning(count(DAY)), [1])

    naive.process(event(2 * HOUR))
    on_time = naive.process(event(HOUR))
    late = naive.process(event(HOUR - 1))
    later = naive.process(event(2 * HOUR))

    assert on_time.flags & LATE == 0
    assert (late.fate, late.flags & LATE, late.vector) == (Fate.LATE, LATE, [1.0])
    assert later.vector == [3]


def test_horizon_follows_the_slowest_partition_until_the_skew_is_used_up() -> None:
    naive = Naive(meaning(count(DAY), allowed_lateness_us=0, max_skew_us=HOUR), [2])

    assert naive.horizon_us() == NOT_YET
    naive.process(event(0, partition=0))
    assert naive.horizon_us() == START_US - HOUR
    naive.process(event(-MINUTE, partition=1))
    assert naive.horizon_us() == START_US - MINUTE
    naive.process(event(3 * HOUR, partition=0))
    assert naive.horizon_us() == START_US + 2 * HOUR


def test_fold_line_of_a_stream_is_its_own_and_never_above_the_horizon() -> None:
    what = labelled(of(Stat.SUM, stream=1))
    naive = Naive(what, [1, 1])

    naive.process(event(0))
    naive.process(label(-DAY))
    assert naive.fold_us(1) == START_US - 2 * DAY
    naive.process(label(5 * DAY))
    assert naive.fold_us(1) == naive.horizon_us() == START_US - HOUR


def test_entry_that_the_horizon_closed_is_no_member_although_the_window_reaches_it() -> None:
    what = meaning(count(), allowed_lateness_us=0, max_skew_us=0)
    naive = Naive(what, [2])
    events = [event(0), event(HOUR + MINUTE, customer=2), event(MINUTE, partition=1)]

    last = [naive.process(one) for one in events][-1]

    assert last.flags & INCOMPLETE
    assert last.vector == [0], "its own time is at the horizon's closed end too"


def test_dead_letter_takes_its_seq_and_nothing_else() -> None:
    naive = Naive(meaning(count()), [1])

    dead = naive.process(replace(event(DAY), reason=3))
    alive = naive.process(event(0))

    assert (dead.fate, dead.vector) == (Fate.DEAD, same([math.nan]))
    assert naive.flush()[CUSTOMER, 1].seq == 1
    assert alive.flags == WARMING


def test_id_accepted_within_the_span_in_the_same_partition_is_a_duplicate() -> None:
    naive = Naive(meaning(count(DAY), dedupe_us=MINUTE), [2])
    events = [
        event(0, number=1),
        event(MINUTE, number=1),
        event(MINUTE + 1, number=1),
        event(1, number=1, partition=1),
        event(MINUTE, number=2),
        event(-MINUTE, number=1),
    ]

    fates = [naive.process(one).fate for one in events]

    duplicate, applied = Fate.DUPLICATE, Fate.APPLIED
    assert fates == [applied, duplicate, applied, applied, applied, duplicate]
    assert naive.clocks[0][0] == START_US + MINUTE + 1


def test_revision_replaces_an_open_entry_wherever_it_was() -> None:
    total = of(Stat.SUM, DAY, include_self=False, stream=1)
    naive = Naive(labelled(total), [1, 1])

    naive.process(event(0))
    naive.process(label(-HOUR, 7, number=4))
    assert naive.process(event(1)).vector == [7]
    naive.process(label(-HOUR, 5, number=4, customer=2))

    assert naive.process(event(2)).vector == [0]
    assert naive.process(event(2, customer=2)).vector == [5]


def test_revision_of_a_closed_entry_is_late_and_of_a_forgotten_one_new() -> None:
    total = of(Stat.SUM, HOUR, stream=1)
    naive = Naive(labelled(total, allowed_lateness_us=0), [1, 2])

    naive.process(event(5 * DAY))
    naive.process(label(0, number=4))
    naive.process(label(0, number=5, partition=1))
    assert naive.process(label(0, number=4, partition=1)).fate is Fate.LATE
    naive.process(label(1, number=6))
    assert naive.process(label(1, number=4, partition=0)).fate is Fate.LATE, "partition 1 is at 0"
    naive.process(label(1, number=7, partition=1))
    assert naive.process(label(1, number=4)).fate is Fate.APPLIED


def test_what_was_folded_stays_when_it_is_revised() -> None:
    both = (of(Stat.SUM, None, stream=1), of(Stat.SUM, 30 * DAY, stream=1))
    naive = Naive(labelled(*both, allowed_lateness_us=0), [1, 1])

    naive.process(event(DAY))
    naive.process(label(0, 7, number=4))
    naive.process(label(HOUR, 0, number=5))
    assert naive.process(event(DAY)).vector == [7, 7]
    assert naive.process(label(HOUR, 5, number=4)).fate is Fate.APPLIED

    assert naive.process(event(DAY)).vector == [12, 5]


def test_warming_ends_when_the_longest_window_lies_after_the_origin() -> None:
    naive = Naive(meaning(count(delay_us=HOUR)), [1])

    flags = [naive.process(event(after_us)).flags for after_us in (0, 2 * HOUR - 1, 2 * HOUR)]

    assert flags == [WARMING, WARMING, 0]


def test_since_last_below_the_horizon_is_unknown_when_something_newer_is_closed() -> None:
    what = meaning(Statistic(Stat.SINCE_LAST, CUSTOMER), allowed_lateness_us=0, max_skew_us=0)
    naive = Naive(what, [2])

    for one in (event(0), event(MINUTE), event(HOUR, customer=2)):
        naive.process(one)
    between = naive.process(event(MINUTE - 1, partition=1))
    after = naive.process(event(MINUTE + 1, partition=1))

    assert math.isnan(between.vector[0])
    assert after.vector == [0.000001]


def test_key_of_two_partitions_is_reported_once_until_it_is_gone() -> None:
    naive = Naive(meaning(count(), allowed_lateness_us=0, max_skew_us=0), [2])

    for partition, after_us in ((0, 0), (1, 1), (1, 2)):
        naive.process(event(after_us, partition=partition))
    naive.process(event(2 * HOUR, customer=2))
    for partition in (1, 0):
        naive.process(event(2 * HOUR, partition=partition))

    assert naive.splits == [(1, 0, 1, 1), (1, 1, 0, 5)]


# -- rows --------------------------------------------------------------------------------------


def test_row_stands_at_the_greatest_time_and_says_until_when_it_holds() -> None:
    what = meaning(
        of(Stat.SUM),
        Statistic(Stat.SINCE_LAST, CUSTOMER),
        count(DAY, delay_us=2 * HOUR),
        of(Stat.DECAYED_SUM, None, half_life_us=MINUTE),
    )
    naive = Naive(what, [1])

    naive.process(event(MINUTE, 1))
    naive.process(event(0, 2))

    at_us = START_US + MINUTE
    assert naive.flush()[CUSTOMER, 1] == Row(
        time_us=at_us,
        until_us=START_US + HOUR,
        seq=1,
        words=(bits(3.0), at_us, 0, bits(0.0), at_us, bits(2.0)),
    )


def test_row_holds_until_a_tile_ends() -> None:
    naive = Naive(meaning(count(DAY, resolution_us=HOUR)), [1])

    naive.process(event(SECOND))

    assert naive.flush()[CUSTOMER, 1].until_us == START_US + DAY + HOUR


def test_entity_is_gone_when_the_horizon_has_passed_its_last_window() -> None:
    naive = Naive(meaning(count(), allowed_lateness_us=0), [1])

    naive.process(event(0, customer=1))
    naive.process(event(HOUR - 1, customer=2))
    naive.flush()
    assert not naive.gone()
    naive.process(event(HOUR, customer=2))
    naive.flush()

    assert naive.gone() == {(CUSTOMER, 1)}
    assert naive.live_rows()[CUSTOMER, 2].until_us == START_US + 2 * HOUR - 1


def test_entity_with_a_since_last_is_never_gone_and_its_row_holds_for_ever() -> None:
    naive = Naive(meaning(Statistic(Stat.SINCE_LAST, CUSTOMER)), [1])

    naive.process(event(0, customer=1))
    naive.process(event(400 * DAY, customer=2))
    naive.flush()

    assert naive.live_rows()[CUSTOMER, 1].until_us == NEVER


# -- order -------------------------------------------------------------------------------------


def test_canonical_order_is_by_position_clock_then_stream_then_partition_then_offset() -> None:
    left = [Event(0, 0, 10), Event(0, 1, 5), Event(0, 2, 30)]
    right = [Event(1, 0, 0, reason=2), Event(1, 1, 10), Event(1, 2, 20, available_us=40)]
    other = [Event(0, 0, 3, stream=1, available_us=10), Event(0, 1, 50, stream=1, available_us=9)]

    order = canonical({(1, 0): other, (0, 0): left, (0, 1): right})

    assert [(event.stream, event.partition, event.offset) for event in order] == [
        (0, 1, 0), (0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 0, 0), (1, 0, 1), (0, 0, 2), (0, 1, 2),
    ]  # fmt: skip
